"""Pose polish: the most likely pose of one particle near a start, and its information.

Samples obey X = a V exp(-i phase) + noise of power sigma^2 (see `observation`), so over the
independent half plane, up to a constant of the data,

    log L = 2 s cross - s^2 power           s: grey scale of the reference, when it is given
    log L = cross |cross| / power           s = cross / power, the best one, otherwise

(the sign keeps the objective monotone in cross). With analytic derivatives from
`kernels.polish` the expected information of the pose is 2 s^2 H, minus what fitting s costs;
steps solve it (Fisher scoring), damped after a step that made things worse (Levenberg,
Marquardt). Low frequencies come first, because their optimum is the widest.

The six parameters are a rotation vector about the particle's own axes [rad] and a shift in
tomogram axes [px]. A step is applied before its length is taken as a sign of convergence; one
that short is not evaluated. A band that does not contradict a start leaves it where it is
(docs/decisions/0103).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.marching import band_after
from sta_mpi.align.pose import Judged, PolishSettings, Pose, Restraint
from sta_mpi.kernels.polish import PoseFunction, PoseSums
from sta_mpi.kernels.polish.restraint import step_between

__all__ = [
    "Asked",
    "BandSearch",
    "PolishResult",
    "PolishSettings",
    "Pose",
    "PoseState",
    "Steps",
    "bands_of",
    "polish_pose",
    "polish_steps",
    "run_steps",
]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Result = TypeVar("Result")

EARLY_TOLERANCE = 1.0
"""Step in standard deviations that ends a band other than the last: it only has to lead to
the next band's optimum."""

CONTRADICTED = 2.0
"""Distance [standard deviations] from the optimum of a band other than the last below which a start
is left where it is. The truth itself is sqrt(6) away from it on average, so the optimum is no
better a start for the next band, and a good pose would be moved away and have to come back."""

LEFT = 0.5
"""Share of the tolerance that may be expected to be left of the distance to the optimum after a
step that is applied and not evaluated. A step leaves about the share of its own length that the
step before it left (steps of Fisher converge linearly, at a rate that the noise sets)."""

LARGEST_TURN_RAD = 0.25
_TINY_RAD, _TINY_PX = 3e-4, 2e-3
"""A step below both that makes things worse is on a kink of the interpolant, not far from the
optimum: what is left is less than the interpolation's own error."""

_REJECTIONS = 8


@dataclass(frozen=True)
class PolishResult:
    """A polished pose.

    Parameters
    ----------
    R_p2t, shift_xyz_px : as in `Pose`
    score : float                   log-likelihood up to a constant, without the prior
    log_prior : float
    cross, power, grey_scale : float
    information : (6, 6) float64    of the data alone, 3 rotations [rad^-2], 3 shifts [px^-2]
    n_evaluations : int             passes over (part of) the samples
    is_converged : bool             the last band ended with a short step or a small gain
    has_hit_limit : bool            the pose lies on a limit
    """

    R_p2t: Floats
    shift_xyz_px: Floats
    score: float
    log_prior: float
    cross: float
    power: float
    grey_scale: float
    information: Floats
    n_evaluations: int
    is_converged: bool
    has_hit_limit: bool


class PoseState(NamedTuple):
    """Everything known at one pose.

    At the end of a climb the pose may be a last step past where it was looked at: score and prior
    are those expected of the pose, everything else is of the last look.
    """

    pose: Pose
    cross: float
    power: float
    judged: Judged

    @property
    def score(self) -> float:
        """Log-likelihood up to a constant."""
        return self.judged.score

    @property
    def objective(self) -> float:
        """Log-likelihood with the prior."""
        return self.judged.score + self.judged.log_prior

    def result(self, n_evaluations: int, is_converged: bool, restraint: Restraint
               ) -> PolishResult:
        """The state as the end of a search."""
        at = self.judged
        return PolishResult(
            self.pose.R_p2t, self.pose.shift_xyz_px, at.score, at.log_prior, self.cross,
            self.power, at.grey_scale, at.information, n_evaluations, is_converged,
            restraint.holds(self.pose))


@dataclass(frozen=True)
class Asked:
    """A pose whose sums over the first `count` (m,) samples of each tilt a search needs next."""

    pose: Pose
    count: Counts


Steps = Generator[Asked, PoseSums, PolishResult]
"""A search as a dialogue: it asks for the sums of one pose at a time, and ends in a result."""


def polish_pose(problem: PoseFunction, start: Pose, settings: PolishSettings | None = None,
                count: NDArray[np.integer] | None = None, around: Pose | None = None
                ) -> PolishResult:
    """Find the most likely pose near a start.

    Parameters
    ----------
    problem : PoseFunction     the particle's samples and a reference (tilt images or a box)
    start : Pose
    settings : PolishSettings
    count : (m,) int or None   samples that exist in each tilt (dose limits); None: all
    around : Pose or None      centre of priors and limits; None: the start

    Notes
    -----
    A start outside the limits is first moved onto them. Without any sample, or where no
    parameter matters, the start is returned as not converged.
    """
    return run_steps(problem, polish_steps(problem, start, settings, count, around))


def run_steps(problem: PoseFunction, steps: Generator[Asked, PoseSums, Result]) -> Result:
    """Answer what a search asks until it ends; its result."""
    asked = next(steps)
    while True:
        sums = problem.sums(asked.pose.R_p2t, asked.pose.shift_xyz_px, asked.count)
        try:
            asked = steps.send(sums)
        except StopIteration as end:
            result: Result = end.value
            return result


def polish_steps(problem: PoseFunction, start: Pose, settings: PolishSettings | None = None,
                 count: NDArray[np.integer] | None = None, around: Pose | None = None) -> Steps:
    """Do what `polish_pose` does, but leave the evaluation of poses to the caller."""
    settings = settings or PolishSettings()
    restraint = Restraint(around or start, settings)
    pose, n_evaluations, i = restraint.clip(start), 0, 0
    bands = bands_of(problem, settings, count)
    while i < len(bands):
        state, is_converged = yield from bands[i].climb(pose, restraint)
        pose = state.pose
        n_evaluations += bands[i].n_evaluations
        i = band_after([b.radius for b in bands], i, state.score)
    return state.result(n_evaluations, is_converged, restraint)


def bands_of(problem: PoseFunction, settings: PolishSettings,
             count: NDArray[np.integer] | None) -> list["BandSearch"]:
    """The searches of a polish, band after band."""
    layout = problem.layout
    limit = None if count is None else np.asarray(count)
    if limit is not None and (limit.shape != (problem.n_tilts,) or limit.min(initial=0) < 0):
        raise ValueError(f"count must be ({problem.n_tilts},) integers from 0")
    bands: Sequence[int] = settings.bands or range(1, len(layout.band_start))
    if not len(bands):
        raise ValueError("bands is empty")
    used = np.repeat(layout.band_start[list(bands), None], problem.n_tilts, axis=1)
    if limit is not None:
        np.minimum(limit, used, out=used)
    return [BandSearch(settings, count, problem.radius(count), problem.n,
                       is_last=i == len(bands) - 1) for i, count in enumerate(used)]


class BandSearch:
    """Damped Fisher scoring in one band.

    Parameters
    ----------
    settings : PolishSettings
    count : (m,) int            samples used of each tilt
    radius : float              their largest |k| [index units]
    box_px : int
    is_last : bool              whether the pose is to be found, and not only the next band's start
    """

    def __init__(self, settings: PolishSettings, count: Counts, radius: float, box_px: int,
                 is_last: bool) -> None:
        self._grey_scale = np.nan if settings.grey_scale is None else float(settings.grey_scale)
        self._max_steps, self._is_last = settings.max_steps, is_last
        self._tolerance = settings.tolerance if is_last else EARLY_TOLERANCE
        self._count, self._largest_move_px = count, box_px / (2 * radius)
        self.radius, self.n_evaluations = radius, 0

    def climb(self, start: Pose | PoseState, restraint: Restraint,
              is_worth: Callable[[PoseState], bool] | None = None
              ) -> Generator[Asked, PoseSums, tuple[PoseState, bool]]:
        """(state, whether it converged) after climbing from a pose, or a state of this band.

        A climb that is no longer worth its steps ends where it is. `is_worth` is given where a
        start competes with others, and such a start is not left where it is: those that lead to
        the same optimum would not be seen to.
        """
        state = start if isinstance(start, PoseState) else (
            yield from self.evaluate(start, restraint))
        if is_worth is None and not self._is_last and (
                self._propose(state, restraint, 0.0)[1] < CONTRADICTED):
            return state, True
        tolerance, damping, before = self._tolerance, 0.0, 0.0
        small_gain = 0.25 * tolerance**2
        for _ in range(self._max_steps):
            if is_worth is not None and not is_worth(state):
                return state, False
            whole = np.nan
            for _ in range(_REJECTIONS):
                pose, length = self._propose(state, restraint, damping)
                if np.isnan(length):
                    return state, False
                whole = length if np.isnan(whole) else whole
                if damping == 0 and (length < tolerance
                                     or length**2 < LEFT * tolerance * before):
                    return PoseState(pose, state.cross, state.power, restraint.foresee(
                        state.pose, state.judged, pose, length)), True
                trial = yield from self.evaluate(pose, restraint)
                gain = trial.objective - state.objective
                # on kinks of the interpolant steps of 0.1 standard deviations may go on, to and fro
                if length < tolerance or abs(gain) < small_gain:
                    # a step that is short because it is damped proves nothing
                    return (trial if gain >= -small_gain else state,
                            damping == 0 or whole < 3 * tolerance)
                if gain > 0:
                    break
                if _is_tiny(step_between(*_parts(state.pose), *_parts(pose))):
                    return state, True
                damping = max(8.0 * damping, 0.1)
            else:
                return state, False
            state, before = trial, length if damping == 0 else 0.0
            damping = damping / 8.0 if damping > 0.1 else 0.0
        return state, False

    def evaluate(self, pose: Pose, restraint: Restraint
                 ) -> Generator[Asked, PoseSums, PoseState]:
        """Ask for the sums of a pose and make a state of them."""
        self.n_evaluations += 1
        sums = yield Asked(pose, self._count)
        return PoseState(pose, sums.cross, sums.power,
                         restraint.judge(pose, sums, self._grey_scale))

    def _propose(self, state: PoseState, restraint: Restraint, damping: float
                 ) -> tuple[Pose, float]:
        """(pose after a step, length of the step in standard deviations)."""
        return restraint.step(state.pose, state.judged, damping, LARGEST_TURN_RAD,
                              self._largest_move_px)


def _parts(pose: Pose) -> tuple[Floats, Floats]:
    return pose.R_p2t, pose.shift_xyz_px


def _is_tiny(step: Floats) -> bool:
    return bool(np.abs(step[:3]).max() < _TINY_RAD and np.abs(step[3:]).max() < _TINY_PX)
