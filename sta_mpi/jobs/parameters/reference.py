"""Parameters of `reference`."""

from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.average import ReconstructionParameters
from sta_mpi.jobs.parameters.particle_store import ParticleStoreParameters


class ReferenceParameters(ReconstructionParameters, ParticleStoreParameters):
    """Make an initial reference from particles, without a map to start from."""

    method: Literal["denovo", "average", "particle", "tree"] = Field(
        "denovo", description="denovo: several starts from random poses in competition. average: "
        "no search, the average at the given poses. particle: single particles as first maps. "
        "tree: 2^k particles aligned in pairs, the pairs in pairs, and so on.")
    symmetry: str = Field(
        "auto", description="Point group whose axes are found, turned into the standard setting "
        "(C<n>: the axis to Z) and imposed; auto: found as well; C1: none.")
    mask_diameter_A: float | None = Field(
        None, gt=0, description="Diameter of the soft sphere about the map [Å]; default: 0.8 of "
        "the box, where normals are known 0.5 (about three spacings of a lattice).")
    starts: int = Field(
        4, ge=1, le=64, description="Starts in competition (denovo, particle, tree).")
    subset: int = Field(
        400, ge=8, le=100_000, description="Particles of the competition, drawn at random; all "
        "particles are aligned to the winner.")
    unseen_share: float = Field(
        0.25, gt=0, lt=1, description="Share of them that no start sees, and that judge the maps.")
    lowpass_A: float | None = Field(
        None, gt=0, description="Finest detail of the competition, and low-pass of the no-search "
        "average [Å]. Default: a sixth of the box, an eighth where normals are known.")
    cone_deg: float | None = Field(
        None, gt=0, le=180, description="The normals of the input (particle Z axes, or their "
        "priors) are right within this angle [°]; only twists and tilts up to it are searched. "
        "Default: 15 where the file has priors on tilt and psi, else nothing is assumed.")
    shift_range_A: float | None = Field(
        None, ge=0, description="Largest shift from the input position [Å]; default: a "
        "twentieth of the box.")
    twist: Literal["keep", "random"] = Field(
        "keep", description="Method average: the turn of each particle about its own Z axis as "
        "given, or drawn at random.")
    particle: int | None = Field(
        None, ge=1, description="Method particle: row of the particle that is the first map; "
        "default: as many as --starts are tried, those of the highest score first "
        "(rlnAutopickFigureOfMerit, else drawn at random).")
    tree_levels: int = Field(
        5, ge=1, le=10, description="Method tree: levels k of pairs, 2^k particles a tree.")
    iterations: int = Field(
        2, ge=0, le=20, description="Local rounds of all particles after the search for the "
        "winner's poses.")
    symmetry_max_shift_A: float | None = Field(
        None, gt=0, description="Symmetry axes pass the centre of the map within this distance "
        "[Å]; default: a quarter of the box.")
    lattice_direction_deg: float = Field(
        0.0, ge=-360, le=360, description="Cyclic symmetry: turn the map about Z so that the "
        "direction to the nearest neighbour of its lattice in XY is at this angle from +X [°].")
    lattice_spacing_A: float | None = Field(
        None, gt=0, description="Distance of neighbours in the lattice [Å]; default: found in the "
        "map, where there is a lattice.")

    @model_validator(mode="after")
    def _consistent(self) -> "ReferenceParameters":
        if self.particle is not None and self.method != "particle":
            raise ValueError("particle goes with method particle")
        if self.twist == "random" and self.method != "average":
            raise ValueError("twist random goes with method average: the others search the twist")
        return self
