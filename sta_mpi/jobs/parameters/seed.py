"""Parameters of `seed`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import JobParameters


class SeedParameters(JobParameters):
    """Put seeds with outward normals on spheres, ellipsoids, tubes and surfaces."""

    optimisation_set: Path | None = Field(
        None, description="RELION 5 optimisation set (STAR) that names the tomograms.")
    tomograms: Path | None = Field(
        None, description="Tomogram STAR file; wins over the set.")
    tomogram: tuple[Path, ...] = Field(
        (), description="Tomogram (MRC) of another program instead of a table; may be given many "
        "times. Its name without the ending is its rlnTomoName.")

    points: tuple[Path, ...] = Field(
        (), description="Marked points: IMOD model (.mod), STAR or CSV; may be given many times. "
        "A file without tomogram names belongs to the tomogram that its own name begins with.")
    mask: tuple[Path, ...] = Field(
        (), description="Mask or segmentation (MRC) of a tomogram, whose surface is seeded; may "
        "be given many times, named like --points.")
    shape: Literal["sphere", "ellipsoid", "tube", "stalk"] = Field(
        "sphere", description="What the points mark: centres of spheres, ellipsoids, the course of "
        "a filament or tube (one contour each), or stalks (contours of head and base).")
    fit: bool = Field(
        False, description="The points of a contour lie on the surface: fit a sphere or ellipsoid.")
    radius_A: float | None = Field(
        None, gt=0, description="Radius of the spheres or tubes, for files without sizes [Å].")
    coordinate_pixel_A: float | None = Field(
        None, gt=0, description="What one unit of the coordinates is [Å]; default: the model's own "
        "pixel, else the voxel of the tomogram's volume, else the pixel of the tilt series.")
    model_object: int = Field(1, ge=1, description="Object of IMOD models to use.")
    label: int | None = Field(
        None, description="Value of the segmentation that is inside; default: 0.5 and more.")
    blur_A: float | None = Field(
        None, gt=0, description="Blur of a mask, which smooths its surface (standard deviation) "
        "[Å]; default: 2 voxels.")

    lattice_A: float | None = Field(
        None, gt=0, description="Lattice constant of what is on the surface [Å].")
    density: float = Field(
        2.0, gt=0, le=1000, description="Seeds per unit of the lattice.")
    spacing_A: float | None = Field(
        None, gt=0, description="Distance of seeds instead of --lattice-A and --density [Å].")

    tube_points: Literal["axis", "surface"] = Field(
        "axis", description="Seeds of tubes: on the axis, z along it, or on the surface, z "
        "outward.")
    rise_A: float | None = Field(
        None, gt=0, description="Tubes: distance of seeds along the axis [Å].")
    twist_per_rise_deg: float = Field(
        0.0, description="Tubes with --rise-A: turn about the axis from seed to seed [°].")
    phase_deg: float = Field(0.0, description="Tubes: turn of the first seed about the axis [°].")
    stalk_at: Literal["head", "centre", "base"] = Field(
        "head", description="Where the seed of a stalk is; z points from base to head.")
    stalk_first: Literal["head", "base"] = Field(
        "head", description="First point of a stalk's contour.")

    twist: Literal["free", "zero", "random"] = Field(
        "free", description="Turn about the normal: spread evenly from seed to seed, the shortest "
        "turn from the tomogram's z axis, or random.")
    offset_A: float = Field(0.0, description="Move seeds outward by this [Å].")
    edge_A: float = Field(
        0.0, ge=0, description="Leave out seeds this near to a face of the tomogram [Å].")
    halves: Literal["none", "random", "objects"] = Field(
        "none", description="Half-sets: none, random, or whole objects.")

    @model_validator(mode="after")
    def _consistent(self) -> "SeedParameters":
        given = [self.tomograms is not None or self.optimisation_set is not None,
                 bool(self.tomogram)]
        if sum(given) != 1:
            raise ValueError("--tomograms (or --optimisation-set) or --tomogram is needed, not both"
                             if all(given) else
                             "--tomograms, --optimisation-set or --tomogram is needed")
        if bool(self.points) == bool(self.mask):
            raise ValueError("--points or --mask is needed, not both")
        if self.spacing_A is not None and self.lattice_A is not None:
            raise ValueError("--spacing-A and --lattice-A exclude each other: give one")
        if self.fit and self.shape not in ("sphere", "ellipsoid"):
            raise ValueError(f"--fit is for spheres and ellipsoids, not --shape {self.shape}")
        if self.twist_per_rise_deg and self.rise_A is None:
            raise ValueError("--twist-per-rise-deg needs --rise-A")
        self._check_spacing()
        return self

    def _check_spacing(self) -> None:
        is_tube = bool(self.points) and self.shape == "tube"
        has_spacing = self.spacing_A is not None or self.lattice_A is not None
        if self.rise_A is not None and not is_tube:
            raise ValueError("--rise-A is for --shape tube")
        if bool(self.points) and self.shape == "stalk":
            return
        if is_tube and (self.rise_A is not None) == has_spacing:
            raise ValueError("--shape tube needs --spacing-A, --lattice-A or --rise-A, one of them")
        if not is_tube and not has_spacing:
            raise ValueError("--lattice-A (with --density) or --spacing-A is needed")
