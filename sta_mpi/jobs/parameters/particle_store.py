"""Parameters of commands that keep their particles from round to round."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from sta_mpi.jobs.parameters.base import JobParameters


class ParticleStoreParameters(JobParameters):
    """How particles are kept: in which precision, and where memory is short."""

    precision: Literal["float32", "float16"] = Field(
        "float32", description="Numbers that particle images are kept in between rounds; float16 "
        "halves the memory and rounds to 11 bits.")
    scratch_dir: Path | None = Field(
        None, description="Folder on a disk of the node for particles that memory does not hold; "
        "default: $TMPDIR. Removed at the end.")
