"""Searches of many particles in lock step: one evaluation of all of them at a time.

A search is a dialogue (`polish.Steps`): it asks for one climb after the other, and each climb for
the sums of one pose after the other. Here the poses of all climbs under way are evaluated
together. That is what a GPU needs, where one particle is too little work. Each search takes the
same steps as alone; on the CPU its results are the same bits.
"""

from collections.abc import Generator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.multi_start import MARGIN, polish_best_steps
from sta_mpi.align.polish import Asked, PolishResult, PolishSettings, Pose, bands_of, run_steps
from sta_mpi.kernels.polish import PoseFunction, PoseSums
from sta_mpi.kernels.polish.climb import ASKS, take

Floats = NDArray[np.float64]
Result = TypeVar("Result")


class Particles(Protocol):
    """Particles as functions of their poses, and a way to evaluate several at once.

    `sums(which (a,), R_p2t (a, 3, 3), shift_xyz_px (a, 3), counts)` gives the sums of particle
    `which[i]` at pose i over the first `counts[i]` (m,) samples of its tilts; a particle may be
    asked for several times. See `kernels.polish.PoseBatch`.
    """

    @property
    def is_batched(self) -> bool:
        """Whether several evaluations at once are cheaper than one after the other."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> PoseFunction: ...

    def sums(self, which: NDArray[np.int64], R_p2t: Floats, shift_xyz_px: Floats,
             counts: Sequence[NDArray[np.int64]]) -> list[PoseSums]: ...


class OneByOne:
    """Particles of any kind (such as boxes) that are evaluated one after the other."""

    is_batched = False

    def __init__(self, problems: Sequence[PoseFunction]) -> None:
        self._problems = problems

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, i: int) -> PoseFunction:
        return self._problems[i]

    def sums(self, which: NDArray[np.int64], R_p2t: Floats, shift_xyz_px: Floats,
             counts: Sequence[NDArray[np.int64]]) -> list[PoseSums]:
        """Sums of particle which[i] at pose i; see `Particles`."""
        return [self._problems[i].sums(R, shift, count)
                for i, R, shift, count in zip(which, R_p2t, shift_xyz_px, counts, strict=True)]


def polish_batch(particles: Particles, starts: Sequence[Sequence[Pose]],
                 settings: PolishSettings | None = None,
                 counts: Sequence[NDArray[np.integer] | None] | None = None,
                 around: Sequence[Pose | None] | None = None,
                 operators: Floats | None = None, margin: float = MARGIN
                 ) -> list[list[PolishResult]]:
    """Do for every particle what `multi_start.polish_best` does for one.

    Parameters
    ----------
    particles : Particles                   such as `kernels.polish.PoseBatch`
    starts : a sequence of Pose a particle  at least one each
    settings, operators, margin : as for `polish_best`, the same for all
    counts : (m,) int or None, a particle   samples that exist in each tilt; None: all
    around : Pose or None, a particle       centre of priors and limits; None: each start

    Returns
    -------
    list of list of PolishResult    the distinct modes of every particle, best first
    """
    n = len(particles)
    counts = [None] * n if counts is None else counts
    around = [None] * n if around is None else around
    if not len(starts) == len(counts) == len(around) == n:
        raise ValueError(f"{n} particles with {len(starts)} lists of starts, {len(counts)} counts "
                         f"and {len(around)} centres")
    return run_together(particles, [
        (i, polish_best_steps(bands_of(particles[i], settings, counts[i]), starts[i], around[i],
                              operators, margin)) for i in range(n)])


def run_together(particles: Particles,
                 searches: Sequence[tuple[int, Generator[Asked, None, Result]]]
                 ) -> list[Result]:
    """Results of searches (particle, dialogue), answered together until the last one ends.

    There are as many evaluations as the longest search asks for; each costs the samples of
    those still under way. Where a batch is no cheaper, searches follow one another, so that the
    samples of one stay in the cache.
    """
    if not particles.is_batched:
        return [run_steps(particles[i], steps) for i, steps in searches]
    results: dict[int, Result] = {}
    asked: dict[int, Asked] = {}

    def go_on(i: int) -> None:
        try:
            asked[i] = next(searches[i][1])
        except StopIteration as end:
            asked.pop(i, None)
            results[i] = end.value

    for i in range(len(searches)):
        go_on(i)
    while asked:
        under_way, climbs = list(asked), list(asked.values())
        answers = particles.sums(
            np.array([searches[i][0] for i in under_way]),
            np.concatenate([climb.state["next_R"] for climb in climbs]),
            np.concatenate([climb.state["next_shift"] for climb in climbs]),
            [climb.used[int(climb.state["band"][0])] for climb in climbs])
        for i, climb, answer in zip(under_way, climbs, answers, strict=True):
            take(climb.state, climb.rules, *answer)
            if climb.state["stage"][0] != ASKS:
                go_on(i)
    return [results[i] for i in range(len(searches))]
