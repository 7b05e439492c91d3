"""Parameters of every command: one pydantic model a module, nothing heavier imported.

A field's name is its TOML key, and with dashes its command line option.
"""
