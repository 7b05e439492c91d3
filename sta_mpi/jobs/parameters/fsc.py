"""Parameters of `fsc`, and those of half maps that other commands share."""

from pathlib import Path

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import JobParameters


class FscMaskParameters(JobParameters):
    """Mask and phase randomisation of an FSC."""

    mask: Path | None = Field(
        None, description="Mask (MRC, 0..1); default: a soft sphere.")
    mask_diameter_A: float | None = Field(
        None, gt=0, description="Diameter of the soft sphere [Å]; default: 0.8 of the box.")
    voxel_A: float | None = Field(
        None, gt=0, description="Voxel edge of all maps [Å]; default: that of the first map's "
        "header.")
    randomise_at_A: float | None = Field(
        None, gt=0, description="Randomise phases beyond this resolution [Å]; default: from the "
        "first shell whose unmasked FSC is below --randomise-at-fsc.")
    randomise_at_fsc: float = Field(
        0.8, gt=0, lt=1, description="Randomise phases from the first shell whose unmasked FSC is "
        "below this.")
    molecular_weight_kDa: float | None = Field(
        None, gt=0, description="Mass of the particle [kDa], for the FSC of the particle alone; "
        "default: the volume of the mask alone.")


class FscParameters(FscMaskParameters):
    """Fourier shell correlation of two half maps, with phase-randomisation correction."""

    half1: Path | None = Field(None, description="First half map (MRC); or its folder.")
    half2: Path | None = Field(
        None, description="Second half map; default: the name of the first with half1 -> half2.")
    map: Path | None = Field(
        None, description="One full map, to compare with --model; need not be a cube.")
    model: Path | None = Field(
        None, description="Atomic model (PDB, mmCIF) in the frame of the map: adds the map-model "
        "FSC.")
    model_radius_A: float = Field(
        3.0, gt=0, le=50, description="Mask of the map-model FSC: around each atom [Å].")
    model_b_factor_A2: float | None = Field(
        None, ge=0, description="One B-factor for all atoms, where the model's column holds "
        "something else [Å²].")
    directional: bool = Field(
        True, description="FSC in cones and its anisotropy.")
    cone_deg: float = Field(
        20.0, ge=5, le=60, description="Half opening angle of a cone [°].")

    @model_validator(mode="after")
    def _one_kind_of_map(self) -> "FscParameters":
        if (self.half1 is None) == (self.map is None):
            raise ValueError("give either --half1 (half maps) or --map (one map, with --model)")
        if self.map is not None and self.model is None:
            raise ValueError("--map needs --model: one map has no FSC with itself")
        return self
