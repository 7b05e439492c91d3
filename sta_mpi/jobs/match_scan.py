"""`match`: the scan of all voxels, tiles times blocks of rotations over ranks.

The larger score wins and of equal ones the lower rotation, whichever unit or rank found it, so
maps have the same bits for any number of ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.volume_observe import Wedge
from sta_mpi.jobs.match_plan import TomogramPlan, on_tile_grid, transfer_of_tile
from sta_mpi.jobs.wisdom import shared_plans
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.parallel.memory import MemoryPlan
from sta_mpi.pick.match_template import sphere_offsets, template_norms, turned_vectors
from sta_mpi.pick.match_tiles import NO_SCORE, scan_tiles, weighted_tile_rft
from sta_mpi.pick.match_volume import MatchVolume
from sta_mpi.pick.match_weights import power_weights
from sta_mpi.signal.fft import FftPlans

Real = NDArray[np.float32]
Floats = NDArray[np.float64]

GROUP = 2
"""Tiles that a turned template is read for at once."""

ENOUGH_UNITS = 64
FEWEST_ROTATIONS = 16
"""A block of rotations is at least this long."""

MOST_ROW_BYTES = 400e6
"""Scores of all units of one tomogram that rotations may be divided into blocks for."""

NORM_BLOCK = 256
"""Rotations whose powers are multiplied with the weights of all tiles at once."""


@dataclass(frozen=True)
class SharedVolume:
    """A prepared tomogram: what every rank sees, and the rest on the first rank of each node.

    Parameters
    ----------
    filtered : (nz, ny, nx) float32     node-shared
    noise_power, shell_per_A            of the whitening
    whole : MatchVolume or None         None on other ranks
    """

    filtered: Real
    noise_power: Floats
    shell_per_A: float
    whole: MatchVolume | None


@dataclass(frozen=True)
class ScoreMaps:
    """Scores of a whole tomogram, not yet over the local deviation.

    Parameters
    ----------
    best, worst : (nz, ny, nx) float32     largest and smallest over rotations
    best_index : (nz, ny, nx) int32        rotation of the largest
    """

    best: Real
    worst: Real
    best_index: NDArray[np.int32]


@dataclass
class _Context:
    plans: FftPlans
    norms: Real
    transfers: list[Real]


class ScanJob:
    """All voxels of one tomogram and a list of rotations."""

    def __init__(self, plan: TomogramPlan, wedge: Wedge, volume: SharedVolume, rotations: Floats,
                 fingerprint: str, folder: Path | None = None) -> None:
        self.plan, self.wedge, self.volume = plan, wedge, volume
        self.rotations, self.folder = rotations, folder
        self.name = f"match: scan of {plan.source.name}"
        self._fingerprint = f"{fingerprint}-scan-{plan.source.name}"
        n_groups = -(-len(plan.tiling) // GROUP)
        core_bytes = 12.0 * len(plan.tiling) * float(np.prod(plan.tiling.core))
        self.n_blocks = int(max(1, min(-(-ENOUGH_UNITS // n_groups),
                                       len(rotations) // FEWEST_ROTATIONS,
                                       MOST_ROW_BYTES // core_bytes)))

    def units(self) -> list[Unit]:
        """Groups of tiles times blocks of rotations."""
        n_tiles, n = len(self.plan.tiling), len(self.rotations)
        edges = np.linspace(0, n, self.n_blocks + 1).astype(int)
        units: list[Unit] = []
        for first in range(0, n_tiles, GROUP):
            tiles = list(range(first, min(first + GROUP, n_tiles)))
            for block in range(self.n_blocks):
                low, high = int(edges[block]), int(edges[block + 1])
                units.append(Unit(len(units), self.plan.source.name,
                                  float(len(tiles) * (high - low)), (block, tiles, low, high)))
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """There is nothing to add up."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """A row is a tile under one block of rotations."""
        shape = (self.n_blocks * len(self.plan.tiling), *self.plan.tiling.core)
        return {"best": (shape, "float32"), "worst": (shape, "float32"), "index": (shape, "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> _Context:
        """Plans, transfer of every tile, norms of all rotations under it."""
        plans = search_plans(self.plan, runtime, self.folder)
        transfers = transfers_of_tiles(self.wedge, self.plan)
        norms = norms_of(self.plan, self.volume, transfers, self.rotations, plans)
        return _Context(plans, norms, transfers)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Scan a group of tiles over a block of rotations."""
        block, tiles, low, high = unit.payload
        tiling = self.plan.tiling
        data = [weighted_tile_rft(
            self.volume.filtered, tiling, i, on_tile_grid(context.transfers[i], self.plan),
            context.plans) for i in tiles]
        found = scan_tiles(self.plan.template, data, tiling, self.rotations[low:high],
                           context.norms[tiles, low:high], low, context.plans)
        rows = block * len(tiling) + np.array(tiles, np.intp)
        return Partial({}, rows, {"best": np.stack([f.best for f in found]),
                                  "worst": np.stack([f.worst for f in found]),
                                  "index": np.stack([f.best_index for f in found])})

    def finish(self, reduced: Any, runtime: Any) -> ScoreMaps | None:
        """Maps of the tomogram, on rank 0."""
        best, worst, index = (reduced.rows_on_root(name) for name in ("best", "worst", "index"))
        if best is None:
            return None
        tiling = self.plan.tiling
        maps = ScoreMaps(np.full(tiling.shape, NO_SCORE), np.full(tiling.shape, -NO_SCORE),
                         np.zeros(tiling.shape, np.int32))
        for row in range(len(best)):
            start = tiling.starts[row % len(tiling)]
            size = np.minimum(tiling.core, np.array(tiling.shape) - start)
            at = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
            core = tuple(slice(0, s) for s in size)
            _merge(maps, at, best[row][core], worst[row][core], index[row][core])
        return maps


def _merge(maps: ScoreMaps, at: tuple[slice, ...], best: Real, worst: Real,
           index: NDArray[np.int32]) -> None:
    """Take what is better; blocks come in rising order, so of equal scores the first stays.

    A tile whose data were bad is NaN and never better.
    """
    is_better = best > maps.best[at]
    maps.best[at] = np.where(is_better, best, maps.best[at])
    maps.best_index[at] = np.where(is_better, index, maps.best_index[at])
    maps.worst[at] = np.fmin(worst, maps.worst[at])


def search_plans(plan: TomogramPlan, runtime: Any, folder: Path | None) -> FftPlans:
    """Plans of tiles and of the template's box; collective."""
    return shared_plans(runtime, [plan.tiling.tile, (plan.template.box_px,) * 3], folder)


def transfers_of_tiles(wedge: Wedge, plan: TomogramPlan) -> list[Real]:
    """H on the box of the template of every tile; one array where all are the same."""
    found: list[Real] = []
    for i in range(len(plan.tiling)):
        H = transfer_of_tile(wedge, plan, i)
        found.append(found[-1] if found and np.array_equal(found[-1], H) else H)
    return found


def norms_of(plan: TomogramPlan, volume: SharedVolume, transfers: Sequence[Real],
             rotations: Floats, plans: FftPlans) -> Real:
    """|T_R| (tiles, rotations); the same bits however ranks share the work."""
    distinct = {id(H): H for H in transfers}
    order = {key: i for i, key in enumerate(distinct)}
    weights = np.stack([power_weights(H, plan.voxel_A, plan.rule, volume.noise_power,
                                      volume.shell_per_A) for H in distinct.values()])
    offsets = sphere_offsets(plan.template)[:1]
    blocks = [template_norms(turned_vectors(plan.template, rotations[i:i + NORM_BLOCK], plans,
                                            offsets)[1], weights)
              for i in range(0, len(rotations), NORM_BLOCK)]
    norms = np.concatenate(blocks, axis=1)
    return np.ascontiguousarray(norms[[order[id(H)] for H in transfers]])


def scan_memory(job: ScanJob) -> MemoryPlan:
    """Tiles and norms of a rank; filtered volume and the work of its preparation of a node."""
    plan = job.plan
    tile, b = float(np.prod(plan.tiling.tile)), float(plan.template.box_px)
    voxels = float(np.prod(plan.shape))
    raw = float(np.prod(plan.source.volume.size_px))
    return MemoryPlan(
        {"tiles": 4.0 * tile * (5 * GROUP + 8),
         "transfer of tiles": 2.0 * b**3 * len(plan.tiling),
         "norms": 4.0 * len(plan.tiling) * len(job.rotations)},
        {"filtered tomogram": 4.0 * voxels,
         "preparation of the tomogram (one rank)": 4.0 * (4 * raw + 14 * voxels),
         "score maps (rank 0)": 12.0 * voxels})
