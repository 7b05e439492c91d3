"""What the user sees of a job: progress, log, figures, the HTML page, the status table.

Nothing here computes science or reads job folders: functions take arrays, dataclasses and
parsed dictionaries. matplotlib, jinja2 and rich are imported when first used, because the
package is imported by commands that only print a line.
"""
