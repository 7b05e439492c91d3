"""Parameters of `match`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import ParallelParameters


class MatchParameters(ParallelParameters):
    """Find particles in tomograms by template matching."""

    optimisation_set: Path | None = Field(
        None, description="RELION 5 optimisation set (STAR) that names the tomograms.")
    tomograms: Path | None = Field(
        None, description="Tomogram STAR file that names reconstructed volumes; wins over the set.")
    tomogram: tuple[Path, ...] = Field(
        (), description="Tomogram (MRC) of another program without its tilt series; may be given "
        "many times. Its name without the ending is the rlnTomoName of its particles.")
    series: tuple[str, ...] = Field(
        (), description="Tomograms to search (rlnTomoName); may be given many times. Default: all.")
    reference: Path = Field(description="Template (MRC), a cube, protein bright.")
    reference_voxel_A: float | None = Field(
        None, gt=0, description="Voxel edge of the template [Å]; default: that of its header.")
    invert_reference: bool = Field(False, description="The template has dark protein.")
    reference_b_factor_A2: float = Field(
        0.0, ge=-1e5, le=1e6, description="Blur the template by this B-factor [Å²]: for maps "
        "that were sharpened.")
    mask_diameter_A: float = Field(
        gt=0, description="Diameter of the soft sphere around the template [Å].")
    symmetry: str = Field("C1", description="Point group of the template.")

    lowpass_A: float | None = Field(
        None, gt=0, description="Finest detail that is compared [Å]; default: a fifth of the mask "
        "diameter, and no finer than the tomogram holds.")
    highpass_A: float | None = Field(
        None, gt=0, description="Coarsest detail [Å]; default: twice the mask diameter.")
    healpix_order: int | None = Field(
        None, ge=0, le=5, description="Orientations every 60 / 2^order degrees; default: from "
        "low-pass and mask diameter.")
    search: Literal["coarse-to-fine", "full"] = Field(
        "coarse-to-fine", description="All voxels at twice the angular step, then the whole list "
        "where that found something; or the whole list at all voxels.")
    whiten: bool = Field(True, description="Divide by the measured noise spectrum.")
    bead_sigmas: float = Field(
        8.0, ge=0, le=1000, description="Mask voxels that are this many standard deviations off "
        "(gold, empty borders); 0: no mask.")
    edge_A: float | None = Field(
        None, ge=0, description="No particles nearer than this to a border of the tomogram [Å]; "
        "default: the radius of the mask.")

    wedge: Literal["auto", "tilts", "binary", "none"] = Field(
        "auto", description="What was measured. tilts: exact, from dose, CTF and scale of every "
        "tilt, for each tile. binary: the tilt range alone. auto: tilts where they are known.")
    tilt_min_deg: float = Field(
        -60.0, gt=-180, lt=180, description="Lowest tilt of --tomogram, about y [°].")
    tilt_max_deg: float = Field(
        60.0, gt=-180, lt=180, description="Highest tilt of --tomogram, about y [°].")
    ctf: bool = Field(True, description="Weight by the CTF at the depth of each tile.")
    dose_weighting: bool = Field(True, description="Weight tilts by the dose they have had.")
    tilt_scale: bool = Field(True, description="Use the signal scale of each tilt.")
    tomogram_contrast: Literal["auto", "dark", "bright"] = Field(
        "auto", description="Protein in the tomograms; auto: as sta-mpi tomogram made them, else "
        "dark.")
    tomogram_ctf: Literal["auto", "none", "flipped"] = Field(
        "auto", description="CTF in the tomograms: not corrected, or with the right phases; auto: "
        "as sta-mpi tomogram made them, else none.")
    tomogram_dose: Literal["auto", "weighted", "plain"] = Field(
        "auto", description="Whether the tomograms were made from dose-weighted tilts; auto: as "
        "sta-mpi tomogram made them, else plain.")

    particles: Path | None = Field(
        None, description="Search only near these particles (STAR): seeds on surfaces, earlier "
        "picks.")
    search_radius_A: float | None = Field(
        None, gt=0, description="How far from a seed [Å]; default: half the mask radius.")
    max_tilt_deg: float = Field(
        180.0, gt=0, le=180, description="Largest angle between the particle's Z axis and that of "
        "the seed [°]; the turn about it is free.")

    min_distance_A: float | None = Field(
        None, gt=0, description="Smallest distance of two picks [Å]; default: 0.6 of the mask "
        "diameter.")
    false_alarm_rate: float = Field(
        0.1, gt=0, lt=1, description="Wanted share of false picks, estimated with the inverted "
        "template.")
    threshold: float | None = Field(
        None, description="Smallest score of a pick instead of the suggested one.")
    max_picks: int | None = Field(None, ge=1, description="Most picks of a tomogram.")
    tile_px: int | None = Field(
        None, ge=16, le=1024, description="Longest edge of the tiles [voxels of the search]; "
        "default: the fastest.")

    @model_validator(mode="after")
    def _consistent(self) -> "MatchParameters":
        given = self.tomograms is not None or self.optimisation_set is not None
        if given == bool(self.tomogram):
            raise ValueError("give --tomograms or --optimisation-set, or volumes with --tomogram")
        if self.tilt_min_deg >= self.tilt_max_deg:
            raise ValueError(f"tilt_min_deg {self.tilt_min_deg:g} is not below tilt_max_deg "
                             f"{self.tilt_max_deg:g}")
        if self.wedge == "tilts" and self.tomogram:
            raise ValueError("--wedge tilts needs tilt series, which --tomogram has none of")
        if self.particles is None and (self.search_radius_A is not None or self.max_tilt_deg < 180):
            raise ValueError("--search-radius-A and --max-tilt-deg go with --particles")
        if self.highpass_A and self.lowpass_A and self.highpass_A <= self.lowpass_A:
            raise ValueError(f"highpass_A {self.highpass_A:g} has to be more than lowpass_A "
                             f"{self.lowpass_A:g}")
        return self
