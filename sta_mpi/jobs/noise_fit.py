"""The noise of a round's search, from what its references leave of some particles' images.

These particles are searched as the round will search them, with the noise of the images: at the
poses of the input a part of the signal would be taken for noise.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import take_band
from sta_mpi.align.observe import box_mask
from sta_mpi.align.residuals import noise_gain, residual_sums
from sta_mpi.jobs.align_polish import PolishSearcher
from sta_mpi.jobs.align_search import Search, make_references, reference_shapes
from sta_mpi.jobs.averaging import Setup, make_plans
from sta_mpi.jobs.sample_units import SampleUnits
from sta_mpi.jobs.sources import gives_boxes
from sta_mpi.parallel.devices import select_device
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.signal.masks import soft_circle

Floats = NDArray[np.float64]

NOISE_PARTICLES = 100
"""Particles a half-set: each holds thousands of samples a shell."""

UNIT = 10
"""Particles in a unit."""


def is_fitted(search: Search) -> bool:
    """Whether the noise of a round's search is taken from residuals: not if it knows none."""
    parameters = search.parameters
    return (parameters.noise_from == "residuals" and parameters.score != "cc"
            and search.kind != "given")


def excess_noise(search: Search) -> Floats:
    """Noise of each shell of the search as a multiple of that of the images, NaN beyond its band.

    Returns
    -------
    (2, n_shells), of both half-sets
    """
    assert search.noise_gain is not None
    shell = np.arange(search.noise_gain.shape[1])
    is_searched = (shell >= search.band.r_min) & (shell <= search.band.r_max)
    return np.where(is_searched, 1.0 / search.noise_gain, np.nan)


class NoiseJob:
    """Residuals of some particles of both half-sets."""

    name = "noise"

    def __init__(self, setup: Setup, search: Search, tag: str) -> None:
        self.setup, self._tag = setup, tag
        # the oracle would take as long as for a round
        kind = "local" if search.kind == "grid" else search.kind
        self.search = replace(search, kind=kind, noise_gain=None)
        self._rows = np.sort(np.concatenate([self._sample(half) for half in (1, 2)]))
        self.sample = SampleUnits(setup, self._rows, UNIT)

    def _sample(self, half: int) -> NDArray[np.intp]:
        """Particles of a half, spread over the series by row order."""
        rows = np.flatnonzero(self.setup.half == half)
        n = min(len(rows), NOISE_PARTICLES)
        return rows[np.arange(n) * len(rows) // max(n, 1)]

    def units(self) -> list[Unit]:
        """A few particles of one series and half each."""
        return self.sample.units

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Residual power and weight of the shells of each particle of the sample."""
        return {"sums": ((len(self._rows), 2, self.setup.sizes.box_px // 2 + 1), "float64")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag + "noise"

    def prepare(self, runtime: Any) -> PolishSearcher:
        """Plans, images and references."""
        select_device(runtime, self.setup.parameters.device)
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        return PolishSearcher(self.setup, self.search, make_references(self.search, plans, runtime),
                              self.setup.source.observe)

    def work(self, context: PolishSearcher, unit: Unit) -> Partial:
        """What the likeliest reference leaves of each particle at its likeliest pose."""
        half, rows = unit.payload
        box = self.setup.sizes.box_px
        values = np.zeros((len(rows), 2, box // 2 + 1))
        for sums, found in zip(values, context.align(rows, half), strict=True):
            if not found.modes:
                continue    # no tilt sees it, or it is bad: its round tells it
            mode = found.modes[0]
            samples = found.observation.samples(box).centred(mode.shift_xyz_px)
            sums[...] = residual_sums(
                take_band(samples, self.search.band),
                context.references[half - 1][mode.i_reference], mode.R_p2t, box // 2 + 1)
        return Partial({}, np.searchsorted(self._rows, rows), {"sums": values})

    def finish(self, reduced: Any, runtime: Any) -> Floats:
        """Factors of the shells of data and weights, (2, n_shells), on all ranks."""
        sums, half = reduced.rows("sums"), self.setup.half[self._rows]
        box = self.setup.sizes.box_px
        mask = (box_mask(box) if gives_boxes(self.setup.source)
                else soft_circle(box, box / 2 - 5.0, 5.0))
        share = float(np.mean(mask.astype(np.float64) ** 2))
        return np.stack([
            noise_gain(left, weight, share)
            for left, weight in (sums[half == h].sum(axis=0) for h in (1, 2))])
