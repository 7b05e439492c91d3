"""Parameters of `run`."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from sta_mpi.jobs.parameters.base import ParallelParameters


class RunParameters(ParallelParameters):
    """Run a chain of commands from one TOML file."""

    RUNTIME_FIELDS = ParallelParameters.RUNTIME_FIELDS | {"until", "restart_from"}
    REOPENS: ClassVar[bool] = True

    chain: Path = Field(description="The chain (TOML): its stages, their commands and options.")
    until: str | None = Field(None, description="Stop after this stage.")
    restart_from: str | None = Field(
        None, description="Discard this stage and all after it, and compute them again.")
    scratch_dir: Path | None = Field(
        None, description="Folder on a disk of the node for what does not fit in memory.")
