"""The noise of a round's search, from what its references leave of some particles' images."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import box_mask
from sta_mpi.align.residuals import noise_gain, residual_sums
from sta_mpi.errors import ParticleError
from sta_mpi.jobs.align_grid import GridSearcher
from sta_mpi.jobs.align_search import Search, reference_shapes
from sta_mpi.jobs.averaging import Setup, make_plans
from sta_mpi.jobs.sources import gives_boxes
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.signal.masks import soft_circle

Floats = NDArray[np.float64]

NOISE_PARTICLES = 100
"""Particles a half-set: each holds thousands of samples a shell."""

UNIT = 10
"""Particles in a unit."""


def is_fitted(search: Search) -> bool:
    """Whether the noise of a round's search is taken from residuals.

    Not where poses are not known yet, or where the score has no noise.
    """
    parameters = search.parameters
    return (parameters.noise_from == "residuals" and parameters.score != "cc"
            and search.kind != "given" and not (search.is_global and search.is_first))


class NoiseJob:
    """Residuals of some particles of both half-sets at their current poses."""

    name = "noise"

    def __init__(self, setup: Setup, search: Search, tag: str) -> None:
        # noise as the images have it; the first shells, which a high-pass leaves out, as well
        self.setup, self._tag = setup, tag
        self.search = replace(search, noise_gain=None)
        self._rows = [self._sample(half) for half in (1, 2)]

    def _sample(self, half: int) -> NDArray[np.intp]:
        """Particles of a half, spread over the series by row order."""
        rows = np.flatnonzero(self.setup.half == half)
        return rows[:: max(1, len(rows) // NOISE_PARTICLES)][:NOISE_PARTICLES]

    def units(self) -> list[Unit]:
        """A few particles of one series and half each."""
        units: list[Unit] = []
        place = 0
        for half, rows in enumerate(self._rows, start=1):
            i_tomo = self.setup.inputs.particles.i_tomo[rows]
            for tomo in np.unique(i_tomo):
                own = rows[i_tomo == tomo]
                for begin in range(0, len(own), UNIT):
                    part = own[begin : begin + UNIT]
                    units.append(Unit(
                        len(units), self.setup.inputs.series[tomo].name, float(len(part)),
                        (half, part, place + np.arange(len(part)))))
                    place += len(part)
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Residual power and weight of the shells of each particle, and its half."""
        n = sum(map(len, self._rows))
        return {"sums": ((n, 2, self.setup.sizes.box_px // 2 + 1), "float64"),
                "half": ((n,), "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag + "noise"

    def prepare(self, runtime: Any) -> GridSearcher:
        """Plans, images and references."""
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        return GridSearcher(self.setup, self.search, (1.0, 1.0), plans,
                            self.setup.source.observe)

    def work(self, context: GridSearcher, unit: Unit) -> Partial:
        """What the best of the references leaves of each particle where it is."""
        half, rows, places = unit.payload
        n_shells = self.setup.sizes.box_px // 2 + 1
        values = np.zeros((len(rows), 2, n_shells))
        for i, row in enumerate(rows):
            try:
                observation = self.setup.source.observe(int(row), self.search.anchor_A[row])
            except ParticleError:
                continue    # its round tells it
            if observation is None:
                continue
            R = self.search.R_p2t[row]
            band = context.band(int(row), observation, 0, half)
            of_references = [residual_sums(band, context.reference(k, half), R, n_shells)
                             for k in range(self.search.n_classes)]
            values[i] = min(of_references, key=lambda sums: float(sums[0].sum()))
        return Partial({}, places, {"sums": values, "half": np.full(len(rows), half, np.int32)})

    def finish(self, reduced: Any, runtime: Any) -> Floats:
        """Factors of the shells of data and weights, (2, n_shells), on all ranks."""
        sums, half = reduced.rows("sums"), reduced.rows("half")
        box = self.setup.sizes.box_px
        mask = (box_mask(box) if gives_boxes(self.setup.source)
                else soft_circle(box, box / 2 - 5.0, 5.0))
        share = float(np.mean(mask.astype(np.float64) ** 2))
        return np.stack([
            noise_gain(left, weight, share)
            for left, weight in (sums[half == h].sum(axis=0) for h in (1, 2))])
