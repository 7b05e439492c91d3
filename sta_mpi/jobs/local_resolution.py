"""`local-resolution`: the FSC of many small windows, in units over ranks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import HalfMaps
from sta_mpi.errors import InputError
from sta_mpi.jobs.engine import engine_results, run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.half_maps import (
    half_map_files,
    map_sizes,
    read_fsc_mask,
    read_half_maps,
    same_map_warning,
)
from sta_mpi.jobs.launch import on_root
from sta_mpi.jobs.local_resolution_output import LocalResult, finish_maps
from sta_mpi.jobs.parameters.local_resolution import LocalResolutionParameters
from sta_mpi.parallel.accumulators import engine_memory
from sta_mpi.parallel.job import Partial, SumSpec, Unit, chunk_rows
from sta_mpi.parallel.memory import GiB, MemoryPlan, process_bytes
from sta_mpi.post.local_fsc import (
    LEAST_WINDOW_PX,
    LocalWindow,
    lattice_points,
    local_frequency,
    make_window,
    null_threshold,
    pad_for_windows,
    permuted_places,
    whiten_halves,
    windowed_fsc,
)
from sta_mpi.signal.fsc import FscResult, corrected_fsc

Map = NDArray[np.float32]
Ints = NDArray[np.intp]

WINDOW_RESOLUTIONS = 10.0
"""Default diameter of the window in units of the resolution."""
WORST_A = 50.0
"""As RELION's --locres_minres."""
FEW_POINTS = 20


@dataclass(frozen=True)
class Plan:
    """What is measured where; made on rank 0 and given to all, so it holds no maps.

    Parameters
    ----------
    fsc : FscResult               of the whole maps
    window : LocalWindow
    step_px : int
    points : (m, 3) intp          zyx, in the mask
    pairs : two (p, 3) intp       unrelated places
    """

    fsc: FscResult
    window: LocalWindow
    step_px: int
    points: Ints
    pairs: tuple[Ints, Ints]


@dataclass
class _Context:
    padded: Map


class LocalResolutionJob:
    """Windowed FSC at the points, and of unrelated places for the noise.

    Rows are points first, then pairs; each holds the curve of one window.
    """

    name = "local-resolution"

    def __init__(self, plan: Plan, parameters: LocalResolutionParameters, fingerprint: str) -> None:
        self.plan, self.parameters = plan, parameters
        self._fingerprint = fingerprint
        self._first = np.concatenate([plan.points, plan.pairs[0]])
        self._second = np.concatenate([plan.points, plan.pairs[1]])

    def units(self) -> list[Unit]:
        """Chunks of rows; all cost the same a row."""
        chunks = chunk_rows(np.arange(len(self._first)), self.parameters.unit_points)
        return [Unit(i, "map", float(len(rows)), rows) for i, rows in enumerate(chunks)]

    def sum_specs(self) -> dict[str, SumSpec]:
        """There is nothing to add up."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """A curve a window."""
        return {"curve": ((len(self._first), self.plan.window.n_shells), "float32")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> _Context:
        """Whitened, padded half maps, once a node."""
        window, p = self.plan.window, self.parameters
        edge = self.plan.fsc.box_px + 2 * (window.edge_px // 2)
        shared = runtime.shared_array((2, edge, edge, edge), np.float32)
        if runtime.node_rank == 0:
            halves = read_half_maps(p.half1, p.half2, p.voxel_A)
            white = whiten_halves(halves.half1.data, halves.half2.data)
            for i, map_ in enumerate(white):
                shared[i] = pad_for_windows(map_, window)
        runtime.barrier()
        return _Context(shared)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Curves of the windows of a unit."""
        rows = np.asarray(unit.payload, np.intp)
        curves = windowed_fsc(context.padded[0], context.padded[1], self._first[rows],
                              self._second[rows], self.plan.window)
        return Partial({}, rows, {"curve": curves.astype(np.float32)})

    def finish(self, reduced: Any, runtime: Any) -> LocalResult | None:
        """Thresholds and frequencies from all curves, on rank 0."""
        curves = reduced.rows("curve").astype(np.float64)
        if not runtime.is_root:
            return None
        n, p = len(self.plan.points), self.parameters
        thresholds = null_threshold(curves[n:], p.threshold, p.significance)
        s_per_A = local_frequency(curves[:n], thresholds, self.plan.window,
                                  self.plan.fsc.voxel_A)
        worst_A = p.worst_A or worst_resolution_A(self.plan.fsc)
        return LocalResult(curves[:n], curves[n:], thresholds, np.maximum(s_per_A, 1 / worst_A))


def input_files(parameters: LocalResolutionParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = half_map_files(parameters.half1, parameters.half2)
    return files + [path for path in (parameters.mask, parameters.mtf) if path is not None]


def read_maps(p: LocalResolutionParameters) -> tuple[HalfMaps, Map]:
    """Half maps and the mask of where to measure."""
    halves = read_half_maps(p.half1, p.half2, p.voxel_A)
    mask = read_fsc_mask(p.mask, p.mask_diameter_A, map_sizes(halves.half1), p.voxel_A)
    return halves, mask


def make_plan(p: LocalResolutionParameters) -> Plan:
    """Read the maps and choose window, points and pairs."""
    halves, mask = read_maps(p)
    fsc = corrected_fsc(halves.half1.data, halves.half2.data, mask, halves.half1.voxel_A,
                        np.random.default_rng(p.seed))
    window = make_window(_window_px(p, fsc))
    step = p.step_px or max(1, window.diameter_px // 10)
    points = lattice_points(mask >= 0.5, step)
    if len(points) < FEW_POINTS:
        raise InputError(
            f"the mask holds {len(points)} points {step} px apart, expected at least "
            f"{FEW_POINTS}. Use a smaller --step-px or a larger mask.")
    anywhere = lattice_points(np.ones(mask.shape, bool), step)
    pairs = permuted_places(points, anywhere, p.n_permutations, window.diameter_px,
                            np.random.default_rng([p.seed, 1]))
    return Plan(fsc, window, step, points, pairs)


def _window_px(p: LocalResolutionParameters, fsc: FscResult) -> int:
    voxel_A, box = fsc.voxel_A, fsc.box_px
    if p.window_A is not None:
        asked = round(p.window_A / voxel_A)
        if not LEAST_WINDOW_PX <= asked <= box:
            raise InputError(
                f"--window-A {p.window_A:g} is {asked} px of {voxel_A:.4g} Å, expected "
                f"{LEAST_WINDOW_PX} to {box} px ({LEAST_WINDOW_PX * voxel_A:.4g} to "
                f"{box * voxel_A:.4g} Å). Choose a window in between.")
        return asked
    limit_A = fsc.resolution_A()
    if not np.isfinite(limit_A):
        raise InputError("the FSC of the half maps is below 0.143 from the first shell on: there "
                         "is no resolution to choose a window by. Pass --window-A.")
    return int(min(max(round(WINDOW_RESOLUTIONS * limit_A / voxel_A), LEAST_WINDOW_PX), box // 2))


def worst_resolution_A(fsc: FscResult) -> float:
    """Worst resolution that is written where the user names none."""
    limit_A = fsc.resolution_A()
    return max(WORST_A, 4.0 * limit_A) if np.isfinite(limit_A) else WORST_A


def memory_plan(plan: Plan) -> MemoryPlan:
    """Windows of a rank; of a node, its padded half maps and the maps of the rank that reads."""
    voxels = float(plan.fsc.box_px) ** 3
    padded = float(plan.fsc.box_px + plan.window.edge_px) ** 3
    return MemoryPlan(
        {"windows": 4.0 * plan.window.edge_px**3 * 10},
        {"half maps, mask and their transforms (one rank)": 4.0 * voxels * 8,
         "whitened half maps": 8.0 * padded})


def describe(parameters: LocalResolutionParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    plan = make_plan(parameters)
    job = LocalResolutionJob(plan, parameters, "dry run")
    memory = memory_plan(plan).plus(engine_memory(job, "rank"))
    return {**_sizes(plan), "units": len(job.units()),
            "rank_memory_GiB": memory.rank_peak_GiB(process_bytes()),
            "shared_memory_GiB": sum(memory.node_bytes.values()) / GiB}


def _sizes(plan: Plan) -> dict[str, Any]:
    voxel_A = plan.fsc.voxel_A
    return {"box_px": plan.fsc.box_px, "voxel_A": voxel_A,
            "resolution_A": plan.fsc.resolution_A(),
            "window_A": plan.window.diameter_px * voxel_A, "window_px": plan.window.edge_px,
            "step_px": plan.step_px, "points": len(plan.points)}


def run(parameters: LocalResolutionParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Measure, filter and write."""
    plan = on_root(runtime, lambda: make_plan(parameters))
    job = LocalResolutionJob(plan, parameters, folder.fingerprint)
    result = run_stage(job, folder, runtime, parameters, memory=memory_plan(plan))
    if result.outputs is None:
        return JobOutcome()
    halves, mask = read_maps(parameters)
    outcome = finish_maps(parameters, plan, halves, mask, result.outputs, folder)
    outcome.results = {**_sizes(plan), **outcome.results, **engine_results(result)}
    outcome.warnings = same_map_warning(halves) + outcome.warnings
    outcome.stages = [result]
    return outcome
