"""Parameters of `tomogram`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import ParallelParameters


class TomogramParameters(ParallelParameters):
    """Reconstruct tomograms from tilt series by weighted back-projection."""

    optimisation_set: Path | None = Field(
        None, description="RELION 5 optimisation set (STAR) that names the tomograms.")
    tomograms: Path | None = Field(
        None, description="Tomogram STAR file with aligned tilt series; wins over the set.")
    series: tuple[str, ...] = Field(
        (), description="Tilt series to reconstruct (rlnTomoName); may be given many times. "
        "Default: all.")

    voxel_A: float | None = Field(
        None, gt=0, description="Voxel edge [Å]; default: 10, or the pixel where that is more.")
    binning: float | None = Field(
        None, ge=1, le=100, description="Pixels a voxel instead of --voxel-A; need not be whole.")
    size_px: tuple[int, ...] = Field(
        (), max_length=3, description="Size of the tomograms in unbinned pixels, even; give three "
        "times, x y z. Default: rlnTomoSizeX/Y/Z.")
    thickness_A: float | None = Field(
        None, gt=0, description="Another depth of the tomograms (z) [Å].")

    weighting: Literal["ramp", "exact"] = Field(
        "ramp", description="Filter of the geometry: a ramp across the tilt axis, or the exact "
        "one for any set of directions (dual axis, uneven steps).")
    cutoff: float = Field(
        0.35, gt=0, le=1, description="Frequency from which the filter falls off [cycles a voxel].")
    falloff: float = Field(
        0.05, ge=0, le=1, description="Standard deviation of its Gaussian end [cycles a voxel].")
    lowpass_A: float | None = Field(None, gt=0, description="Low-pass in addition [Å].")
    ctf: Literal["none", "flip", "multiply"] = Field(
        "none", description="CTF at the centre of the tomogram: left as it is, phases flipped, or "
        "images multiplied by it.")
    dose_weighting: bool = Field(
        True, description="Damp each tilt by the dose it has had before.")
    tilt_weights: Literal["none", "cos", "scale"] = Field(
        "none", description="Weight of each tilt: equal, cosine of the tilt, or "
        "rlnCtfScalefactor.")
    normalise: bool = Field(
        False, description="Divide each image by its standard deviation.")
    invert: bool = Field(
        False, description="Protein bright; default: dark, as on the raw images.")

    halves: Literal["none", "tilts", "frames"] = Field(
        "none", description="Also reconstruct two halves: of every other tilt, or of the even and "
        "odd frames of each tilt (rlnMicrographNameEven, rlnMicrographNameOdd).")
    mode: Literal["float32", "float16", "int16"] = Field(
        "float32", description="Number format of the volumes; the scale of float16 and int16 is in "
        "the report.")
    device: Literal["cpu", "gpu"] = Field(
        "cpu", description="Where voxels are summed; gpu needs sta_mpi[gpu] and an NVIDIA GPU on "
        "every node.")
    unit_planes: int | None = Field(
        None, ge=1, description="Planes in a unit of work; default: a sixteenth of the tomogram, "
        "at most 4 million voxels.")

    @model_validator(mode="after")
    def _consistent(self) -> "TomogramParameters":
        if self.tomograms is None and self.optimisation_set is None:
            raise ValueError("--tomograms or --optimisation-set is needed")
        if self.voxel_A is not None and self.binning is not None:
            raise ValueError("--voxel-A and --binning exclude each other: give one")
        if len(self.size_px) not in (0, 3):
            raise ValueError("--size-px is given three times, x y z")
        if self.size_px and self.thickness_A is not None:
            raise ValueError("--size-px and --thickness-A exclude each other: give one")
        if any(side < 2 or side % 2 for side in self.size_px):
            raise ValueError("--size-px must be even numbers of pixels, as RELION asks for")
        return self
