"""Is a first reference supported by particles that it was not made from?

Two questions, each a paired test over unseen particles. d_i is a difference of log evidences of one
particle; z = mean(d) / standard error(d).

Signal: the map against itself with the contrast inverted. Noise is as likely as its negative, so
for particles without signal d is symmetric about zero whatever the noise's spectrum and level.
Shape: the map against its average over all directions (over turns about z where normals are
known). Where particles are featureless the map's shape is noise, which only costs evidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_Z_SIGNAL = 4.0
"""Chance of noise to pass: 3e-5 a start, so 0.2 % for the best of 64 starts."""
LEAST_Z_SHAPE = 3.0


@dataclass(frozen=True)
class Verdict:
    """Which start wins, and whether it is supported.

    Parameters
    ----------
    winner : int               start with the highest mean evidence
    gain : (K,) float64        mean log evidence of an unseen particle over no particle
    z_signal, z_shape : (K,)
    z_next : float             winner's evidence against the second best start's; NaN for one start
    has_signal, has_shape : bool     of the winner
    """

    winner: int
    gain: Floats
    z_signal: Floats
    z_shape: Floats
    z_next: float
    has_signal: bool
    has_shape: bool


def judge_starts(gain: Floats, inverted: Floats, blob: Floats) -> Verdict:
    """Compare starts by the evidence of m unseen particles, each (K, m)."""
    mean = gain.mean(axis=1)
    order = np.argsort(-mean, kind="stable")
    best = int(order[0])
    signal = np.array([z_of_difference(a, b) for a, b in zip(gain, inverted, strict=True)])
    shape = np.array([z_of_difference(a, b) for a, b in zip(gain, blob, strict=True)])
    z_next = float("nan") if len(order) < 2 else z_of_difference(gain[best], gain[order[1]])
    has_signal = bool(signal[best] >= LEAST_Z_SIGNAL and mean[best] > 0)
    return Verdict(best, mean, signal, shape, z_next, has_signal,
                   has_signal and bool(shape[best] >= LEAST_Z_SHAPE))


def z_of_difference(a: Floats, b: Floats) -> float:
    """Mean of a - b over its standard error; 0 where nothing differs."""
    d = np.asarray(a, np.float64) - b
    spread = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    return float(d.mean() / spread * np.sqrt(len(d))) if spread > 0 else 0.0
