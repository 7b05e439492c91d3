"""Parameters of `align`, and what it shares with `refine` and `classify`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from sta_mpi.jobs.parameters.average import ReconstructionParameters
from sta_mpi.jobs.parameters.particle_store import ParticleStoreParameters


class SearchParameters(ReconstructionParameters, ParticleStoreParameters):
    """How the pose of a particle is searched and what is made of it."""

    reference: tuple[Path, ...] = Field(
        (), description="Reference map (MRC), may be given several times: each particle goes to "
        "the one that explains it best. A name with half1/half2 gives each half its own. "
        "Default: the average at the given poses.")
    reference_mask: Path | None = Field(
        None, description="Mask (MRC, 0..1) put on the reference before the search. Default: a "
        "soft sphere of --mask-diameter-A, or of 0.8 of the box.")
    starts: int = Field(
        24, ge=1, le=100, description="Candidates of the global search that are polished, at "
        "most: past the first six, those far behind the best are left out.")
    highpass_A: float | None = Field(
        None, gt=0, description="The search uses nothing coarser than this [Å].")
    global_order: int | None = Field(
        None, ge=0, le=4, description="Search all rotations of this HEALPix order "
        "(1: 30°, 2: 15°, 3: 7.5°). Default of a global search: 2.")
    rotation_share: float = Field(
        1.0, gt=0, le=1, description="Share of the global list that a round draws anew "
        "(stochastic hill climbing, over several global rounds).")
    cone_deg: float | None = Field(
        None, gt=0, le=180, description="Largest angle between a particle's Z axis and that of "
        "its input pose [°], in-plane rotation free (global search).")
    relax_symmetry: str | None = Field(
        None, description="Point group of a pseudo-symmetry: local searches begin at all poses "
        "that it makes alike.")
    angle_prior_deg: float | None = Field(
        None, gt=0, description="Gaussian prior on the rotation away from the input pose, "
        "standard deviation [°].")
    tilt_prior_deg: float | None = Field(
        None, gt=0, description="Gaussian prior on the angle between the particle's Z axis and "
        "that of its prior pose (rlnAngleTiltPrior, rlnAnglePsiPrior; else the input pose), "
        "standard deviation [°]; the in-plane rotation is free.")
    shift_prior_A: float | None = Field(
        None, gt=0, description="Gaussian prior on the shift from the input position [Å].")
    fix: tuple[Literal["rotations", "axis", "in-plane", "shifts"], ...] = Field(
        (), description="Part of the poses that stays as given, may be given several times. "
        "rotations: all three. axis: the direction of the particle's Z axis (tilt, psi); it turns "
        "about it alone. in-plane: no turn about its own Z axis. shifts: positions.")
    fix_tomograms: tuple[str, ...] = Field(
        (), description="Tomogram whose particles keep their poses, but are averaged and "
        "classified, may be given several times.")
    score: Literal["loglik", "ncc", "cc", "fsc"] = Field(
        "loglik", description="Score. loglik: Gaussian likelihood with per-tilt noise, half maps "
        "as references weighted by their FSC. fsc: the same as normalised correlation. ncc: "
        "without the FSC. cc: constrained correlation, all samples of the band alike.")
    noise_from: Literal["residuals", "images"] = Field(
        "residuals", description="Noise that loglik, ncc and fsc weigh with. residuals: its level "
        "in each shell is what the references leave of 200 particles that are searched before each "
        "round. images: as measured in the images.")
    assignment: Literal["posterior", "hard"] = Field(
        "posterior", description="A particle enters the average at all its likely poses and "
        "references, by their probability, or at the best one alone.")
    early_stop: bool = Field(
        True, description="From the second round on leave particles whose pose is at its "
        "optimum (within 0.5 standard deviations) where they are.")
    oracle_particles: int | None = Field(
        None, ge=0, le=100_000, description="Particles that the exhaustive oracle searches again "
        "after each round, as a check; 0: none. Default: 5 %, at least 12 and at most 50.")

    @field_validator("reference", "fix", "fix_tomograms", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (str, Path)) else value


class AlignParameters(SearchParameters):
    """Align particles to one or several references and average them, half-sets apart."""

    prm: Path | None = Field(
        None, description="PEET parameter file: run this project, also `sta-mpi align run.prm`. "
        "Its keys say what is searched and averaged; --tomograms adds tilt series.")

    search: Literal["auto", "global", "local", "grid"] = Field(
        "auto", description="Search method. local: polish from the current pose within the "
        "ranges. global: all orientations in a low band, the best ones polished. grid: the "
        "exhaustive oracle. auto: global where the file gives no orientations, else local.")
    iterations: int = Field(1, ge=1, le=50, description="Rounds of alignment and averaging.")
    lowpass_A: float = Field(
        30.0, gt=0, description="The reference and the search use nothing finer than this [Å] in "
        "the first round.")
    band_schedule: Literal["fsc", "fixed"] = Field(
        "fsc", description="Finest detail of the rounds after the first: where the FSC of the last "
        "round's half maps falls below 0.143, or fixed.")
    global_rounds: int = Field(
        1, ge=1, le=50, description="Rounds that search all orientations; local after them.")
    angle_range_deg: float = Field(
        6.0, ge=0, description="Largest rotation away from the current pose [°].")
    angle_step_deg: float = Field(
        2.0, gt=0, description="Step of the rotation grid (grid, and check of the search) [°].")
    shift_range_A: float = Field(
        10.0, ge=0, description="Largest shift away from the current position [Å].")
    shift_step_A: float = Field(
        5.0, gt=0, description="Step of the shift grid (grid, and check of the search) [Å].")
    refine_factor: float = Field(
        0.5, gt=0, le=1, description="Ranges and steps shrink by this factor each iteration.")
    mirror_decoy: bool = Field(
        False, description="Score the mirrored reference as well, to test the hand.")
