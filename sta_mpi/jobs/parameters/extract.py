"""Parameters of `extract`."""

from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import InputSetParameters, ParallelParameters


class ExtractParameters(InputSetParameters, ParallelParameters):
    """Write pseudo-subtomograms that RELION 5 and heterogeneity programs read."""

    form: Literal["stacks", "boxes", "raw"] = Field(
        "stacks", description="stacks: RELION 2D stacks, multiplied by the CTF. boxes: RELION 3D "
        "data and weights. raw: 2D stacks without CTF and dose, with a table of every image.")
    layout: Literal["particle", "series"] = Field(
        "particle", description="Files: one a particle (RELION 5), or one a tilt series.")
    box_px: int = Field(ge=8, le=1_000_000, description="Box that is written [binned px, even]; "
                        "RELION's crop size.")
    window_px: int | None = Field(
        None, ge=8, le=1_000_000, description="Window that is multiplied by the CTF before it is "
        "cropped to the box [binned px, even]; RELION's box size. Default: room for the CTF.")
    binning: int = Field(1, ge=1, le=1000, description="Binning of the tilt images.")
    image_type: Literal["float32", "float16"] = Field(
        "float32", description="Number format of what is written.")
    max_dose_e_per_A2: float | None = Field(
        None, gt=0, description="Leave out tilts with more dose before them [e/Å²].")
    min_tilts: int = Field(
        1, ge=1, description="Leave out particles seen on fewer tilts.")
    ctf: bool = Field(True, description="Multiply by the CTF.")
    dose_weighting: bool = Field(True, description="Multiply by the dose damping.")
    tilt_scale: bool = Field(
        True, description="Multiply by the signal scale of each tilt (rlnCtfScalefactor).")
    whiten: bool = Field(False, description="Divide by the noise spectrum of each tilt.")
    snr: float | None = Field(
        None, gt=0, description="Boxes: also write CTF-corrected subtomograms, divided by the "
        "weight plus 1/SNR.")
    circle: bool | None = Field(
        None, description="Soft circle around the particle, mean of the outside removed; default: "
        "on, off for raw.")
    invert: bool = Field(True, description="Make protein bright (multiply by -1).")
    normalise: bool | None = Field(
        None, description="Scale tilt images to mean 0 and standard deviation 1; default: off, "
        "on for raw.")
    apply_offsets: bool = Field(
        True, description="Cut at the refined position, and make it the new coordinate.")
    apply_orientations: bool = Field(
        False, description="Make the refined orientation that of the box (rlnTomoSubtomogram*).")
    unit_particles: int = Field(24, ge=1, description="Particles in a unit of work.")

    @model_validator(mode="after")
    def _consistent(self) -> "ExtractParameters":
        if self.box_px % 2:
            raise ValueError(f"box_px must be even, for example {self.box_px + 1}")
        if self.window_px is not None and (self.window_px % 2 or self.window_px < self.box_px):
            raise ValueError(f"window_px must be even and at least the box of {self.box_px} px")
        if self.snr is not None and self.form != "boxes":
            raise ValueError("snr goes with boxes alone")
        if self.form == "raw" and self.whiten:
            raise ValueError("whiten changes raw images; use stacks")
        if self.form == "boxes" and self.layout == "series":
            raise ValueError("boxes are written one file a particle")
        return self

    @property
    def has_circle(self) -> bool:
        """Whether the circle is used."""
        return self.form != "raw" if self.circle is None else self.circle

    @property
    def is_normalised(self) -> bool:
        """Whether tilt images are normalised."""
        return self.form == "raw" if self.normalise is None else self.normalise
