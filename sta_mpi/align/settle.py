"""Whether a particle's pose is settled: how far its optimum can be, from one look at it.

At a pose with gradient g and information I, a quadratic log-likelihood has its optimum
I^-1 g away, sqrt(g^T I^-1 g) standard deviations far and half the square of that higher. A
pose whose optimum is within a small share of a standard deviation gains nothing that the
noise would not hide; skipping it costs at most the gain that is returned here. One that is some
standard deviations away is polished on from that look, without the bands before: they would not
contradict it (docs/decisions/0111).
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.polish import (
    CONTRADICTED,
    Asked,
    Bands,
    PolishResult,
    Pose,
    PoseState,
    Steps,
    look_at,
    run_steps,
)
from sta_mpi.align.pose import PolishSettings, Restraint
from sta_mpi.kernels.polish import PoseFunction
from sta_mpi.kernels.polish.step import fisher_step

SETTLED = 0.5
"""Distance from the optimum [standard deviations] at which a pose is settled. The expected
square error of the six parameters, 6 in these units, grows by at most 0.25: 2 % in rms."""


@dataclass(frozen=True)
class Outlook:
    """What a search of a particle would gain.

    Parameters
    ----------
    distance : float       to the optimum of the quadratic [standard deviations]; NaN without
                           information
    gain : float           of log-likelihood (and log prior) at that optimum
    at : PolishResult      the pose as it is, with its score, log prior and information
    state : PoseState      the same, for a climb on from there
    """

    distance: float
    gain: float
    at: PolishResult
    state: PoseState

    @property
    def is_settled(self) -> bool:
        """Whether a search can be left out."""
        return bool(self.distance < SETTLED)

    @property
    def is_near(self) -> bool:
        """Whether a search can begin in the last band."""
        return bool(self.distance < CONTRADICTED)


def outlook(problem: PoseFunction, pose: Pose, count: NDArray[np.int64] | None = None,
            restraint: Restraint | None = None) -> Outlook:
    """Look at the samples of a particle once, the grey scale fitted; see `outlook_steps`."""
    if count is None:
        count = np.full(problem.n_tilts, problem.layout.n_samples, np.int64)
    return run_steps(problem, outlook_steps(pose, count, restraint))


def outlook_steps(pose: Pose, count: NDArray[np.int64], restraint: Restraint | None = None
                  ) -> Generator[Asked, None, Outlook]:
    """Look at the samples of a particle once, the grey scale fitted.

    Parameters
    ----------
    pose : Pose
    count : (m,) int                samples used of each tilt
    restraint : Restraint or None   priors, which distance and gain include; None: flat
    """
    restraint = restraint or Restraint(pose, PolishSettings())
    state = yield from look_at(pose, restraint, count)
    at = state.record[0]
    _, length = fisher_step(at["gradient"], at["information_all"], 0.0, np.inf, np.inf)
    result = state.result(1, restraint)._replace(is_converged=True)
    return Outlook(float(length), 0.5 * float(length) ** 2, result, state)


def go_on_steps(bands: Bands, look: Outlook, restraint: Restraint) -> Steps:
    """Polish on from a look at the samples of the last band; the look's state goes with it."""
    state = look.state
    yield from bands.climb(len(bands) - 1, state, restraint, -np.inf)
    return state.result(state.n_evaluations, restraint)
