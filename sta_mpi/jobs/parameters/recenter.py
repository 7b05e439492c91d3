"""Parameters of `recenter`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import InputSetParameters


class RecenterParameters(InputSetParameters):
    """Shift and turn a map and its particles together."""

    reference: Path = Field(
        description="Map (MRC); of half1 or half2, both halves are moved alike.")
    mask: Path | None = Field(
        None, description="Mask (MRC, 0..1) of the map: moved with it, and put on it for searches.")
    centre_on: Literal["none", "mask", "mass"] = Field(
        "none", description="Shift the centre of mass of the mask, or of the positive density "
        "(under the mask), to the centre of the box.")
    centre_A: tuple[float, ...] = Field(
        (), description="Shift this point to the centre of the box: x, y and z (three times) from "
        "the centre of the box [Å].")
    find_symmetry: str | None = Field(
        None, description="Find the axes of this point group in the map and turn them into the "
        "standard setting (C<n>: the axis to z), about their own point.")
    align_to: Path | None = Field(
        None, description="Move onto this map (MRC) of the same box and voxel.")
    search: Literal["global", "local"] = Field(
        "global", description="Rotations tried by --align-to: all, or near the present one.")
    rotate_deg: tuple[float, ...] = Field(
        (), description="Turn the map by RELION angles rot, tilt, psi (three times): a point x "
        "goes to A x [°]. Last of all.")
    lowpass_A: float | None = Field(
        None, gt=0, description="Searches use nothing finer than this [Å]; default: 4 voxels.")
    max_shift_A: float | None = Field(
        None, gt=0, description="Largest shift of searches [Å]; default: a quarter of the box.")

    @model_validator(mode="after")
    def _consistent(self) -> "RecenterParameters":
        for name in ("centre_A", "rotate_deg"):
            if len(getattr(self, name)) not in (0, 3):
                raise ValueError(f"{name} needs three numbers")
        if self.centre_on != "none" and self.centre_A:
            raise ValueError("centre_A and centre_on exclude each other")
        if self.centre_on == "mask" and self.mask is None:
            raise ValueError("centre_on mask needs a mask")
        if self.find_symmetry is not None and self.align_to is not None:
            raise ValueError("find_symmetry and align_to exclude each other")
        if not (self.centre_on != "none" or self.centre_A or self.find_symmetry or self.align_to
                or self.rotate_deg):
            raise ValueError("centre_on, centre_A, find_symmetry, align_to or rotate_deg is needed")
        return self
