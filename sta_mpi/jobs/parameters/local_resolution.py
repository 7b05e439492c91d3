"""Parameters of `local-resolution`."""

from pathlib import Path

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import ParallelParameters


class LocalResolutionParameters(ParallelParameters):
    """Resolution of every part of a map, and the map filtered by it."""

    half1: Path = Field(description="First half map (MRC), unfiltered; or its folder.")
    half2: Path | None = Field(
        None, description="Second half map; default: the name of the first with half1 -> half2.")
    mask: Path | None = Field(
        None, description="Where to measure (MRC, 0..1, from 0.5 on); default: a soft sphere.")
    mask_diameter_A: float | None = Field(
        None, gt=0, description="Diameter of the soft sphere [Å]; default: 0.8 of the box.")
    voxel_A: float | None = Field(
        None, gt=0, description="Voxel edge of all maps [Å]; default: that of the first map's "
        "header.")
    window_A: float | None = Field(
        None, gt=0, description="Diameter of the window [Å]; default: 10 times the resolution, at "
        "most half the box.")
    step_px: int | None = Field(
        None, ge=1, le=64, description="Spacing of the points [px]; default: a tenth of the "
        "window.")
    threshold: float = Field(
        0.143, gt=0, lt=1, description="FSC threshold; noise raises it where a window has few "
        "samples.")
    significance: float = Field(
        0.05, gt=0, le=0.5, description="Share of windows of noise that may pass a shell.")
    n_permutations: int = Field(
        500, ge=50, le=100_000, description="Pairs of unrelated windows that measure the noise.")
    worst_A: float | None = Field(
        None, gt=0, description="Worst resolution that is written [Å]; default: 50, or 4 times the "
        "resolution where that is more.")
    auto_b_factor: bool = Field(
        False, description="Sharpen the filtered map by the B-factor of its Guinier plot.")
    b_fit_low_A: float = Field(10.0, gt=0, description="Fit the Guinier plot from here [Å].")
    b_factor_A2: float | None = Field(
        None, ge=-5000, le=5000, description="B-factor of the filtered map [Å²]; negative "
        "sharpens.")
    mtf: Path | None = Field(
        None, description="MTF of the detector (STAR), which the map is divided by.")
    mtf_pixel_A: float | None = Field(
        None, gt=0, description="Pixel of the unbinned images that the MTF is for [Å]; default: "
        "the voxel of the maps.")
    unit_points: int = Field(256, ge=1, description="Points in a unit of work.")

    @model_validator(mode="after")
    def _consistent(self) -> "LocalResolutionParameters":
        if self.auto_b_factor and self.b_factor_A2 is not None:
            raise ValueError("--auto-b-factor and --b-factor-A2 exclude each other: give one")
        return self
