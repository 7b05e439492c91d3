"""Polish from several starts in stages: all of them in the low band, survivors in the next.

A band of twice the radius has four times the samples, so most of the work of a polish is in
its last band, and most starts need not get there. Before and after each band

* starts that have come to the same optimum (or a symmetry mate of it) go on as one;
* starts whose log-likelihood is hopeless are dropped. When the model is right, the posterior
  probability that the truth lies by a start is e^-d, d being its deficit to the best one: a
  margin of 12 loses the truth in fewer than 1 of 10^5 particles a start. Models are never right
  (the noise may be larger than thought, the reference is not the structure), so a start also
  stays while its deficit is a small share of the best log-likelihood itself.

At a new band rival starts are looked at once before any is searched: the quadratic at each pose
says how far it could rise. Those that could rise highest go first, and a search ends once it could
no longer come near the best so far. At low signal nothing is hopeless and all starts are polished
to the end.
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.polish import (
    Asked,
    Bands,
    PolishResult,
    PolishSettings,
    Pose,
    PoseState,
    bands_of,
    run_steps,
)
from sta_mpi.align.pose import Restraint
from sta_mpi.errors import InputError
from sta_mpi.kernels.polish import PoseFunction
from sta_mpi.kernels.polish.climb import STATE, ceilings, distinct

Floats = NDArray[np.float64]
Records = NDArray[np.void]

MARGIN = 12.0
"""Deficit of log-likelihood from which a start is hopeless, when the model is right."""

MODEL_SHARE = 0.05
"""Deficit as a share of the best log-likelihood that errors of the model may cause."""

_SAME, _SAME_MODE = 1.0, 3.0
"""Distance of optima that are one, while searching and in the end [standard deviations]: a
search applies steps of up to 1.0 in a band that is not the last, and does not check them."""


class _Start(NamedTuple):
    """Where a search of the next band begins, after so many evaluations."""

    restraint: Restraint
    pose: Pose
    n_evaluations: int = 0


class _Seen(NamedTuple):
    """A start that was looked at in a band, after so many evaluations before."""

    restraint: Restraint
    state: PoseState
    n_before: int

    @property
    def objective(self) -> float:
        return self.state.objective

    @property
    def n_evaluations(self) -> int:
        return self.n_before + self.state.n_evaluations

    def go_on(self) -> _Start:
        """The start of a search of the next band."""
        return _Start(self.restraint, self.state.pose, self.n_evaluations)

    def result(self) -> PolishResult:
        """The end of its search."""
        return self.state.result(self.n_evaluations, self.restraint)


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
    return run_steps(problem, polish_best_steps(bands_of(problem, settings, count), starts, around,
                                                operators, margin))


def polish_best_steps(
    bands: Bands, starts: Sequence[Pose], around: Pose | None = None,
    operators: Floats | None = None, margin: float = MARGIN,
) -> Generator[Asked, None, list[PolishResult]]:
    """Do what `polish_best` does, but leave the evaluation of poses to the caller."""
    if not len(starts):
        raise InputError("a particle has no start to polish from: give its current pose.")
    mates = np.eye(3)[None] if operators is None else np.ascontiguousarray(operators)
    common = None if around is None else Restraint(around, bands.settings)
    alive = []
    for start in starts:
        restraint = common or Restraint(start, bands.settings)
        alive.append(_Start(restraint, restraint.clip(start)))
    # without a margin scores are no log-likelihoods
    i, may_leap = 0, bool(np.isfinite(margin))
    seen: list[_Seen] = []
    while i < len(bands):
        if len(alive) == 1:
            (lone,) = alive
            state = yield from bands.climb_on(i, lone.pose, lone.restraint, may_leap)
            return [_Seen(lone.restraint, state, lone.n_evaluations).result()]
        looked, highest = yield from _look(bands, i, alive)
        seen = yield from _climb(bands, i, looked, highest, mates, margin)
        i = bands.after(i, max(s.state.score for s in seen) if may_leap else -np.inf)
        alive = [s.go_on() for s in seen]
    return [s.result() for s in _distinct(_hopeful(seen, margin), mates, _SAME_MODE)]


def _look(bands: Bands, i: int, alive: list[_Start]
          ) -> Generator[Asked, None, tuple[list[_Seen], Floats]]:
    """Starts with their states in the band, those that could rise highest first, and how high."""
    looked = []
    for start in alive:
        state = yield from bands.look(i, start.pose, start.restraint)
        looked.append(_Seen(start.restraint, state, start.n_evaluations))
    highest = np.asarray(ceilings(_records(looked)))
    order = np.argsort(-highest, kind="stable")
    return [looked[k] for k in order], highest[order]


def _climb(bands: Bands, i: int, looked: list[_Seen], highest: Floats, mates: Floats,
           margin: float) -> Generator[Asked, None, list[_Seen]]:
    """Starts after their search in the band, without hopeless ones and without doubles."""
    done: list[_Seen] = []
    best = max(s.objective for s in looked)
    for start, ceiling in zip(looked, highest, strict=True):
        if ceiling < _least(best, margin):
            continue
        yield from bands.climb(i, start.state, start.restraint, _least(best, margin))
        done.append(start)
        best = max(best, start.objective)
    return _distinct(_hopeful(done, margin), mates, _SAME)


def _least(best: float, margin: float) -> float:
    """Objective below which a start is hopeless."""
    return best - max(margin, MODEL_SHARE * best)


def _hopeful(starts: list[_Seen], margin: float) -> list[_Seen]:
    """Starts that are not hopeless, best first."""
    order = sorted(starts, key=lambda s: -s.objective)
    return [s for s in order if not s.objective < _least(order[0].objective, margin)]


def _distinct(starts: list[_Seen], mates: Floats, distance: float) -> list[_Seen]:
    """The first of those that are one optimum."""
    if len(starts) == 1:
        return starts
    is_kept = distinct(_records(starts), mates, distance)
    return [start for start, kept in zip(starts, is_kept, strict=True) if kept]


def _records(starts: list[_Seen]) -> Records:
    # numpy takes 50 us a record to find the common type of records
    parts = [s.state.record.view(np.uint8) for s in starts]
    return np.concatenate(parts).view(STATE)
