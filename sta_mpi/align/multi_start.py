"""Polish from several starts in stages: all of them in the low band, survivors in the next.

A band of twice the radius has four times the samples, so most of the work of a polish is in
its last band, and most starts need not get there. Before and after each band

* starts that have come to the same optimum (or a symmetry mate of it) go on as one;
* starts whose log-likelihood is hopeless are dropped. When the model is right, the posterior
  probability that the truth lies by a start is e^-d, d being its deficit to the best one: a
  margin of 12 loses the truth in fewer than 1 of 10^5 particles a start. Models are never right
  (the noise may be larger than thought, the reference is not the structure), so a start also
  stays while its deficit is a small share of the best log-likelihood itself.

At a new band starts are looked at once before any is searched: the quadratic at each pose says
how far it could rise. Those that could rise highest go first, and a search ends once it could no
longer come near the best so far. At low signal nothing is hopeless and all starts are polished
to the end.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.marching import band_after
from sta_mpi.align.polish import (
    Asked,
    BandSearch,
    PolishResult,
    PolishSettings,
    Pose,
    PoseState,
    bands_of,
    run_steps,
)
from sta_mpi.align.pose import Restraint
from sta_mpi.errors import InputError
from sta_mpi.kernels.polish import PoseFunction, PoseSums
from sta_mpi.kernels.polish.restraint import step_between
from sta_mpi.kernels.polish.step import fisher_step, step_length

Floats = NDArray[np.float64]

MARGIN = 12.0
"""Deficit of log-likelihood from which a start is hopeless, when the model is right."""

MODEL_SHARE = 0.05
"""Deficit as a share of the best log-likelihood that errors of the model may cause."""

_RISE = 2.0
"""A start may rise by this many times what the quadratic at its pose promises."""

_SAME, _SAME_MODE = 1.0, 3.0
"""Distance of optima that are one, while searching and in the end [standard deviations]: a
search applies steps of up to 1.0 in a band that is not the last, and does not check them."""


@dataclass(frozen=True)
class _Start:
    """A start on its way."""

    restraint: Restraint
    pose: Pose
    state: PoseState | None = None
    n_evaluations: int = 0
    is_converged: bool = False

    @property
    def objective(self) -> float:
        return -np.inf if self.state is None else self.state.objective

    @property
    def score(self) -> float:
        return -np.inf if self.state is None else self.state.score


def polish_best(problem: PoseFunction, starts: Sequence[Pose],
                settings: PolishSettings | None = None,
                count: NDArray[np.integer] | None = None, around: Pose | None = None,
                operators: Floats | None = None, margin: float = MARGIN) -> list[PolishResult]:
    """The distinct modes that a particle's starts lead to, best first.

    Parameters
    ----------
    problem, settings, count, around : as for `polish.polish_pose`
    starts : sequence of Pose        at least one
    operators : (n, 3, 3) or None    symmetry: R and R S are the same pose
    margin : float                   deficit from which a start is dropped; infinity: never

    Returns
    -------
    list of PolishResult    at least one; those whose objective (score + log prior) is not
                            hopeless against the best
    """
    return run_steps(problem, polish_best_steps(problem, starts, settings, count, around,
                                                operators, margin))


def polish_best_steps(
    problem: PoseFunction, starts: Sequence[Pose], settings: PolishSettings | None = None,
    count: NDArray[np.integer] | None = None, around: Pose | None = None,
    operators: Floats | None = None, margin: float = MARGIN,
) -> Generator[Asked, PoseSums, list[PolishResult]]:
    """Do what `polish_best` does, but leave the evaluation of poses to the caller."""
    if not len(starts):
        raise InputError("a particle has no start to polish from: give its current pose.")
    settings = settings or PolishSettings()
    mates = np.eye(3)[None] if operators is None else np.ascontiguousarray(operators)
    alive = []
    for start in starts:
        restraint = Restraint(around or start, settings)
        alive.append(_Start(restraint, restraint.clip(start)))
    bands, i = bands_of(problem, settings, count), 0
    while i < len(bands):
        looked = yield from _look(bands[i], alive)
        alive = yield from _climb(bands[i], looked, mates, margin)
        # without a margin scores are no log-likelihoods
        score = max(s.score for s in alive) if np.isfinite(margin) else -np.inf
        i = band_after([b.radius for b in bands], i, score)
    best = _distinct(_hopeful(alive, margin), mates, _SAME_MODE)
    return [s.state.result(s.n_evaluations, s.is_converged, s.restraint)
            for s in best if s.state is not None]


def _look(search: BandSearch, alive: list[_Start]) -> Generator[Asked, PoseSums, list[_Start]]:
    """Starts with their states in the band, those that could rise highest first."""
    looked = []
    for start in alive:
        state = yield from search.evaluate(start.pose, start.restraint)
        looked.append((_ceiling(state), replace(
            start, state=state, n_evaluations=start.n_evaluations + 1)))
    return [start for _, start in sorted(looked, key=lambda pair: -pair[0])]


def _climb(search: BandSearch, looked: list[_Start], mates: Floats, margin: float
           ) -> Generator[Asked, PoseSums, list[_Start]]:
    """Starts after their search in the band, without hopeless ones and without doubles."""
    done: list[_Start] = []
    best = max(s.objective for s in looked)
    for start in looked:
        if start.state is None or not _may_reach(start.state, best, margin):
            continue
        before = search.n_evaluations
        state, is_converged = yield from search.climb(
            start.state, start.restraint,
            partial(_may_reach, best=best, margin=margin) if len(looked) > 1 else None)
        n_evaluations = start.n_evaluations + search.n_evaluations - before
        done.append(_Start(start.restraint, state.pose, state, n_evaluations, is_converged))
        best = max(best, state.objective)
    return _distinct(_hopeful(done, margin), mates, _SAME)


def _ceiling(state: PoseState) -> float:
    """Objective that a search from a state could reach in its band."""
    _, length = fisher_step(
        state.judged.gradient, state.judged.information_all, 0.0, np.inf, np.inf)
    rise = 0.0 if np.isnan(length) else _RISE * 0.5 * float(length) ** 2
    return state.objective + rise


def _may_reach(state: PoseState, best: float, margin: float) -> bool:
    return not _is_hopeless(_ceiling(state), best, margin)


def _is_hopeless(objective: float, best: float, margin: float) -> bool:
    return best - objective > max(margin, MODEL_SHARE * best)


def _hopeful(starts: list[_Start], margin: float) -> list[_Start]:
    """Starts that are not hopeless, best first."""
    order = sorted(starts, key=lambda s: -s.objective)
    return [s for s in order if not _is_hopeless(s.objective, order[0].objective, margin)]


def _distinct(starts: list[_Start], mates: Floats, distance: float) -> list[_Start]:
    """The first of those that are one optimum."""
    kept: list[_Start] = []
    for start in starts:
        if not any(_distance(other, start, mates) < distance for other in kept):
            kept.append(start)
    return kept


def _distance(one: _Start, other: _Start, mates: Floats) -> float:
    """Between the poses of two starts, by the information at the first [standard deviations]."""
    if one.state is None:
        return np.inf
    return min(
        float(step_length(
            step_between(one.pose.R_p2t, one.pose.shift_xyz_px,
                         other.pose.R_p2t @ S, other.pose.shift_xyz_px),
            one.state.judged.information_all))
        for S in mates)
