"""`match`: the whole list of rotations at candidates, a few of one tile a unit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.rotation_list import PoseWindow, n_fold_about_z
from sta_mpi.align.volume_observe import Wedge
from sta_mpi.jobs.match_plan import TomogramPlan, on_tile_grid
from sta_mpi.jobs.match_scan import (
    NORM_BLOCK,
    SharedVolume,
    norms_of,
    search_plans,
    transfers_of_tiles,
)
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.parallel.memory import MemoryPlan
from sta_mpi.pick.match_candidates import Field, TurnedTemplates, refine_points
from sta_mpi.pick.match_template import sphere_offsets, turned_vectors
from sta_mpi.pick.match_tiles import weighted_tile_rft
from sta_mpi.signal.fft import FftPlans

Real = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

UNIT_POINTS = 128


@dataclass(frozen=True)
class Candidates:
    """Places of one tomogram to look at closely.

    Parameters
    ----------
    zyx : (m, 3) intp         voxels of the search
    sign : (m,) int8          1: the template, -1: the inverted one (decoys)
    seed : (m,) int64         row of the seed near by whose normal limits the search, -1: none
    """

    zyx: Ints
    sign: NDArray[np.int8]
    seed: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of places."""
        return len(self.zyx)


@dataclass(frozen=True)
class Refined:
    """Best orientation of every candidate; NaN scores where the data were bad.

    Parameters
    ----------
    score : (m,) float32       not yet over the local deviation
    rotation : (m,) int32
    zyx : (m, 3) float64       voxel and part of a voxel
    """

    score: Real
    rotation: NDArray[np.int32]
    zyx: Floats


@dataclass
class _Context:
    plans: FftPlans
    templates: TurnedTemplates
    norms: Real
    transfers: list[Real]


class RefineJob:
    """All candidates of one tomogram."""

    def __init__(self, plan: TomogramPlan, wedge: Wedge, volume: SharedVolume, rotations: Floats,
                 candidates: Candidates, fingerprint: str, folder: Path | None = None,
                 max_tilt_deg: float = 180.0, symmetry: str = "C1") -> None:
        self.plan, self.wedge, self.volume = plan, wedge, volume
        self.rotations, self.candidates, self.folder = rotations, candidates, folder
        self.max_tilt_deg, self.fold = max_tilt_deg, n_fold_about_z(symmetry)
        self.name = f"match: candidates of {plan.source.name}"
        self._fingerprint = f"{fingerprint}-refine-{plan.source.name}"

    def units(self) -> list[Unit]:
        """Candidates of one tile and sign."""
        tile = self.plan.tiling.tile_of(self.candidates.zyx)
        units: list[Unit] = []
        for i in np.unique(tile):
            for sign in (1, -1):
                rows = np.flatnonzero((tile == i) & (self.candidates.sign == sign))
                for first in range(0, len(rows), UNIT_POINTS):
                    own = rows[first:first + UNIT_POINTS]
                    units.append(Unit(len(units), self.plan.source.name, float(len(own)),
                                      (int(i), sign, own)))
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """There is nothing to add up."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """A row a candidate."""
        m = len(self.candidates)
        return {"score": ((m,), "float32"), "rotation": ((m,), "int32"), "zyx": ((m, 3), "float64")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> _Context:
        """Turned templates in real space, once a node."""
        plans = search_plans(self.plan, runtime, self.folder)
        transfers = transfers_of_tiles(self.wedge, self.plan)
        offsets = sphere_offsets(self.plan.template)
        n = len(self.rotations)
        vectors = runtime.shared_array((n, len(offsets)), np.float32, zero=False)
        norms = runtime.shared_array((len(self.plan.tiling), n), np.float32, zero=False)
        # blocks do not depend on the number of ranks, so neither do the bits
        for block in range(runtime.node_rank, -(-n // NORM_BLOCK), runtime.node_size):
            part = slice(block * NORM_BLOCK, min((block + 1) * NORM_BLOCK, n))
            vectors[part] = turned_vectors(self.plan.template, self.rotations[part], plans,
                                           offsets)[0]
            norms[:, part] = norms_of(self.plan, self.volume, transfers, self.rotations[part],
                                      plans)
        runtime.barrier()
        return _Context(plans, TurnedTemplates(vectors, offsets), norms, transfers)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Refine the candidates of a unit."""
        i_tile, sign, rows = unit.payload
        tiling = self.plan.tiling
        box = context.plans.box(tiling.tile)
        box.half[...] = weighted_tile_rft(
            self.volume.filtered, tiling, i_tile,
            on_tile_grid(context.transfers[i_tile], self.plan), context.plans)
        box.to_real()
        field = Field(box.real * np.float32(sign / box.real.size), context.templates.offsets)
        corner = tiling.corner(i_tile)
        found = refine_points(field, self.candidates.zyx[rows] - corner, context.templates,
                              context.norms[i_tile], self._allowed(rows))
        zyx = found.voxel + corner + found.subvoxel
        return Partial({}, rows, {"score": found.score, "rotation": found.rotation, "zyx": zyx})

    def _allowed(self, rows: Ints) -> NDArray[np.bool_] | None:
        """(m, rotations) orientations near the normals of the seeds; None for all."""
        seeds = self.plan.source.seeds
        if seeds is None or self.max_tilt_deg >= 180:
            return None
        window = PoseWindow(seeds.R_p2t[self.candidates.seed[rows]], self.max_tilt_deg)
        return np.ascontiguousarray(window.allows(self.rotations, self.fold).T)

    def finish(self, reduced: Any, runtime: Any) -> Refined:
        """All candidates, on all ranks."""
        return Refined(reduced.rows("score"), reduced.rows("rotation"), reduced.rows("zyx"))


def refine_memory(job: RefineJob) -> MemoryPlan:
    """Patches and scores of a rank; turned templates of a node."""
    plan = job.plan
    K = float(len(sphere_offsets(plan.template)))
    m = float(len(job.rotations))
    return MemoryPlan(
        {"patches and scores": 4.0 * UNIT_POINTS * (2 * K + 3 * m),
         "tiles": 4.0 * float(np.prod(plan.tiling.tile)) * 8,
         "transfer of tiles": 2.0 * float(plan.template.box_px) ** 3 * len(plan.tiling)},
        {"turned templates": 4.0 * m * K, "norms": 4.0 * m * len(plan.tiling),
         "filtered tomogram": 4.0 * float(np.prod(plan.shape))})
