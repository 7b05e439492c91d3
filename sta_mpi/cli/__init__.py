"""The command line: one thin module a command in `commands/`, found by its file name."""
