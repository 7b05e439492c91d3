"""`sta-mpi run`."""

from pathlib import Path
from typing import Any

from sta_mpi.cli.job_command import JobCommand


class ChainCommand(JobCommand):
    """The command whose TOML file is a chain of commands, not its own parameters."""

    def _run(self, toml: Path | None, **options: Any) -> None:
        if toml is not None and options.get("chain") is None:
            options["chain"] = toml
        super()._run(None, **options)


COMMAND = ChainCommand(
    "run", "sta_mpi.jobs.parameters.run:RunParameters",
    "Run a chain of commands from one TOML file, stage by stage, under one mpirun.",
    "mpirun -n 8 sta-mpi run chain.toml -o chain")
