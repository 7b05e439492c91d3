"""The parallel stages of `align`: the grey scale of the reference, and one round."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.posterior import MOST_MODES
from sta_mpi.align.rotated_reference import rotated_bytes
from sta_mpi.errors import ParticleError
from sta_mpi.jobs.align_global import ROTATED_BYTES, global_radius
from sta_mpi.jobs.align_grid import GridSearcher
from sta_mpi.jobs.align_polish import BATCH, GPU_BATCH, PolishSearcher
from sta_mpi.jobs.align_search import (
    Found,
    Search,
    Searcher,
    column_specs,
    make_references,
    reference_shapes,
)
from sta_mpi.jobs.averaging import (
    Setup,
    SliceMaker,
    UnitSums,
    make_plans,
    make_unit_sums,
    make_units,
    memory_plan,
    n_slices,
)
from sta_mpi.jobs.given_classes import GivenClasses
from sta_mpi.jobs.particle_store import MODELS_BYTES
from sta_mpi.jobs.reconstruction import MapOptions, half_name, half_sum_specs, reconstruct
from sta_mpi.jobs.sources import gives_boxes, refuse_all_bad
from sta_mpi.jobs.tilt_weights import (
    NAME,
    add_weights,
    collect_weights,
    no_weights,
    tilt_weight_spec,
)
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.parallel.memory import MemoryPlan

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

    def prepare(self, runtime: Any) -> GridSearcher:
        """Plans, images and references."""
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        still = replace(self.search, shifts_px=np.zeros((1, 3)))
        return GridSearcher(self.setup, still, (1.0, 1.0), make_references(still, plans, runtime),
                            self.setup.source.observe)

    def work(self, context: GridSearcher, unit: Unit) -> Partial:
        """Score particles where they are, with the first reference."""
        half, rows = unit.payload
        values = np.full((len(rows), 2), np.nan)
        for i, row in enumerate(rows):
            try:
                observation = self.setup.source.observe(int(row), self.search.anchor_A[row])
            except ParticleError:
                continue    # its round tells it
            if observation is not None:
                band = context.band(int(row), observation, 0, half)
                scores = context.scores(
                    int(row), band, 0, half, self.search.R_p2t[row][None])
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


def round_memory(setup: Setup, search: Search, ranks: int = 1) -> MemoryPlan:
    """Arrays that one rank holds in a round besides the engine's sums and the particles."""
    references = math.prod(search.references.shape[:2])
    box, reach = search.references.shape[-1], 2.0 * search.band.r_max + 3.0
    slices = (box if gives_boxes(setup.source)
              else max(ts.n_tilts for ts in setup.inputs.used_series))
    # the particles before are let go when the next ones are complete
    in_hand = 2.0 * (BATCH if search.is_global else 1)
    plan = {"maps of references": 4.0 * search.references.size,
            "transfer of other series": _kept_models_bytes(setup),
            "samples of particles in hand": in_hand * slices * 12.0 * box * (box // 2 + 1)}
    if search.is_global:
        voxels = 2.1 * global_radius(search) ** 3
        plan["references in all orientations"] = 2.0 * min(
            float(ROTATED_BYTES),
            float(rotated_bytes(len(search.rotations), int(voxels), references // 2)))
    return memory_plan(setup, ranks).plus(
        MemoryPlan(plan, {"references": 32.0 * reach**3 * references}))


def _kept_models_bytes(setup: Setup) -> float:
    """What the store of particles keeps of the transfer models of all series but one."""
    if gives_boxes(setup.source):
        return 0.0
    box, tilts = setup.sizes.box_px, sum(ts.n_tilts for ts in setup.inputs.used_series)
    largest = max(ts.n_tilts for ts in setup.inputs.used_series)
    return min(float(MODELS_BYTES), 12.0 * box * (box // 2 + 1) * (tilts - largest))


def device_bytes(setup: Setup, search: Search) -> dict[str, float]:
    """Arrays that one rank keeps on a GPU in a round besides the sums of a unit."""
    memory = round_memory(setup, search)
    plan = {**memory.rank_bytes, **memory.node_bytes}
    n_tilts = max(ts.n_tilts for ts in setup.inputs.used_series)
    most = min(GPU_BATCH, setup.parameters.unit_particles)
    names = ("references", "references in all orientations")
    return {"samples of a batch": most * n_tilts * 6.0 * np.pi * search.band.r_max**2,
            **{name: plan[name] for name in names if name in plan}}


@dataclass
class _Context:
    searcher: Searcher
    sums: list[UnitSums]
    observe: Any


class AlignRound:
    """Search every particle, then insert it at its likely poses."""

    def __init__(self, setup: Setup, search: Search, grey: tuple[float, float],
                 options: MapOptions, tag: str) -> None:
        self.name = f"round {search.i_round + 1}"
        self.setup, self.search, self.grey, self._tag = setup, search, grey, tag
        self.options = options
        self.tilt_weights: Floats | None = None
        self._slices = SliceMaker(setup, search.n_classes)

    def units(self) -> list[Unit]:
        """Chunks of one series and half."""
        return make_units(self.setup)

    def sum_specs(self) -> dict[str, SumSpec]:
        """The sums of both halves of every class."""
        return {**half_sum_specs(self.setup.sizes, n_slices(self.setup), self.search.n_classes),
                **tilt_weight_spec(self.setup)}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Pose and scores of each particle."""
        return column_specs(len(self.setup.half), self.search.references.shape[1])

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag

    def prepare(self, runtime: Any) -> _Context:
        """Plans, images, references and the unit's sums."""
        sums = make_unit_sums(self.setup, runtime, self.units(), self.search.n_classes,
                              MOST_MODES, device_bytes(self.setup, self.search))
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        observe = self.setup.source.observe
        kind = self.search.kind
        searcher: Searcher
        if kind == "given":
            searcher = GivenClasses(self.setup, self.search, observe)
        else:
            references = make_references(self.search, plans, runtime)
            searcher = (
                GridSearcher(self.setup, self.search, self.grey, references, observe)
                if kind == "grid" else
                PolishSearcher(self.setup, self.search, references, observe))
        return _Context(searcher, sums, observe)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Align and insert the particles of a unit."""
        half, rows = unit.payload
        for sums in context.sums:
            sums.clear()
        values: dict[str, list[Any]] = {name: [] for name in self.row_specs()}
        left_out: list[tuple[int, str]] = []
        weights = no_weights(self.setup)
        for row, found in zip(rows, context.searcher.align(rows, half), strict=True):
            if found.fault:
                left_out.append((int(row), found.fault))
            columns = {**found.columns,
                       "n_slices": self._insert(context.sums, found, int(row), weights)}
            for name, column in values.items():
                column.append(columns[name])
        refuse_all_bad(left_out, len(rows))
        totals = {half_name(half, k, self.search.n_classes): s.total()
                  for k, s in enumerate(context.sums)}
        return Partial({**totals, NAME: weights}, rows,
                       {name: np.array(v) for name, v in values.items()}, left_out)

    def _insert(self, sums: list[UnitSums], found: Found, row: int, weights: Floats) -> int:
        """Slices of a particle that entered the averages."""
        if found.observation is None:
            return 0
        samples = self._slices(found.observation)
        add_weights(weights, int(self.setup.inputs.particles.i_tomo[row]), samples)
        for mode in found.modes:
            sums[mode.i_reference].insert(
                samples.centred(mode.shift_xyz_px).scaled(mode.weight), mode.R_p2t)
        return int(samples.n_slices)

    def finish(self, reduced: Any, runtime: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Maps of all classes on rank 0, poses and scores on all ranks."""
        n = self.search.n_classes
        self.tilt_weights = collect_weights(reduced, runtime)
        maps = [reconstruct(reduced, runtime, self.setup.sizes, self.options,
                            self.setup.source.gain, (k, n)) for k in range(n)]
        return maps, {name: reduced.rows(name) for name in self.row_specs()}
