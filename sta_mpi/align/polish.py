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
tomogram axes [px]. The step that is expected to leave little is applied and not evaluated
(docs/decisions/0107). A band that does not contradict a start leaves it where it is
(docs/decisions/0103).
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.marching import band_after
from sta_mpi.align.pose import PolishSettings, Pose, Restraint
from sta_mpi.kernels.polish import PoseFunction
from sta_mpi.kernels.polish.climb import ASKS, CONVERGED, RULES, STATE, resume
from sta_mpi.kernels.polish.pick import used_in_bands

__all__ = [
    "Asked",
    "Bands",
    "PolishResult",
    "PolishSettings",
    "Pose",
    "PoseState",
    "Steps",
    "bands_of",
    "look_at",
    "polish_pose",
    "polish_steps",
    "run_steps",
]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Records = NDArray[np.void]
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


class PolishResult(NamedTuple):
    """A polished pose.

    Parameters
    ----------
    R_p2t, shift_xyz_px : as in `Pose`
    score : float                   log-likelihood up to a constant, without the prior: the one
                                    expected of the pose, where the last step was not evaluated
    log_prior : float
    cross, power, grey_scale : float   of the last evaluation, as the information
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


class PoseState:
    """What is known at one pose, and how far a climb from there has come.

    At the end of a climb the pose may be a last step past where it was looked at: score and prior
    are those expected of the pose, everything else is of the last look.

    Parameters
    ----------
    record : (1,) array of `kernels.polish.climb.STATE`
    """

    def __init__(self, record: Records) -> None:
        self.record = record

    @classmethod
    def of(cls, pose: Pose) -> "PoseState":
        """A climb that asks for its first pose."""
        record = np.zeros(1, STATE)
        record["next_R"], record["next_shift"] = pose.R_p2t, pose.shift_xyz_px
        return cls(record)

    @property
    def pose(self) -> Pose:
        """The best pose so far."""
        return Pose(self.record["R"][0], self.record["shift"][0])

    @property
    def score(self) -> float:
        """Log-likelihood up to a constant."""
        return float(self.record["score"][0])

    @property
    def objective(self) -> float:
        """Log-likelihood with the prior."""
        return float(self.record["score"][0] + self.record["log_prior"][0])

    @property
    def n_evaluations(self) -> int:
        """Passes over (part of) the samples."""
        return int(self.record["n_evaluations"][0])

    def result(self, n_evaluations: int, restraint: Restraint) -> PolishResult:
        """The state as the end of a search."""
        # all fields at once: one by one each takes numpy a microsecond
        at = dict(zip(STATE.names or (), self.record.item(), strict=True))
        pose = Pose(at["R"].copy(), at["shift"].copy())
        return PolishResult(
            pose.R_p2t, pose.shift_xyz_px, at["score"], at["log_prior"], at["cross"], at["power"],
            at["grey_scale"], at["information"].copy(), n_evaluations, at["stage"] == CONVERGED,
            restraint.holds(pose))


class Asked(NamedTuple):
    """A climb that a search needs done next; see `kernels.polish.climb`.

    Parameters
    ----------
    state, rules : (1,) array of STATE, (b,) array of RULES
    used : (b, m) int                samples used of each tilt in each band
    """

    state: Records
    rules: Records
    used: Counts


Steps = Generator[Asked, None, PolishResult]
"""A search as a dialogue: it asks for one climb at a time, and ends in a result."""


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
    return run_steps(problem, polish_steps(bands_of(problem, settings, count), start, around))


def run_steps(problem: PoseFunction, steps: Generator[Asked, None, Result]) -> Result:
    """Do what a search asks until it ends; its result."""
    while True:
        try:
            asked = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        problem.climb(asked.state, asked.rules, asked.used)


def polish_steps(bands: "Bands", start: Pose, around: Pose | None = None) -> Steps:
    """Do what `polish_pose` does, but leave the evaluation of poses to the caller."""
    restraint = Restraint(around or start, bands.settings)
    state = yield from bands.climb_on(0, restraint.clip(start), restraint)
    return state.result(state.n_evaluations, restraint)


def bands_of(problem: PoseFunction, settings: PolishSettings | None = None,
             count: NDArray[np.integer] | None = None) -> "Bands":
    """The bands of a polish and what is used of them.

    They are the same for all particles of a layout whose tilts have the same `count`.
    """
    settings = settings or PolishSettings()
    bands: Sequence[int] = settings.bands or range(1, len(problem.layout.band_start))
    if not len(bands):
        raise ValueError("bands is empty")
    ends = problem.layout.band_start[list(bands)]
    limits = (np.full(problem.n_tilts, ends.max()) if count is None
              else np.asarray(count, np.int64))
    expected = f"count must be ({problem.n_tilts},) integers from 0"
    if limits.shape != (problem.n_tilts,):
        raise ValueError(expected)
    used, most, is_valid = used_in_bands(ends, limits)
    if not is_valid:
        raise ValueError(expected)
    return Bands(settings, used, [problem.radius(n) for n in most.tolist()], problem.n)


class Bands:
    """Damped Fisher scoring in the bands of a polish.

    Parameters
    ----------
    settings : PolishSettings
    used : (b, m) int           samples used of each tilt in each band
    radii : sequence of float   their largest |k| [index units]
    box_px : int
    """

    def __init__(self, settings: PolishSettings, used: Counts, radii: Sequence[float],
                 box_px: int) -> None:
        self.settings, self.used, self.radii = settings, used, np.array(radii)
        self._grey_scale = np.nan if settings.grey_scale is None else settings.grey_scale
        rules = np.zeros(len(radii), RULES)
        rules["grey_scale"], rules["left"], rules["least"] = self._grey_scale, LEFT, -np.inf
        # only the last band is to find the pose; the others find a start for the next one
        rules["tolerance"], rules["contradicted"] = EARLY_TOLERANCE, CONTRADICTED
        rules["tolerance"][-1], rules["contradicted"][-1] = settings.tolerance, 0.0
        rules["largest_turn_rad"], rules["max_steps"] = LARGEST_TURN_RAD, settings.max_steps
        rules["largest_move_px"], rules["radius"] = box_px / (2 * self.radii), self.radii
        self._rules = rules

    def __len__(self) -> int:
        return len(self.radii)

    def after(self, i: int, score: float) -> int:
        """The band that is searched after band i, where it reached a log-likelihood."""
        return band_after(self.radii, i, score)

    def climb_on(self, i: int, start: Pose, restraint: Restraint, may_leap: bool = True
                 ) -> Generator[Asked, None, PoseState]:
        """Climb from a pose in band i, on from there in those after it, to the last one."""
        rules = self._rules[i:].copy()
        restraint.enter(rules)
        rules["may_leap"] = may_leap
        state = PoseState.of(start)
        yield Asked(state.record, rules, self.used[i:])
        return state

    def climb(self, i: int, state: PoseState, restraint: Restraint, least: float
              ) -> Generator[Asked, None, None]:
        """Climb in band i on from what `look` found there.

        A climb that could no longer reach an objective of `least` ends where it is. The start
        competes with others, and is not left where it is: those that lead to the same optimum
        would not be seen to.
        """
        rules = self._rules[i : i + 1].copy()
        restraint.enter(rules)
        rules["contradicted"], rules["least"] = 0.0, least
        resume(state.record, rules)
        if state.record["stage"][0] == ASKS:
            yield Asked(state.record, rules, self.used[i : i + 1])

    def look(self, i: int, pose: Pose, restraint: Restraint) -> Generator[Asked, None, PoseState]:
        """Ask for the sums of a pose in band i and make a state of them."""
        return look_at(pose, restraint, self.used[i], self._grey_scale)


def look_at(pose: Pose, restraint: Restraint, count: Counts, grey_scale: float = np.nan
            ) -> Generator[Asked, None, PoseState]:
    """What the first `count` (m,) samples of each tilt say at a pose: a climb without a step."""
    rules, state = np.zeros(1, RULES), PoseState.of(pose)
    restraint.enter(rules)
    rules["grey_scale"], rules["least"] = grey_scale, -np.inf
    yield Asked(state.record, rules, count[None])
    return state
