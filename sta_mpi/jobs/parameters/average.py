"""Parameters of `average`."""

from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import InputSetParameters, ParallelParameters
from sta_mpi.jobs.parameters.device import DeviceParameters
from sta_mpi.jobs.parameters.volumes import VolumeParameters


class ReconstructionParameters(InputSetParameters, ParallelParameters, DeviceParameters,
                               VolumeParameters):
    """How observations are cut, weighted and turned into maps; shared by average and align."""

    source: Literal["auto", "tilt-series", "stacks", "boxes", "tomograms"] = Field(
        "auto", description="Where the pixels come from: tilt series, RELION 2D stacks, 3D "
        "pseudo-subtomograms, or reconstructed tomograms; auto takes the images that the particle "
        "file names, else the tilt series.")
    box_px: int | None = Field(
        None, ge=8, le=1_000_000,
        description="Box of the maps [binned px, even]; default: that of the stacks.")
    binning: int = Field(1, ge=1, le=1000, description="Binning of the tilt images.")
    symmetry: str = Field("C1", description="Point group: C<n>, D<n>, T, O, I.")
    pad: float = Field(2.0, ge=1, le=3, description="Padding of the Fourier sums; memory grows "
                       "with its cube.")
    max_dose_e_per_A2: float | None = Field(
        None, gt=0, description="Leave out tilts with more dose before them [e/Å²].")
    ctf: bool = Field(True, description="Correct for the CTF (phase and amplitude).")
    dose_weighting: bool = Field(True, description="Weight tilts by the dose they have had.")
    noise: Literal["measured", "flat"] = Field(
        "measured", description="Noise of each tilt: its measured spectrum, or flat.")
    tilt_scale: bool = Field(
        True, description="Use the signal scale of each tilt (rlnCtfScalefactor).")
    mask_diameter_A: float | None = Field(
        None, gt=0, description="Diameter of the soft sphere for the masked FSC [Å]; "
        "default: 0.8 of the box.")
    halves: Literal["keep", "random", "clusters"] = Field(
        "keep", description="Half-sets: those of the file (random where it has none), new random "
        "ones, or whole clusters of neighbours, so that overlapping particles never meet across "
        "the halves.")
    cluster_distance_A: float = Field(
        100.0, gt=0, description="Particles this near to each other are one cluster [Å].")
    unit_particles: int = Field(
        24, ge=1, description="Particles in a unit of work.")


class AverageParameters(ReconstructionParameters):
    """Average particles at their given poses into two half maps."""

    helical_rise_A: float | None = Field(
        None, gt=0, description="Helical symmetry along z: rise of one subunit [Å].")
    helical_twist_deg: float = Field(
        0.0, description="Helical symmetry: turn of one subunit about z [°].")
    helical_units: int = Field(
        1, ge=1, le=999, description="Helical symmetry: subunits that each particle stands for.")

    splits: int = Field(
        1, ge=1, le=20, description="Random splits into half-sets whose FSC is measured, that of "
        "the maps included: the spread of the resolution.")
    reslog: bool = Field(
        False, description="Measure the resolution of an eighth, a quarter and half of the "
        "particles as well (ResLog curve).")

    @model_validator(mode="after")
    def _helix(self) -> "AverageParameters":
        if (self.helical_units > 1) != (self.helical_rise_A is not None):
            raise ValueError("helical_rise_A and helical_units (2 or more) go together")
        return self
