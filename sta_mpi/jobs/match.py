"""`match`: template matching, tomogram by tomogram: scan, candidates, picks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.align.volume_observe import Wedge
from sta_mpi.errors import InputError
from sta_mpi.jobs.engine import engine_results, open_checkpoints, predicted_parts_GiB, run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.launch import on_root
from sta_mpi.jobs.match_input import MatchInput, input_files, load_input, read_volume
from sta_mpi.jobs.match_output import (
    Peaks,
    join_peaks,
    peaks_from_state,
    state_of_peaks,
    write_outputs,
    write_volumes,
)
from sta_mpi.jobs.match_plan import (
    TomogramPlan,
    healpix_order,
    lowpass_A,
    make_wedge,
    plan_tomogram,
    rotations_of,
)
from sta_mpi.jobs.match_refine import Candidates, Refined, RefineJob, refine_memory
from sta_mpi.jobs.match_scan import ScanJob, ScoreMaps, SharedVolume, scan_memory
from sta_mpi.jobs.parameters.match import MatchParameters
from sta_mpi.parallel.accumulators import engine_memory
from sta_mpi.parallel.memory import GiB, process_bytes
from sta_mpi.pick.match_peaks import (
    MAD_TO_SD,
    local_maxima,
    over_slab,
    slab_statistics,
    thin_points,
)
from sta_mpi.pick.match_template import sphere_offsets
from sta_mpi.pick.match_volume import MatchVolume, prepare_volume

__all__ = ["choose_peaks", "describe", "find_candidates", "input_files", "run"]

Real = NDArray[np.float32]
Floats = NDArray[np.float64]

TEMPLATES_A_CANDIDATE = 1.5
"""Volumes of the template that one candidate is looked at for."""
LEAST_CANDIDATES, MOST_CANDIDATES = 200, 20_000
DEFAULT_DISTANCE = 0.6
"""Of the mask diameter: two picks are no nearer."""


@dataclass
class _Loop:
    parameters: MatchParameters
    folder: JobFolder
    runtime: Any
    inputs: MatchInput
    checkpoints: Any
    stages: list[Any]
    memory: dict[str, float]


def describe(parameters: MatchParameters) -> dict[str, Any]:
    """What --dry-run prints, of the largest tomogram."""
    inputs = load_input(parameters)
    plans = [plan_tomogram(parameters, inputs, source) for source in inputs.sources]
    plan = max(plans, key=lambda plan: float(np.prod(plan.shape)))
    rotations = scan_rotations(parameters, inputs)
    flat = SharedVolume(np.zeros((1, 1, 1), np.float32), np.ones(2), 1.0, None)
    job = ScanJob(plan, make_wedge(parameters, plan), flat, rotations, "dry run")
    memory = scan_memory(job).plus(engine_memory(job, "rank"))
    return {**_sizes(parameters, inputs, plan), "tomograms": len(plans),
            "units": sum(len(ScanJob(p, make_wedge(parameters, p), flat, rotations, "").units())
                         for p in plans),
            "rank_memory_GiB": memory.rank_peak_GiB(process_bytes()),
            "shared_memory_GiB": sum(memory.node_bytes.values()) / GiB}


def run(parameters: MatchParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Search all tomograms and write picks, maps and report."""
    inputs = load_input(parameters)
    loop = _Loop(parameters, folder, runtime, inputs, open_checkpoints(folder, parameters), [], {})
    saved = loop.checkpoints.load_state(runtime)
    done, peaks = (0, Peaks.empty()) if saved is None else (
        int(saved.position["done"]), peaks_from_state(saved.arrays))
    scanned = None
    if saved is not None and saved.position["scanned"]:
        scanned = _unpack(saved.arrays)
    plan = None
    for i in range(done, len(inputs.sources)):
        plan = plan_tomogram(parameters, inputs, inputs.sources[i])
        found = _search(loop, plan, i, peaks, scanned)
        scanned = None
        peaks = join_peaks(peaks, found)
        loop.checkpoints.save_state(runtime, {"done": i + 1, "scanned": False},
                                    state_of_peaks(peaks))
    if not runtime.is_root:
        return JobOutcome()
    plan = plan or plan_tomogram(parameters, inputs, inputs.sources[-1])
    outcome = write_outputs(parameters, folder, inputs, peaks,
                            scan_rotations(parameters, inputs))
    outcome.results = {**outcome.results, **_sizes(parameters, inputs, plan),
                       **(engine_results(*loop.stages) if loop.stages else {})}
    outcome.stages, outcome.memory_plan_GiB = loop.stages, loop.memory
    return outcome


def scan_rotations(p: MatchParameters, inputs: MatchInput) -> Floats:
    """The list of the scan: the whole one, or that of twice the step."""
    order = healpix_order(p, lowpass_A(p, inputs))
    return rotations_of(p, order if p.search == "full" else max(order - 1, 0))


def _sizes(p: MatchParameters, inputs: MatchInput, plan: TomogramPlan) -> dict[str, Any]:
    cutoff = lowpass_A(p, inputs)
    order = healpix_order(p, cutoff)
    return {"voxel_A": plan.voxel_A, "lowpass_A": cutoff, "highpass_A": plan.rule.highpass_A,
            "healpix_order": order, "rotations": len(rotations_of(p, order)),
            "rotations_of_the_scan": len(scan_rotations(p, inputs)),
            "tile_px": list(plan.tiling.tile[::-1]), "tiles": len(plan.tiling),
            "voxels": int(np.prod(plan.shape))}


def _search(loop: _Loop, plan: TomogramPlan, i: int, peaks: Peaks,
            scanned: tuple[Candidates, Floats] | None) -> Peaks:
    """One tomogram: candidates by a scan or near seeds, refined, thinned."""
    p, runtime = loop.parameters, loop.runtime
    wedge = make_wedge(p, plan)
    volume = _share_volume(loop, plan)
    if scanned is None:
        if plan.source.seeds is not None:
            scanned = on_root(runtime, lambda: (_near_seeds(p, plan, volume), np.zeros((0, 2))))
        else:
            scanned = _scan(loop, plan, wedge, volume)
        loop.checkpoints.save_state(
            runtime, {"done": i, "scanned": True}, {**state_of_peaks(peaks), **_pack(*scanned)})
    candidates, statistics = scanned
    order = healpix_order(p, lowpass_A(p, loop.inputs))
    job = RefineJob(plan, wedge, volume, rotations_of(p, order), candidates,
                    loop.folder.fingerprint, loop.folder.path, p.max_tilt_deg, p.symmetry)
    memory = refine_memory(job)
    result = run_stage(job, loop.folder, runtime, p, loop.checkpoints, memory)
    _note(loop, job, result, memory)
    found = on_root(runtime, lambda: _peaks(p, plan, volume, candidates, result.outputs,
                                            statistics, i))
    runtime.release_shared(volume.filtered)
    return found


def _share_volume(loop: _Loop, plan: TomogramPlan) -> SharedVolume:
    """Prepare a tomogram on the first rank of every node; collective."""
    runtime = loop.runtime
    shared = runtime.shared_array(plan.shape, np.float32, zero=False)
    whole = None
    if runtime.node_rank == 0:
        whole = prepare_volume(read_volume(plan.source), plan.source.volume.pixel_A, plan.rule)
        if not whole.allowed.any():
            raise InputError(
                f"tomogram {plan.source.name}: nothing is left to search after edges and bead "
                f"mask ({100 * whole.masked_share:.0f} % masked). Use a larger --bead-sigmas or a "
                "smaller --edge-A.")
        shared[...] = whole.filtered
    runtime.barrier()
    meta = None if whole is None else (whole.noise_power, whole.shell_per_A)
    power, shell = runtime.bcast(meta)
    return SharedVolume(shared, power, shell, whole)


def _scan(loop: _Loop, plan: TomogramPlan, wedge: Wedge, volume: SharedVolume
          ) -> tuple[Candidates, Floats]:
    """Score all voxels; candidates and statistics of slabs on all ranks."""
    p = loop.parameters
    job = ScanJob(plan, wedge, volume, scan_rotations(p, loop.inputs), loop.folder.fingerprint,
                  loop.folder.path)
    memory = scan_memory(job)
    result = run_stage(job, loop.folder, loop.runtime, p, loop.checkpoints, memory)
    _note(loop, job, result, memory)
    return on_root(loop.runtime, lambda: _write_and_choose(loop.folder, plan, volume,
                                                           result.outputs))


def _write_and_choose(folder: JobFolder, plan: TomogramPlan, volume: SharedVolume, maps: ScoreMaps
                      ) -> tuple[Candidates, Floats]:
    whole = volume.whole
    assert whole is not None
    candidates, statistics = find_candidates(plan, whole, maps)
    middle, sd = (statistics[:, j, None, None] for j in (0, 1))
    scores = ((maps.best / whole.local_sd - middle) / sd).astype(np.float32)
    write_volumes(folder, plan, whole, scores, maps.best_index)
    return candidates, statistics


def find_candidates(plan: TomogramPlan, whole: MatchVolume, maps: ScoreMaps
                    ) -> tuple[Candidates, Floats]:
    """Local maxima of both signs, and the scores' spread at every depth."""
    best, worst = maps.best / whole.local_sd, maps.worst / whole.local_sd
    slab = 2 * int(np.ceil(plan.template.radius_px))
    statistics = slab_statistics(best, worst, whole.allowed, slab)
    share = float(whole.allowed.sum()) / len(sphere_offsets(plan.template))
    most = int(np.clip(share / TEMPLATES_A_CANDIDATE, LEAST_CANDIDATES, MOST_CANDIDATES))
    ups = local_maxima(best, whole.allowed, most)
    downs = local_maxima(-worst, whole.allowed, most)
    sign = np.repeat(np.array([1, -1], np.int8), [len(ups), len(downs)])
    return Candidates(np.concatenate([ups, downs]), sign, np.full(len(sign), -1)), statistics


def _near_seeds(p: MatchParameters, plan: TomogramPlan, volume: SharedVolume) -> Candidates:
    """All voxels near seeds, once with each sign."""
    whole, seeds = volume.whole, plan.source.seeds
    assert whole is not None
    assert seeds is not None
    radius_A = p.search_radius_A or 0.25 * p.mask_diameter_A
    voxels = np.argwhere(whole.allowed)
    distance, nearest = cKDTree(seeds.xyz_A).query(plan.xyz_A(voxels))
    near = distance <= radius_A
    if not near.any():
        raise InputError(
            f"tomogram {plan.source.name}: no voxel that may be searched lies within "
            f"{radius_A:.3g} Å of its {len(seeds.xyz_A)} seeds. Use a larger --search-radius-A, a "
            "smaller --edge-A, or check the coordinates.")
    zyx, seed = voxels[near], nearest[near].astype(np.int64)
    return Candidates(np.concatenate([zyx, zyx]), np.repeat(np.array([1, -1], np.int8), len(zyx)),
                      np.concatenate([seed, seed]))


def _peaks(p: MatchParameters, plan: TomogramPlan, volume: SharedVolume, candidates: Candidates,
           refined: Refined, statistics: Floats, i: int) -> Peaks:
    assert volume.whole is not None
    return choose_peaks(p, plan, volume.whole, candidates, refined, statistics, i)


def choose_peaks(p: MatchParameters, plan: TomogramPlan, whole: MatchVolume,
                 candidates: Candidates, refined: Refined, statistics: Floats, i: int) -> Peaks:
    """Peaks and decoys of tomogram i, no two of a kind too near to each other."""
    voxel = np.clip(np.rint(refined.zyx).astype(np.intp), 0, np.array(plan.shape) - 1)
    score = refined.score / whole.local_sd[tuple(voxel.T)]
    good = np.isfinite(score) & whole.allowed[tuple(voxel.T)]
    if len(statistics) == 0:
        decoys = score[good & (candidates.sign < 0)]
        middle = float(np.median(decoys)) if len(decoys) else 0.0
        sd = MAD_TO_SD * float(np.median(np.abs(decoys - middle))) if len(decoys) else 1.0
        statistics = np.array([[middle, sd or 1.0]])
    score = over_slab(score, voxel[:, 0], statistics)
    xyz_A = plan.xyz_A(refined.zyx)
    distance = p.min_distance_A or DEFAULT_DISTANCE * p.mask_diameter_A
    rows = []
    for sign in (1, -1):
        own = np.flatnonzero(good & (candidates.sign == sign))
        rows.append(own[thin_points(xyz_A[own], score[own], distance)])
    kept = np.concatenate(rows)
    order = healpix_order(p, plan.rule.lowpass_A)
    R = rotations_of(p, order)[refined.rotation[kept]]
    return Peaks(np.full(len(kept), i), candidates.sign[kept], score[kept], xyz_A[kept], R)


def _pack(candidates: Candidates, statistics: Floats) -> dict[str, NDArray[Any]]:
    return {"zyx": candidates.zyx, "candidate_sign": candidates.sign, "seed": candidates.seed,
            "statistics": statistics}


def _unpack(arrays: dict[str, NDArray[Any]]) -> tuple[Candidates, Floats]:
    return (Candidates(arrays["zyx"].astype(np.intp), arrays["candidate_sign"].astype(np.int8),
                       arrays["seed"].astype(np.int64)), arrays["statistics"])


def _note(loop: _Loop, job: Any, result: Any, memory: Any) -> None:
    loop.stages.append(result)
    loop.memory.update(predicted_parts_GiB(job, loop.runtime, memory))

