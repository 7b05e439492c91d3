"""One module a command; each defines `COMMAND = JobCommand(...)` or a click command."""
