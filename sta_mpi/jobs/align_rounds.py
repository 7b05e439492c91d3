"""The parallel stages of `align`: the grey scale of the reference, and one round."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import score_candidates, shift_phase_matrix
from sta_mpi.align.reference import Reference
from sta_mpi.jobs.align_polish import PolishSearcher
from sta_mpi.jobs.align_search import (
    GridSearcher,
    Search,
    Searcher,
    make_references,
    observe_band,
    reference_shapes,
)
from sta_mpi.jobs.averaging import Setup, UnitSums, make_plans, make_units, n_slices
from sta_mpi.jobs.reconstruction import half_sum_specs, reconstruct
from sta_mpi.parallel.job import Partial, SumSpec, Unit

Floats = NDArray[np.float64]

GREY_SCALE_PARTICLES = 200
"""Particles a half-set that fit the grey scale of the reference."""


class GreyScaleJob:
    """Cross term and power of some particles at their current poses."""

    name = "grey-scale"

    def __init__(self, setup: Setup, search: Search, tag: str) -> None:
        self.setup, self.search, self._tag = setup, search, tag

    def units(self) -> list[Unit]:
        """The first particles of each half, spread over the series by row order."""
        units: list[Unit] = []
        for half in (1, 2):
            rows = np.flatnonzero(self.setup.half == half)
            rows = rows[:: max(1, len(rows) // GREY_SCALE_PARTICLES)][:GREY_SCALE_PARTICLES]
            for i_tomo in np.unique(self.setup.inputs.particles.i_tomo[rows]):
                own = rows[self.setup.inputs.particles.i_tomo[rows] == i_tomo]
                units.append(Unit(len(units), self.setup.inputs.series[i_tomo].name,
                                  float(len(own)), (half, own)))
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Cross term and power a particle."""
        n = len(self.setup.half)
        return {"cross": ((n,), "float64"), "power": ((n,), "float64")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag + "grey"

    def prepare(self, runtime: Any) -> list[Reference]:
        """Plans, images and references."""
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        return make_references(self.search, plans)

    def work(self, context: list[Reference], unit: Unit) -> Partial:
        """Score particles where they are."""
        half, rows = unit.payload
        values = np.empty((len(rows), 2))
        for i, row in enumerate(rows):
            band = observe_band(self.setup, self.search, int(row))
            if band is None:
                values[i] = np.nan
                continue
            still = shift_phase_matrix(band, np.zeros((1, 3)), self.setup.sizes.box_px)
            scores = score_candidates(band, still, context[half - 1],
                                      self.search.R_p2t[row][None])
            values[i] = scores.cross[0, 0], scores.power[0]
        return Partial({}, rows, {"cross": values[:, 0], "power": values[:, 1]})

    def finish(self, reduced: Any, runtime: Any) -> dict[str, Floats]:
        """All rows on all ranks."""
        return {name: reduced.rows(name) for name in ("cross", "power")}


def fit_grey_scale(rows: dict[str, Floats], half: NDArray[np.int8]) -> tuple[float, float]:
    """Least-squares scale of each half's reference, sum cross / sum power.

    A scale that is not positive (a reference that does not resemble the data, or of inverted
    contrast) is replaced by the scale that matches powers, so that scores keep their order.
    """
    scales = []
    for h in (1, 2):
        used = (half == h) & np.isfinite(rows["power"]) & (rows["power"] > 0)
        cross, power = rows["cross"][used].sum(), rows["power"][used].sum()
        if power <= 0:
            scales.append(1.0)
            continue
        spread = np.abs(rows["cross"][used]).sum() / power
        scales.append(float(cross / power if cross > 0.1 * spread * power else spread))
    return scales[0], scales[1]


@dataclass
class _Context:
    searcher: Searcher
    sums: UnitSums


class AlignRound:
    """Search all candidates of every particle, then insert it at the best one."""

    def __init__(self, setup: Setup, search: Search, grey: tuple[float, float], tag: str,
                 i_round: int) -> None:
        self.name = f"align round {i_round + 1}"
        self.setup, self.search, self.grey, self._tag = setup, search, grey, tag

    def units(self) -> list[Unit]:
        """Chunks of one series and half."""
        return make_units(self.setup)

    def sum_specs(self) -> dict[str, SumSpec]:
        """The sums of both halves."""
        return half_sum_specs(self.setup.sizes, n_slices(self.setup))

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Pose and scores of each particle."""
        n = len(self.setup.half)
        return {"R_p2t": ((n, 9), "float64"), "offset_A": ((n, 3), "float64"),
                "ncc": ((n,), "float64"), "loglik": ((n,), "float64"),
                "gain": ((n,), "float64"), "at_edge": ((n,), "int32"),
                "sigma_angle_deg": ((n,), "float64"), "sigma_shift_A": ((n,), "float64"),
                "n_slices": ((n,), "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag

    def prepare(self, runtime: Any) -> _Context:
        """Plans, images, references and the unit's sums."""
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        is_grid = self.search.parameters.search == "grid"
        make = GridSearcher if is_grid else PolishSearcher
        searcher = make(self.setup, self.search, self.grey, plans)
        return _Context(searcher, UnitSums(self.setup.sizes))

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Align and insert the particles of a unit."""
        half, rows = unit.payload
        found = context.searcher.align(rows, half)
        context.sums.clear()
        for row, pose in zip(rows, found, strict=True):
            observation = self.setup.source.observe(int(row), pose["offset_A"])
            pose["n_slices"] = context.sums.insert(observation, pose["R_p2t"].reshape(3, 3))
        values = {name: np.array([pose[name] for pose in found]) for name in self.row_specs()}
        return Partial({f"half{half}": context.sums.total()}, rows, values)

    def finish(self, reduced: Any, runtime: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Maps on rank 0, poses and scores on all ranks."""
        p = self.search.parameters
        maps = reconstruct(reduced, runtime, self.setup.sizes, p.symmetry, p.mask_diameter_A,
                           p.seed, self.setup.source.gain)
        return maps, {name: reduced.rows(name) for name in self.row_specs()}
