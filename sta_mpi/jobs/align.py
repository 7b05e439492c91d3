"""`align`: exhaustive search of poses against a reference, then averaging, in rounds.

Half-sets never meet: particles of half h see only the reference of half h, which is the
input reference low-passed at `lowpass_A`, and from the second round on the average of
half h alone, low-passed at the same fixed limit.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band
from sta_mpi.errors import UsageError
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.poses_h5 import write_poses
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.jobs.align_report import align_sections
from sta_mpi.jobs.align_rounds import AlignRound, GreyScaleJob, fit_grey_scale
from sta_mpi.jobs.align_search import Search
from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import Setup, check_any_seen, make_setup, memory_plan
from sta_mpi.jobs.engine import describe_job, engine_results, open_checkpoints, run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves, load_set, set_files
from sta_mpi.jobs.map_report import map_results
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.reconstruction import Maps, write_maps
from sta_mpi.jobs.reference_files import read_mask, read_references, reference_files
from sta_mpi.parallel.checkpoint import LoopState
from sta_mpi.version import __version__

Floats = NDArray[np.float64]

GLOBAL_ORDER = 2
"""HEALPix order of the global search, 15 degrees."""

LEAST_SHELLS = 2
"""Fourier shells that a search needs to tell poses apart."""
LARGEST_ROTATION_LIST = 10_000_000
LARGEST_SHIFT_LIST = 1_000_000
"""Longest lists of one search; finer ones are searched in rounds (--iterations)."""


def input_files(parameters: AlignParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [*set_files(parameters), *reference_files(parameters.reference)]
    return files + ([parameters.reference_mask] if parameters.reference_mask else [])


@dataclass
class LoopPoses:
    """Where the rounds stand; what a resume reads back."""

    round_done: int
    R_p2t: Floats
    offset_A: Floats
    references: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]
    history: list[dict[str, float]]
    grey: tuple[float, float] | None = None    # of the round in hand, once it is known


def prepare_setup(parameters: AlignParameters) -> Setup:
    """Read and check the input, choose sizes."""
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed)
    setup = make_setup(inputs, parameters, half)
    _check(parameters, setup)
    return setup


def describe(parameters: AlignParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = prepare_setup(parameters)
    box = (2, *(setup.sizes.box_px,) * 3)
    references = read_references(parameters.reference, setup.sizes)
    state = start_state(setup, np.zeros(box, np.float32) if references is None else references)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    search = make_search(0, state, parameters, setup, mask)
    job = AlignRound(setup, search, (1.0, 1.0), "dry run", 0)
    return {"rotations": len(search.rotations), "shifts": len(search.shifts_px),
            "rounds": parameters.iterations, **describe_job(job, setup)}


def run(parameters: AlignParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Search, average, repeat; write particles, maps and report."""
    setup = replace(prepare_setup(parameters), folder=folder.path)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    checkpoints = open_checkpoints(folder, parameters)
    state = _resume(checkpoints.load_state(runtime))
    if state is None:
        state = _start(parameters, setup, folder, runtime, checkpoints)
        checkpoints.save_state(runtime, *_pack(state))
    maps, stages = None, []
    for i_round in range(state.round_done, parameters.iterations):
        maps, result = _one_round(
            i_round, state, parameters, setup, mask, folder, runtime, checkpoints)
        stages.append(result)
        # the last round ends with the outputs: until they are written, its own units count
        if state.round_done < parameters.iterations:
            checkpoints.save_state(runtime, *_pack(state))
    return _finish(parameters, folder, runtime, setup, state, maps, stages)


def _check(parameters: AlignParameters, setup: Setup) -> None:
    nyquist_A = 2 * setup.sizes.voxel_A
    if parameters.lowpass_A < nyquist_A:
        raise UsageError(f"--lowpass-A {parameters.lowpass_A:g} is beyond Nyquist "
                         f"({nyquist_A:.2f} Å at this binning). Use a coarser limit or less "
                         "binning.")
    span_A = setup.sizes.box_px * setup.sizes.voxel_A
    if parameters.lowpass_A > span_A / LEAST_SHELLS:
        raise UsageError(f"--lowpass-A {parameters.lowpass_A:g} leaves fewer than {LEAST_SHELLS} "
                         f"Fourier shells of a box of {span_A:g} Å. Use at most "
                         f"{span_A / LEAST_SHELLS:.4g} Å, or a larger box.")
    _check_search_size(parameters)
    if parameters.highpass_A is not None and parameters.highpass_A <= parameters.lowpass_A:
        raise UsageError(f"--highpass-A {parameters.highpass_A:g} must be coarser than "
                         f"--lowpass-A {parameters.lowpass_A:g}. Use a larger number of Å, or "
                         "leave it out.")
    if parameters.score == "ncc" and (parameters.angle_prior_deg or parameters.shift_prior_A):
        raise UsageError("priors weigh against a likelihood: use --score loglik with "
                         "--angle-prior-deg or --shift-prior-A.")
    if setup.source.kind == "boxes":
        raise UsageError("align searches 2D tilt images (tilt series or 2D stacks). For 3D "
                         "boxes use --source tilt-series.")


def _check_search_size(parameters: AlignParameters) -> None:
    """UsageError for lists of rotations or shifts that no run would finish, or hold in memory."""
    n_shifts = 4.2 * (parameters.shift_range_A / parameters.shift_step_A) ** 3
    n_rotations = 4.2 * (parameters.angle_range_deg / parameters.angle_step_deg) ** 3
    for n, limit, what in ((n_shifts, LARGEST_SHIFT_LIST, "shift"),
                           (n_rotations, LARGEST_ROTATION_LIST, "angle")):
        if n > limit:
            unit = "A" if what == "shift" else "deg"
            raise UsageError(f"--{what}-range-{unit} over --{what}-step-{unit} gives about {n:.2g} "
                             f"candidates, expected at most {limit:,}. Use a smaller range or a "
                             "coarser step.")


def _start(parameters: AlignParameters, setup: Setup, folder: JobFolder, runtime: Any,
           checkpoints: Any) -> LoopPoses:
    references = read_references(parameters.reference, setup.sizes)
    if references is None:
        job = AverageJob(setup, folder.fingerprint + "start")
        maps, _ = run_stage(job, folder, runtime, parameters, checkpoints).outputs
        references = runtime.bcast_array(
            None if maps is None else np.stack([maps.halves.half1.data, maps.halves.half2.data]))
    return start_state(setup, references)


def start_state(setup: Setup, references: NDArray[np.float32]) -> LoopPoses:
    """The poses of the input and the first references, before any round."""
    particles = setup.inputs.particles
    return LoopPoses(0, particles.R_p2t.copy(), particles.offset_A.copy(), references, {}, [])


def _one_round(i_round: int, state: LoopPoses, parameters: AlignParameters, setup: Setup,
               mask: NDArray[np.float32] | None, folder: JobFolder, runtime: Any,
               checkpoints: Any) -> tuple[Maps | None, Any]:
    """Search and average once; `state` is brought up to date on all ranks."""
    search = make_search(i_round, state, parameters, setup, mask)
    tag = f"{folder.fingerprint}round{i_round}"
    if parameters.score == "loglik" and state.grey is None:
        job = GreyScaleJob(setup, search, tag)
        state.grey = fit_grey_scale(
            run_stage(job, folder, runtime, parameters, checkpoints).outputs, setup.half)
        # a resume goes straight to the round: checkpoints of a repeated fit would hide its own
        checkpoints.save_state(runtime, *_pack(state))
    grey, state.grey = state.grey or (1.0, 1.0), None
    align = AlignRound(setup, search, grey, tag, i_round)
    result = run_stage(align, folder, runtime, parameters, checkpoints, memory_plan(setup))
    maps, columns = result.outputs
    check_any_seen(columns["n_slices"], setup)
    before_R, before_offset = state.R_p2t, state.offset_A
    aligned = columns["n_slices"] > 0
    R = columns["R_p2t"].reshape(-1, 3, 3)
    state.R_p2t = np.where(aligned[:, None, None], R, before_R)
    state.offset_A = np.where(aligned[:, None], columns["offset_A"], before_offset)
    state.columns = columns
    state.references = runtime.bcast_array(
        None if maps is None else np.stack([maps.halves.half1.data, maps.halves.half2.data]))
    state.history.append(_round_summary(before_R, before_offset, state, aligned, maps, grey,
                                        runtime))
    state.round_done = i_round + 1
    if maps is not None:
        write_maps(folder.path, maps, prefix=f"round{i_round + 1:02d}_")
    return maps, result


def make_search(i_round: int, state: LoopPoses, parameters: AlignParameters, setup: Setup,
                mask: NDArray[np.float32] | None) -> Search:
    """Lists of rotations and shifts of a round; ranges and steps shrink round by round."""
    factor = parameters.refine_factor**i_round
    order = parameters.global_order
    if order is None and parameters.search == "global":
        order = GLOBAL_ORDER
    is_global = order is not None and i_round == 0
    if order is not None and i_round == 0:
        rotations, step_deg = healpix_rotations(order, parameters.symmetry), healpix_step_deg(order)
    else:
        step_deg = parameters.angle_step_deg * factor
        rotations = local_rotations(parameters.angle_range_deg * factor, step_deg)
    voxel_A, box = setup.sizes.voxel_A, setup.sizes.box_px
    shifts_px = shift_grid(parameters.shift_range_A * factor / voxel_A,
                           parameters.shift_step_A * factor / voxel_A)
    span_A = box * voxel_A
    band = Band(0.0 if parameters.highpass_A is None else span_A / parameters.highpass_A,
                min(span_A / parameters.lowpass_A, box // 2 - 3))
    return Search(state.R_p2t, state.offset_A, state.references, mask, rotations, is_global,
                  shifts_px, parameters.angle_range_deg * factor,
                  parameters.shift_range_A * factor, step_deg, band, parameters)


def _round_summary(before_R: Floats, before_offset: Floats, state: LoopPoses,
                   aligned: NDArray[np.bool_], maps: Maps | None, grey: tuple[float, float],
                   runtime: Any) -> dict[str, float]:
    turned = angular_distance_deg(before_R, state.R_p2t)[aligned]
    moved = np.linalg.norm(state.offset_A - before_offset, axis=1)[aligned]
    resolution = runtime.bcast(None if maps is None else maps.fsc.resolution_A())
    return {
        "round": float(state.round_done + 1),
        "median_turn_deg": float(np.median(turned)) if len(turned) else 0.0,
        "median_move_A": float(np.median(moved)) if len(moved) else 0.0,
        "mean_ncc": float(np.mean(state.columns["ncc"][aligned])) if len(turned) else 0.0,
        "grey_scale_half1": grey[0], "grey_scale_half2": grey[1],
        "resolution_A": float(resolution)}


def _pack(state: LoopPoses) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    arrays: dict[str, NDArray[Any]] = {
        "R_p2t": state.R_p2t, "offset_A": state.offset_A, "references": state.references}
    arrays |= {f"column_{name}": values for name, values in state.columns.items()}
    return {"round_done": state.round_done, "history": state.history, "grey": state.grey}, arrays


def _resume(saved: LoopState | None) -> LoopPoses | None:
    if saved is None:
        return None
    arrays = saved.arrays
    columns = {name.removeprefix("column_"): values for name, values in arrays.items()
               if name.startswith("column_")}
    position, grey = saved.position, saved.position["grey"]
    return LoopPoses(int(position["round_done"]), arrays["R_p2t"], arrays["offset_A"],
                     arrays["references"], columns, position["history"],
                     None if grey is None else (float(grey[0]), float(grey[1])))


def _finish(parameters: AlignParameters, folder: JobFolder, runtime: Any, setup: Setup,
            state: LoopPoses, maps: Maps | None, stages: list[Any]) -> JobOutcome:
    """Write particles, poses and the set; the maps are those of the last round."""
    if not runtime.is_root:
        return JobOutcome()
    assert maps is not None
    outputs = write_maps(folder.path, maps)
    particles = setup.inputs.particles.with_poses(state.R_p2t, state.offset_A)
    particles.half = setup.half
    particles.columns["rlnLogLikeliContribution"] = np.nan_to_num(state.columns["loglik"])
    particles.columns["rlnMaxValueProbDistribution"] = np.nan_to_num(state.columns["ncc"])
    if parameters.search != "grid":
        particles.columns["staSigmaAngle"] = np.nan_to_num(state.columns["sigma_angle_deg"])
        particles.columns["staSigmaShiftAngst"] = np.nan_to_num(state.columns["sigma_shift_A"])
    outputs |= {"particles": "particles.star", "poses": "poses.h5", "scores": "scores.h5",
                "optimisation_set": "optimisation_set.star"}
    write_particles(folder.file("particles.star"), particles, setup.inputs.tomograms)
    write_poses(folder.file("poses.h5"), particles, attributes={
        "fingerprint": folder.fingerprint, "version": __version__})
    write_h5(folder.file("scores.h5"), {
        name: values for name, values in state.columns.items()
        if name not in ("R_p2t", "offset_A")}, {"what": "scores of align"})
    write_optimisation_set(folder.file("optimisation_set.star"), OptimisationSet(
        particles=folder.path / "particles.star", tomograms=setup.inputs.paths.tomograms,
        reference1=folder.path / "half1.mrc", reference2=folder.path / "half2.mrc"))
    results = {"particles": len(particles), "rounds": state.round_done, **state.history[-1],
               **map_results(maps), **engine_results(*stages)}
    sections = align_sections(maps, particles, setup, state.columns, state.history, parameters)
    warnings = []
    lost = int((state.columns["n_slices"] == 0).sum())
    if lost:
        warnings.append(f"{lost} particles were not aligned: no tilt image holds their whole "
                        "box, or they are in the quarantine.")
    at_edge = float(np.mean(state.columns["at_edge"][state.columns["n_slices"] > 0] > 0))
    if at_edge > 0.1:
        warnings.append(
            f"{100 * at_edge:.0f} % of the best poses lie at the edge of the search. Widen "
            "--angle-range-deg or --shift-range-A.")
    return JobOutcome(results, outputs, sections, warnings, stages)
