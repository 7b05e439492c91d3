"""The table of jobs that `sta-mpi status` prints, from the dictionaries in their folders.

Input is what job.json and progress.json hold, already parsed; keys may be missing or of a
wrong type, because a job can be killed at any moment and folders outlive program versions.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sta_mpi.report.wording import format_duration

FINISHED, RUNNING, STOPPED = "finished", "running", "stopped (resumable)"
FAILED, STALE, UNKNOWN = "failed", "stale (no heartbeat)", "unknown"

_MAX_TEXT = 48
_STALE_AFTER_S = 600.0
_STALE_GAPS = 5.0
_RESOLUTION_KEYS = ("resolution_A", "resolution_0143_A", "fsc_0143_resolution_A")
_STYLES = {FINISHED: "green", RUNNING: "cyan", STOPPED: "yellow", FAILED: "red",
           STALE: "bold red", UNKNOWN: "dim"}


@dataclass(frozen=True)
class JobRow:
    """One job folder, as the table shows it.

    Parameters
    ----------
    folder, command, status : str
    progress : str               "" where nothing is known
    resolution_A : float or None
    core_hours : float or None   ranks × threads × wall time
    age_s : float or None        since the last sign of life [s]
    """

    folder: str
    command: str
    status: str
    progress: str = ""
    resolution_A: float | None = None
    core_hours: float | None = None
    age_s: float | None = None


def job_row(
    folder: str,
    job: Mapping[str, Any] | None,
    progress: Mapping[str, Any] | None = None,
    *,
    now: datetime,
    modified: datetime | None = None,
) -> JobRow:
    """Judge one job folder.

    Parameters
    ----------
    folder : str                  as it is to be shown
    job, progress : mapping or None   contents of job.json and progress.json; None where the
                                  file is missing or damaged
    now : datetime                with time zone
    modified : datetime or None   when job.json was last written, used where nothing in the
                                  files says when the job was last alive

    Notes
    -----
    A job that says it runs is stale when nothing was heard for ten minutes and for five
    times the longest pause it had made before.
    """
    job = job or {}
    progress = progress or {}
    age_s = _age_s(job, progress, now, modified)
    status = _status(job, progress, age_s)
    elapsed_s = _number(job.get("elapsed_s"))
    if elapsed_s is None or status in (RUNNING, STALE):
        elapsed_s = _number(progress.get("elapsed_s")) or elapsed_s
    ranks = _number(job.get("ranks")) or _number(progress.get("ranks")) or 1.0
    threads = _number(job.get("threads")) or 1.0
    return JobRow(
        folder=folder,
        command=str(job.get("command") or progress.get("command") or "?")[:_MAX_TEXT],
        status=status,
        progress=_progress_text(progress, status),
        resolution_A=_resolution_A(job.get("results")),
        core_hours=None if elapsed_s is None else ranks * threads * elapsed_s / 3600,
        age_s=age_s,
    )


def job_table(rows: Sequence[JobRow], width: int = 100, is_coloured: bool = False) -> str:
    """The jobs as a text table, `width` characters wide at most."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "command", "status", "progress"):
        table.add_column(name, overflow="fold")
    for name in ("Å", "core-h", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        style = _STYLES[row.status]
        table.add_row(
            escape(row.folder), escape(row.command), f"[{style}]{row.status}[/{style}]",
            escape(row.progress),
            "" if row.resolution_A is None else _short_number(row.resolution_A),
            "" if row.core_hours is None else _short_number(row.core_hours),
            "" if row.age_s is None else format_duration(row.age_s))
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=is_coloured,
                      color_system="standard" if is_coloured else None)
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _short_number(value: float) -> str:
    """At most nine characters, so that a damaged file cannot push the table off the screen."""
    if not abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _status(job: Mapping[str, Any], progress: Mapping[str, Any], age_s: float | None) -> str:
    said = job.get("status") or {"interrupted": "stopped"}.get(
        str(progress.get("state")), progress.get("state"))
    if said == "running":
        gap_s = _number(progress.get("longest_gap_s")) or 0.0
        is_silent = age_s is not None and age_s > max(_STALE_AFTER_S, _STALE_GAPS * gap_s)
        return STALE if is_silent else RUNNING
    return {"finished": FINISHED, "stopped": STOPPED, "failed": FAILED}.get(str(said), UNKNOWN)


def _progress_text(progress: Mapping[str, Any], status: str) -> str:
    if status == FINISHED:
        return ""
    done, total = _number(progress.get("done_units")), _number(progress.get("total_units"))
    if done is None or not total:
        return ""
    share = _number(progress.get("fraction"))
    share = done / total if share is None else share
    text = f"{100 * min(max(share, 0.0), 1.0):.0f} %"
    iteration, last = _number(progress.get("iteration")), _number(progress.get("n_iterations"))
    if iteration is not None:
        text = f"iteration {iteration:.0f}" + (f"/{last:.0f}" if last else "") + f", {text}"
    eta_s = _number(progress.get("eta_s"))
    if status == RUNNING and eta_s is not None:
        text += f", {format_duration(eta_s)} left"
    return text[:_MAX_TEXT]


def _resolution_A(results: object) -> float | None:
    if not isinstance(results, Mapping):
        return None
    for key in _RESOLUTION_KEYS:
        value = _number(results.get(key))
        if value is not None:
            return value
    return None


def _age_s(
    job: Mapping[str, Any],
    progress: Mapping[str, Any],
    now: datetime,
    modified: datetime | None,
) -> float | None:
    """Seconds since the newest of all signs of life; clocks ahead of ours count as now."""
    times = [_time(job.get("finished")), _time(job.get("updated")),
             _time(progress.get("updated")), modified]
    known = [time for time in times if time is not None]
    return max((now - max(known)).total_seconds(), 0.0) if known else None


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _number(value: object) -> float | None:
    """A finite number as float; None for anything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) < float("inf") else None
