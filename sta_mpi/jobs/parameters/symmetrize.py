"""Parameters of `symmetrize`."""

from pathlib import Path

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import InputSetParameters


class SymmetrizeParameters(InputSetParameters):
    """Impose a symmetry on a map, or expand particles by it."""

    reference: Path | None = Field(
        None, description="Map (MRC); of half1 or half2, both halves are averaged alike.")
    symmetry: str = Field("C1", description="Point group: C<n>, D<n>, T, O, I.")
    helical_rise_A: float | None = Field(
        None, gt=0, description="Rise of a helix along z for one subunit [Å].")
    helical_twist_deg: float = Field(0.0, description="Twist of the helix for one subunit [°].")
    helical_share: float = Field(
        0.4, gt=0, le=1, description="Share of the box along z whose density the helix repeats.")
    expand: bool = Field(
        False, description="Write every particle once for every operator of the group (and every "
        "helical subunit), in the same half-set.")
    helical_units: int = Field(
        1, ge=1, le=999, description="With --expand: subunits of the helix that each particle "
        "stands for, around its own one.")

    @model_validator(mode="after")
    def _consistent(self) -> "SymmetrizeParameters":
        if self.reference is None and not self.expand:
            raise ValueError("reference (a map) or expand (particles) is needed")
        if self.symmetry.strip().upper() == "C1" and self.helical_rise_A is None:
            raise ValueError("symmetry or helical_rise_A is needed: C1 changes nothing")
        if self.helical_units > 1 and (self.helical_rise_A is None or not self.expand):
            raise ValueError("helical_units goes with helical_rise_A and expand")
        return self
