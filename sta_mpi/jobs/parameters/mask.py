"""Parameters of `mask`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import JobParameters


class MaskParameters(JobParameters):
    """Make a mask from a map, a shape, an atomic model, or several masks."""

    map: Path | None = Field(None, description="Map to make the mask from (MRC, protein bright); "
                             "with --shape or --model: the map whose box is used.")
    lowpass_A: float = Field(15.0, gt=0, description="Low-pass the map before the threshold [Å]; "
                             "finer than Nyquist: not at all.")
    threshold: float | None = Field(
        None, description="Density of the surface, in units of the low-passed map; default: "
        "automatic.")
    molecular_weight_kDa: float | None = Field(
        None, gt=0, description="Choose the threshold that encloses this mass [kDa].")
    min_island_share: float = Field(
        0.05, ge=0, le=1, description="Remove islands smaller than this share of the largest.")

    shape: Literal["sphere", "cylinder", "shell"] | None = Field(
        None, description="A shape about the centre of the box instead of a map's density.")
    radius_A: float | None = Field(None, gt=0, description="Radius of the shape [Å].")
    inner_radius_A: float | None = Field(None, ge=0, description="Inner radius of the shell [Å].")
    height_A: float | None = Field(
        None, gt=0, description="Height of the cylinder [Å]; default: the box.")
    axis: Literal["x", "y", "z"] = Field("z", description="Axis of the cylinder.")
    centre_xyz_A: tuple[float, ...] = Field(
        (), max_length=3, description="Centre of the sphere from the centre of the box; give three "
        "times, x y z [Å].")
    box_px: int | None = Field(None, ge=8, le=4096, description="Box of a shape without --map.")
    voxel_A: float | None = Field(
        None, gt=0, description="Voxel edge [Å]; default: that of the header.")

    model: Path | None = Field(
        None, description="Atomic model (PDB, mmCIF) in the frame of --map: mask around its atoms.")
    model_radius_A: float = Field(
        3.0, gt=0, le=50, description="Distance from the atoms that belongs to the mask [Å].")

    or_mask: tuple[Path, ...] = Field(
        (), description="Add another mask (its voxels of at least 0.5); may be given many times.")
    and_mask: tuple[Path, ...] = Field(
        (), description="Keep only what another mask has too; may be given many times.")
    minus_mask: tuple[Path, ...] = Field(
        (), description="Take another mask away; may be given many times.")
    invert: bool = Field(False, description="Inside becomes outside.")
    central_z_share: float | None = Field(
        None, gt=0, le=1, description="Keep only this central share of the box along z, for "
        "filaments.")

    extend_px: float = Field(
        3.0, ge=-100, le=1000, description="Grow the shape of the map or model by this [px].")
    edge_px: float = Field(5.0, ge=0, le=1000, description="Width of the soft edge [px].")

    @model_validator(mode="after")
    def _consistent(self) -> "MaskParameters":
        if self.shape is not None and self.model is not None:
            raise ValueError("--shape and --model exclude each other: combine them with --and-mask "
                             "or --or-mask in a second run")
        if self.threshold is not None and self.molecular_weight_kDa is not None:
            raise ValueError("--threshold and --molecular-weight-kDa exclude each other: give one")
        if self.model is not None and self.map is None:
            raise ValueError("--model needs --map, which gives box, voxel and origin")
        if self.centre_xyz_A and len(self.centre_xyz_A) != 3:
            raise ValueError("--centre-xyz-A is given three times, x y z")
        self._check_shape()
        if self.map is None and self.shape is None and not (self.or_mask or self.and_mask):
            raise ValueError("--map, --shape, --model or other masks are needed to make a mask")
        return self

    def _check_shape(self) -> None:
        if self.shape is None:
            return
        if self.radius_A is None:
            raise ValueError(f"--radius-A is needed for --shape {self.shape}")
        if self.shape == "shell" and self.inner_radius_A is None:
            raise ValueError("--inner-radius-A is needed for --shape shell")
        if self.inner_radius_A is not None and self.inner_radius_A >= self.radius_A:
            raise ValueError(f"--inner-radius-A {self.inner_radius_A:g} must be less than "
                             f"--radius-A {self.radius_A:g}")
        if self.map is None and not (self.or_mask or self.and_mask) and (
                self.box_px is None or self.voxel_A is None):
            raise ValueError("--box-px and --voxel-A are needed for --shape without --map")
