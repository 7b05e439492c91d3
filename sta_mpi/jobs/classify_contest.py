"""Random first classes in competition: several seeded starts, the one that explains most goes on.

Each start puts particles into random classes, runs a few rounds from the given poses, and is
judged by the mean log-likelihood of all particles, summed over classes. Every particle is in the
averages it is scored against, in all starts alike, so that the numbers compare with each other.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.classes import class_posteriors, mean_log_evidence, random_labels
from sta_mpi.jobs.align_loop import RoundLoop
from sta_mpi.jobs.align_state import LoopPoses, pack
from sta_mpi.jobs.parameters.classify import ClassifyParameters

Labels = NDArray[np.intp]

ROUNDS_A_START = 6
"""Scored rounds that a start has; classes of different starts part well before."""


def compete(parameters: ClassifyParameters, loop: RoundLoop, state: LoopPoses,
            one_round: Callable[[LoopPoses, Labels | None], object]) -> Labels:
    """Labels (n,) of the best start; `state` has the given poses again, and no history.

    `one_round` searches and averages once: with labels at these, without by likelihood. Where the
    contest stands is in `state`, so that a killed run goes on within it.
    """
    given, rounds = loop.setup.inputs.particles, ROUNDS_A_START + 1
    while state.round_done < parameters.random_starts * rounds:
        start, i = divmod(state.round_done, rounds)
        first = None
        if i == 0:
            rng = np.random.default_rng([parameters.seed, 0xC1A55, start])
            first = random_labels(loop.setup.half, parameters.n_classes, rng)
        one_round(state, first)
        if i == rounds - 1:
            _judge(state, parameters.n_classes)
            state.R_p2t, state.offset_A = given.R_p2t.copy(), given.offset_A.copy()
            state.history, state.columns = [], {}
        loop.checkpoints.save_state(loop.runtime, *pack(state))
    return state.best["labels"]


def _judge(state: LoopPoses, n_classes: int) -> None:
    """Note what a start reached, and keep its labels if it is the best so far."""
    used = state.columns["n_slices"] > 0
    scores = state.columns["reference_scores"][:, :n_classes]
    reached = mean_log_evidence(scores[used])
    shares = class_posteriors(scores[used]).mean(axis=0)
    before = state.best.get("reached", np.zeros(0))
    if not len(before) or reached > before.max():
        labels = np.where(used, state.columns["i_reference"], -1).astype(np.intp)
        state.best["labels"] = labels
    state.best["reached"] = np.append(before, reached)
    sizes = state.best.get("shares", np.zeros((0, n_classes)))
    state.best["shares"] = np.vstack([sizes, -np.sort(-shares)])
