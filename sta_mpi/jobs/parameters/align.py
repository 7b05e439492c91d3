"""Parameters of `align`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from sta_mpi.jobs.parameters.average import ReconstructionParameters


class AlignParameters(ReconstructionParameters):
    """Align particles to a reference by exhaustive search and average them, half-sets apart."""

    reference: Path | None = Field(
        None, description="Reference map (MRC); a name with half1/half2 gives each half its own. "
        "Default: the average at the given poses.")
    search: Literal["grid", "local", "global"] = Field(
        "grid", description="Search method. grid: the exhaustive oracle. local: polish by "
        "Fisher scoring from the current pose. global: all rotations in a low band, the best "
        "ones polished, in the first round; local after it.")
    starts: int = Field(
        6, ge=1, le=100, description="Candidates of the global search that are polished.")
    iterations: int = Field(1, ge=1, le=50, description="Rounds of alignment and averaging.")
    lowpass_A: float = Field(
        30.0, gt=0, description="The reference and the search use nothing finer than this [Å].")
    highpass_A: float | None = Field(
        None, gt=0, description="The search uses nothing coarser than this [Å].")
    global_order: int | None = Field(
        None, ge=0, le=4, description="Search all rotations of this HEALPix order "
        "(1: 30°, 2: 15°, 3: 7.5°) in the first iteration instead of a local grid. "
        "Default of --search global: 2.")
    angle_range_deg: float = Field(
        6.0, ge=0, description="Largest rotation away from the current pose [°].")
    angle_step_deg: float = Field(2.0, gt=0, description="Step of the rotation grid [°].")
    shift_range_A: float = Field(
        10.0, ge=0, description="Largest shift away from the current position [Å].")
    shift_step_A: float = Field(5.0, gt=0, description="Step of the shift grid [Å].")
    refine_factor: float = Field(
        0.5, gt=0, le=1, description="Ranges and steps shrink by this factor each iteration.")
    angle_prior_deg: float | None = Field(
        None, gt=0, description="Gaussian prior on the rotation away from the input pose, "
        "standard deviation [°].")
    shift_prior_A: float | None = Field(
        None, gt=0, description="Gaussian prior on the shift from the input position [Å].")
    score: Literal["ncc", "loglik"] = Field(
        "loglik", description="Score that picks the pose: weighted normalised correlation, or "
        "Gaussian likelihood with per-tilt noise and the fitted grey scale of the reference.")
    reference_mask: Path | None = Field(
        None, description="Mask (MRC, 0..1) put on the reference before the search.")
