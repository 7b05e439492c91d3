"""How much each tilt of each series counts: means of the weights at which it enters the averages.

The weight of a sample is (s D CTF)^2 / sigma^2: scale, dose, CTF and noise of its tilt together.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import TiltSamples
from sta_mpi.jobs.averaging import Setup, n_slices
from sta_mpi.jobs.reconstruction import SAMPLE_BOUND
from sta_mpi.parallel.job import SumSpec
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import tilt_weights

Floats = NDArray[np.float64]

NAME = "tilt_weights"
"""Name of the sum in a job."""


def tilt_weight_spec(setup: Setup) -> dict[str, SumSpec]:
    """The sum (series, tilts, 2) of mean weights and of the particles that were seen."""
    return {NAME: SumSpec(_shape(setup), SAMPLE_BOUND * max(n_slices(setup), 1))}


def no_weights(setup: Setup) -> Floats:
    """The sum before the first particle of a unit."""
    return np.zeros(_shape(setup))


def add_weights(total: Floats, i_tomo: int, samples: Any) -> None:
    """Add what a particle's tilts weigh; merged boxes have no tilts."""
    if isinstance(samples, TiltSamples):
        # sums of neighbours first: as good in single precision, and several times as fast
        weight = samples.weight_rft
        mean = weight.reshape(len(weight), -1).sum(axis=1) / np.float64(weight[0].size)
        total[i_tomo, samples.tilts] += np.stack([mean, np.ones_like(mean)], axis=1)


def collect_weights(reduced: Any, runtime: Any) -> Floats:
    """(series, tilts) mean weight on all ranks, NaN where nothing was seen; collective."""
    shared = reduced.shared(NAME)
    total = np.array(shared)
    runtime.barrier()
    runtime.release_shared(shared)
    with np.errstate(invalid="ignore"):
        return np.where(total[..., 1] > 0, total[..., 0] / total[..., 1], np.nan)


def weight_section(setup: Setup, weights: Floats | None) -> list[Section]:
    """The figure of the report; nothing for particles that have no tilts."""
    if weights is None or not np.isfinite(weights).any():
        return []
    series = setup.inputs.series
    tilt_deg = np.full(weights.shape, np.nan)
    for i, ts in enumerate(series):
        tilt_deg[i, : ts.n_tilts] = np.degrees(np.arcsin(np.clip(-ts.rotation[:, 2, 0], -1, 1)))
    return [Section("Tilts", figures=[Figure(
        "Weight of each tilt", tilt_weights.later(tilt_deg, weights, [ts.name for ts in series]),
        "Mean of scale² dose² CTF² / noise over Fourier space and particles, relative to the mean "
        "of all tilts. It should fall smoothly with dose and tilt; a tilt far below its "
        "neighbours is noisy, thick or out of place, one far above has noise that was "
        "measured wrongly.")])]


def _shape(setup: Setup) -> tuple[int, int, int]:
    series = setup.inputs.series
    return len(series), max(ts.n_tilts for ts in series), 2
