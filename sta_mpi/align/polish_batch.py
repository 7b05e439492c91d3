"""Pose polish of many particles in lock step: one evaluation of all of them at a time.

Each particle is searched exactly as by `polish.polish_pose`: the same steps, with the sums of all
searches that are still under way asked for together. That is what a GPU needs, where one
particle is too little work; on the CPU results are the same bits either way.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.polish import Asked, PolishResult, PolishSettings, Pose, Steps, polish_steps
from sta_mpi.kernels.polish import PoseFunction, PoseSums

Floats = NDArray[np.float64]


class Particles(Protocol):
    """Particles as functions of their poses, and a way to evaluate several at once.

    `sums(which (a,), R_p2t (a, 3, 3), shift_xyz_px (a, 3), counts)` gives the sums of particle
    `which[i]` at pose i over the first `counts[i]` (m,) samples of its tilts; a particle may be
    asked for several times. See `kernels.polish.PoseBatch`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> PoseFunction: ...

    def sums(self, which: NDArray[np.int64], R_p2t: Floats, shift_xyz_px: Floats,
             counts: Sequence[NDArray[np.int64]]) -> list[PoseSums]: ...


def polish_batch(particles: Particles, starts: Sequence[Sequence[Pose]],
                 settings: PolishSettings | None = None,
                 counts: Sequence[NDArray[np.integer] | None] | None = None,
                 around: Sequence[Pose | None] | None = None) -> list[list[PolishResult]]:
    """Polish several particles from one or more starts each.

    Parameters
    ----------
    particles : Particles           such as `kernels.polish.PoseBatch`
    starts : one list of Pose a particle   may be empty for some
    settings : PolishSettings       the same for all
    counts : (m,) int or None, a particle   samples that exist in each tilt; None: all
    around : Pose or None, a particle       centre of priors and limits; None: each start

    Returns
    -------
    list of list of PolishResult    in the order of `starts`

    Notes
    -----
    The number of evaluations of the whole batch is that of its slowest search; each one costs
    the samples of the searches still under way, not of all.
    """
    n = len(particles)
    counts = [None] * n if counts is None else counts
    around = [None] * n if around is None else around
    if not len(starts) == len(counts) == len(around) == n:
        raise ValueError(f"{n} particles with {len(starts)} lists of starts, {len(counts)} counts "
                         f"and {len(around)} centres")
    results: list[list[PolishResult | None]] = [[None] * len(own) for own in starts]
    searches: list[tuple[int, int, Steps]] = []
    asked: list[Asked] = []
    for i, own in enumerate(starts):
        for j, start in enumerate(own):
            steps = polish_steps(particles[i], start, settings, counts[i], around[i])
            searches.append((i, j, steps))
            asked.append(next(steps))
    while searches:
        sums = _evaluate(particles, [i for i, _, _ in searches], asked)
        under_way, asked = [], []
        for (i, j, steps), found in zip(searches, sums, strict=True):
            try:
                asked.append(steps.send(found))
                under_way.append((i, j, steps))
            except StopIteration as end:
                results[i][j] = end.value
        searches = under_way
    return [[r for r in own if r is not None] for own in results]


def _evaluate(particles: Particles, which: list[int], asked: list[Asked]) -> list[PoseSums]:
    return particles.sums(
        np.array(which, np.int64), np.stack([a.pose.R_p2t for a in asked]),
        np.stack([a.pose.shift_xyz_px for a in asked]), [a.count for a in asked])
