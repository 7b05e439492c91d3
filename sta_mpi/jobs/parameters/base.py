"""What all commands share: the output folder, run-time options and the input set."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class JobParameters(BaseModel):
    """Parameters that every command has.

    The fields named in `RUNTIME_FIELDS` say how a job runs, not what it computes: they do
    not enter the fingerprint that decides whether a folder holds the same job.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    RUNTIME_FIELDS: ClassVar[frozenset[str]] = frozenset(
        {"output", "max_memory_GiB", "checkpoint_minutes", "restart", "dry_run",
         "dedicated_master", "log_all_ranks", "quiet", "scratch_dir"})

    REOPENS: ClassVar[bool] = False
    """Whether an unfinished or finished folder is taken up again by changed parameters: the
    folders in it guard themselves."""

    output: Path = Field(description="Output folder of the job.", json_schema_extra={"short": "-o"})
    seed: int = Field(1, ge=0, description="Seed of all random numbers.")
    restart: bool = Field(False, description="Discard an unfinished or finished job in the "
                          "output folder instead of resuming it.")
    log_all_ranks: bool = Field(False, description="Write a log file for every rank.")
    quiet: bool = Field(False, description="No progress and results on the terminal.")

    @model_validator(mode="before")
    @classmethod
    def _no_nul(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, str) and "\0" in value:
                raise ValueError(f"{name} holds a NUL character, which no file name can hold")
        return values

    def scientific(self) -> dict[str, Any]:
        """The parameters that decide what is computed, in a form that JSON can hold."""
        return self.model_dump(mode="json", exclude=set(self.RUNTIME_FIELDS))


class ParallelParameters(JobParameters):
    """Parameters of commands that work in parallel units."""

    max_memory_GiB: float | None = Field(
        None, gt=0, description="Memory a node may use; default: what the machine or the batch "
        "system allows.")
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="Time between checkpoints [min].")
    dry_run: bool = Field(False, description="Check the input, print sizes, units and memory; "
                          "compute and write nothing.")
    dedicated_master: bool = Field(
        False, description="Rank 0 only hands out work (for more than about 200 ranks).")
    max_bad_share: float = Field(
        0.05, ge=0, le=1, description="Largest share of units, or of particles, with bad data "
        "before the run stops.")


class InputSetParameters(JobParameters):
    """Parameters of commands that read particles of tilt series."""

    optimisation_set: Path | None = Field(
        None, description="RELION 5 optimisation set (STAR) that names the input files.")
    particles: Path | None = Field(None, description="Particle STAR file; wins over the set.")
    tomograms: Path | None = Field(None, description="Tomogram STAR file; wins over the set.")
    trajectories: Path | None = Field(
        None, description="Particle motion (motion.star); wins over the set. Used when "
        "particles are cut from tilt series.")
    coordinate_pixel_A: float | None = Field(
        None, gt=0, description="What one unit of rlnCoordinateX/Y/Z is [Å], for files that count "
        "binned pixels; default: the pixel of the tilt series.")
