"""Parameters of `postprocess`."""

from pathlib import Path

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.fsc import FscMaskParameters


class PostprocessParameters(FscMaskParameters):
    """Half maps to a sharpened map with its resolution, as RELION's postprocess."""

    half1: Path = Field(description="First half map (MRC), unfiltered; or its folder.")
    half2: Path | None = Field(
        None, description="Second half map; default: the name of the first with half1 -> half2.")
    auto_mask: bool = Field(
        False, description="Make the mask from the map itself (15 Å low-pass, automatic "
        "threshold); see the command mask for more.")
    force_mask: bool = Field(
        False, description="Use the masked FSC even where the unmasked one is better.")

    auto_b_factor: bool = Field(False, description="Find the B-factor from the Guinier plot.")
    b_fit_low_A: float = Field(
        10.0, gt=0, description="Fit the Guinier plot from here [Å].")
    b_fit_high_A: float | None = Field(
        None, gt=0, description="Fit to here [Å]; default: every shell with an FSC weight.")
    b_factor_A2: float | None = Field(
        None, ge=-5000, le=5000, description="B-factor to apply [Å²]; negative sharpens.")
    fsc_weighting: bool = Field(
        True, description="Weight the map by sqrt(2 FSC / (1 + FSC)); without it a low-pass is "
        "needed.")
    lowpass_A: float | None = Field(
        None, gt=0, description="Low-pass the map at [Å]; default: not at all, the FSC weight "
        "takes noise out.")
    lowpass_at_resolution: bool = Field(
        False, description="Low-pass the map at the resolution (FSC 0.143).")
    lowpass_edge_shells: float = Field(
        2.0, ge=0, description="Width of the edge of the low-pass [Fourier shells].")
    mtf: Path | None = Field(
        None, description="MTF of the detector (STAR), which the map is divided by.")
    mtf_pixel_A: float | None = Field(
        None, gt=0, description="Pixel of the unbinned images that the MTF is for [Å]; default: "
        "the voxel of the maps.")

    write_half_maps: bool = Field(
        False, description="Also write both half maps, filtered and sharpened as the map is, for "
        "the validation of models.")
    mask_sweep: bool = Field(
        True, description="Resolution under tighter and looser masks.")
    n_particles: int | None = Field(
        None, ge=2, description="Particles in both half maps, for the ResLog curve.")
    subset_half1: tuple[Path, ...] = Field(
        (), description="First half map of a subset of the particles, for the ResLog curve; may "
        "be given many times.")
    subset_n_particles: tuple[int, ...] = Field(
        (), description="Particles of each --subset-half1, in that order.")
    split_half1: tuple[Path, ...] = Field(
        (), description="First half map of the same particles in another random split; may be "
        "given many times.")

    @model_validator(mode="after")
    def _consistent(self) -> "PostprocessParameters":
        if self.auto_b_factor and self.b_factor_A2 is not None:
            raise ValueError("--auto-b-factor and --b-factor-A2 exclude each other: give one")
        if self.lowpass_A is not None and self.lowpass_at_resolution:
            raise ValueError("--lowpass-A and --lowpass-at-resolution exclude each other: give one")
        if not (self.fsc_weighting or self.lowpass_A or self.lowpass_at_resolution):
            raise ValueError("--no-fsc-weighting needs --lowpass-A or --lowpass-at-resolution: "
                             "nothing else keeps noise out")
        if self.auto_mask and self.mask is not None:
            raise ValueError("--auto-mask and --mask exclude each other: give one")
        if len(self.subset_half1) != len(self.subset_n_particles):
            raise ValueError(
                f"--subset-half1 is given {len(self.subset_half1)} times and "
                f"--subset-n-particles {len(self.subset_n_particles)} times: give them in pairs")
        if self.b_fit_high_A is not None and self.b_fit_high_A >= self.b_fit_low_A:
            raise ValueError(f"--b-fit-high-A {self.b_fit_high_A:g} must be finer than "
                             f"--b-fit-low-A {self.b_fit_low_A:g}")
        return self
