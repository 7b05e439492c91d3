"""Parameters of `select`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import InputSetParameters


class SelectParameters(InputSetParameters):
    """Join, edit, filter and split particle sets, and remove duplicates."""

    # 1. input
    join: tuple[Path, ...] = Field(
        (), description="Further particle files or optimisation sets to join (repeatable). "
        "Particle files are of the same tomograms.")
    set_column: tuple[str, ...] = Field(
        (), description="LABEL=VALUE: give a column one value (repeatable).")
    multiply_column: tuple[str, ...] = Field(
        (), description="LABEL=FACTOR: multiply a column (repeatable).")
    add_to_column: tuple[str, ...] = Field(
        (), description="LABEL=NUMBER: add to a column (repeatable).")
    remove_column: tuple[str, ...] = Field((), description="Column to remove (repeatable).")

    # 2. filters
    classes: tuple[int, ...] = Field(
        (), description="Keep particles of this class, rlnClassNumber (repeatable).")
    half: int | None = Field(None, ge=1, le=2, description="Keep one half-set.")
    tomogram_name: tuple[str, ...] = Field(
        (), description="Keep particles of this tomogram (repeatable).")
    keep_range: tuple[str, ...] = Field(
        (), description="LABEL:LOW:HIGH: keep rows whose column is within (repeatable).")
    keep_text: tuple[str, ...] = Field(
        (), description="LABEL=TEXT: keep rows whose column holds the text (repeatable).")
    drop_text: tuple[str, ...] = Field(
        (), description="LABEL=TEXT: drop rows whose column holds the text (repeatable).")
    tilt_min_deg: float | None = Field(
        None, ge=0, le=180, description="Smallest angle of the particle's z axis to that of the "
        "tomogram [°].")
    tilt_max_deg: float | None = Field(
        None, ge=0, le=180, description="Largest angle of the particle's z axis to that of the "
        "tomogram [°].")
    min_tilts: int | None = Field(
        None, ge=1, description="Fewest visible tilts (rlnTomoVisibleFrames).")
    score_column: str | None = Field(
        None, description="Column that says how good a particle is; default: the first there is of "
        "rlnMaxValueProbDistribution, rlnLogLikeliContribution, rlnAutopickFigureOfMerit.")
    score_low_is_good: bool = Field(False, description="Low scores are good.")
    min_score: float | None = Field(None, description="Smallest score kept.")
    max_score: float | None = Field(None, description="Largest score kept.")
    region_mask: str | None = Field(
        None, description="Tomogram mask (MRC) to be in; {tomo} in the name stands for the "
        "tomogram.")
    region_invert: bool = Field(False, description="Keep what is outside of the mask.")
    region_low_A: tuple[float, ...] = Field(
        (), description="Lowest x, y and z (three times) from the tomogram centre [Å].")
    region_high_A: tuple[float, ...] = Field(
        (), description="Highest x, y and z (three times) from the tomogram centre [Å].")

    # 3. lattice
    lattice_spacing_A: float | None = Field(
        None, gt=0, description="Distance of lattice neighbours: keep particles with consistent "
        "neighbours [Å].")
    lattice_neighbours: int = Field(6, ge=2, le=12, description="Neighbours of a lattice site.")
    lattice_phase_deg: float | None = Field(
        None, description="Direction of a neighbour from the particle's x axis [°]; default: "
        "estimated.")
    lattice_tolerance: float = Field(
        0.3, gt=0, le=0.5, description="Distance from a lattice site, over the spacing.")
    lattice_angle_deg: float = Field(
        25.0, gt=0, le=180, description="Largest angle between neighbours, modulo symmetry [°].")
    min_neighbours: int = Field(2, ge=0, description="Fewest consistent neighbours.")
    min_patch: int = Field(1, ge=1, description="Fewest particles of a connected patch.")
    fill_holes: bool = Field(False, description="Add particles at empty lattice sites.")
    hole_votes: int = Field(
        3, ge=1, description="Neighbours that must point at a hole for it to be filled.")

    # 4. duplicates
    min_distance_A: float | None = Field(
        None, gt=0, description="Remove duplicates: nearer than this, the best score stays [Å].")
    duplicate_angle_deg: float | None = Field(
        None, gt=0, le=180, description="Duplicates agree within this angle, modulo symmetry [°]; "
        "default: place alone decides.")
    across_halves: Literal["best", "same-half", "drop", "ignore"] = Field(
        "best", description="A place that both half-sets hold: best of them stays; those of "
        "other angles stay in the same half; drop both; ignore (not independent).")
    relion_compatible: bool = Field(
        False, description="Remove duplicates by RELION's rule: the last row stays, origins "
        "without the orientation of the box.")
    symmetry: str = Field("C1", description="Point group: C<n>, D<n>, T, O, I.")

    # 5. how many
    false_share: float | None = Field(
        None, gt=0, lt=1, description="Threshold from the histogram of scores of each tomogram: "
        "this share of the particles kept is expected to be false. After duplicates are removed.")
    quartile_share: float | None = Field(
        None, gt=0, description="Smallest score kept, as a share of the upper quartile of the "
        "scores of its tomogram: about 0.6 where scores are occupancies, as staGreyScale. After "
        "duplicates are removed.")
    best_share: float | None = Field(None, gt=0, le=1, description="Keep this share, best first.")
    best_count: int | None = Field(None, ge=1, description="Keep this many, best first.")
    random_share: float | None = Field(None, gt=0, le=1, description="Keep a random share.")
    random_count: int | None = Field(None, ge=1, description="Keep this many at random.")
    min_per_tomogram: int | None = Field(
        None, ge=1, description="Drop tomograms with fewer particles.")
    max_per_tomogram: int | None = Field(
        None, ge=1, description="Keep at most this many in a tomogram, best first.")

    # 6. output
    halves: Literal["keep", "random", "clusters"] = Field(
        "keep", description="Half-sets: those of the file, new random ones, or whole clusters of "
        "neighbours.")
    cluster_distance_A: float = Field(
        100.0, gt=0, description="Particles this near to each other are one cluster [Å].")
    renumber: Literal["auto", "always", "never"] = Field(
        "auto", description="Give particles new names: where names are repeated, always, or never "
        "(repeated names are refused).")
    split_parts: int | None = Field(None, ge=2, description="Also write this many parts.")
    split_size: int | None = Field(None, ge=1, description="Also write parts of this size.")
    random_order: bool = Field(False, description="Parts are drawn at random.")
    compare: Path | None = Field(
        None, description="Other particle file of the same tomograms: count common particles.")
    compare_distance_A: float = Field(
        10.0, gt=0, description="Particles of both files within this distance are the same [Å].")
    histogram: tuple[str, ...] = Field(
        (), description="Column to draw a histogram of (repeatable).")

    @model_validator(mode="after")
    def _consistent(self) -> "SelectParameters":
        for low, high in (("tilt_min_deg", "tilt_max_deg"), ("min_score", "max_score"),
                          ("min_per_tomogram", "max_per_tomogram")):
            a, b = getattr(self, low), getattr(self, high)
            if a is not None and b is not None and a > b:
                raise ValueError(f"{low} is above {high}")
        for name in ("region_low_A", "region_high_A"):
            if len(getattr(self, name)) not in (0, 3):
                raise ValueError(f"{name} needs x, y and z")
        if self.split_parts is not None and self.split_size is not None:
            raise ValueError("give split_parts or split_size, not both")
        if self.fill_holes and self.lattice_spacing_A is None:
            raise ValueError("fill_holes needs lattice_spacing_A")
        if self.relion_compatible and self.min_distance_A is None:
            raise ValueError("relion_compatible needs min_distance_A")
        if self.relion_compatible and (
                self.duplicate_angle_deg is not None or self.across_halves != "best"):
            raise ValueError("relion_compatible knows no angles and no half-sets")
        return self
