"""Parameters of `fsc`."""

from pathlib import Path

from pydantic import Field

from sta_mpi.jobs.parameters.base import JobParameters


class FscParameters(JobParameters):
    """Fourier shell correlation of two half maps, with phase-randomisation correction."""

    half1: Path = Field(description="First half map (MRC).")
    half2: Path | None = Field(
        None, description="Second half map; default: the name of the first with half1 -> half2.")
    mask: Path | None = Field(
        None, description="Mask (MRC, 0..1); default: a soft sphere.")
    mask_diameter_A: float | None = Field(
        None, gt=0, description="Diameter of the soft sphere [Å]; default: 0.8 of the box.")
    voxel_A: float | None = Field(
        None, gt=0, description="Voxel edge [Å]; default: that of the first map's header.")
    randomise_at_A: float | None = Field(
        None, gt=0, description="Randomise phases beyond this resolution [Å]; default: from the "
        "first shell whose unmasked FSC is below 0.8.")
