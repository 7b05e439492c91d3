"""The searches of a PEET project, iteration by iteration, for the rounds of `align`.

By default the ranges of dPhi, dTheta and dPsi are the limits of the engine's polish (flat priors),
begun at poses 12 degrees apart where they are wide; with `--search grid` the lists are tried as
they stand, with all whole shifts within searchRadius.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band
from sta_mpi.align.peet_frame import from_peet_map
from sta_mpi.align.peet_mask import blurred, cylinder_mask, file_mask, shell_mask
from sta_mpi.align.peet_search import (
    band_of,
    cube_shifts,
    highpass,
    lowpass,
    offset_rotations,
    sphere_rotations,
    start_offsets,
    symmetry_turns,
)
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.jobs.align_global import GLOBAL_BAND, searched_shifts_px
from sta_mpi.jobs.align_search import Limits, Search
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.peet_settings import Iteration, PeetRun
from sta_mpi.jobs.search_options import has_candidate_band

Floats = NDArray[np.float64]

STILL_DEG = 0.01
"""Limit of an angle that is not searched."""

MOST_STARTS = 300
"""Poses that polishing begins at, beyond which the global search takes over."""

LARGEST_GRID = 2_000_000
"""Longest list of rotations times shifts of --search grid for one particle."""

CHECK_DEG, CHECK_PX = 12.0, 4.0
"""The exhaustive check of a round looks no farther than this."""


def effective_parameters(parameters: AlignParameters, run: PeetRun) -> AlignParameters:
    """Parameters of the engine for a PEET run: what its file does not say stays as given."""
    return parameters.model_copy(update={
        "source": "tomograms", "box_px": run.box_px, "binning": 1, "symmetry": f"C{run.fold}",
        "iterations": len(run.iterations), "reference": (), "reference_mask": None,
        "score": "ncc" if parameters.score == "loglik" else parameters.score})


def peet_search(i_round: int, state: LoopPoses, parameters: AlignParameters, run: PeetRun,
                setup: Setup, mask: NDArray[np.float32] | None,
                start: tuple[Floats, Floats]) -> Search:
    """What iteration `i_round` (from 0) searches; `start` are the initial poses (R, offset)."""
    iteration, voxel_A = run.iterations[i_round], setup.sizes.voxel_A
    box = setup.sizes.box_px
    r_min, r_max = band_of(iteration.high, iteration.low, box)
    band = Band(r_min, float(np.clip(r_max, r_min + 2, max(box // 2 - 3, r_min + 2))))
    is_grid = parameters.search == "grid"
    angles = search_angles(iteration)
    sphere = run.sample_sphere if i_round == 0 else "none"
    n_starts = len(_start_turns(iteration))
    is_global = not is_grid and (
        sphere != "none" or (n_starts > MOST_STARTS and iteration.y_symmetry == 1))
    if is_global and not has_candidate_band(r_min):
        raise UsageError(
            f"iteration {i_round + 1}: lowCutoff leaves a search of all orientations too little: "
            f"its candidates come from frequencies below {GLOBAL_BAND / box:.3g} of the sampling. "
            "Use a lower one, or --search grid.")
    radius_px = max(iteration.radius_px)
    max_shift_px, max_angle = radius_px, max(float(np.linalg.norm(angles)), STILL_DEG)
    centre = None
    if run.is_strict:
        centre = start
        max_shift_px = max(max(i.radius_px) for i in run.iterations)
        max_angle = max(STILL_DEG, *(float(np.linalg.norm(search_angles(i)))
                                     for i in run.iterations))
    limits = Limits(
        np.eye(3)[None] if is_global else _start_turns(iteration),
        _tilt_limit(iteration, sphere), *shell_gains(iteration, box, run.is_filter_on_reference),
        centre, run.has_particle_axes, run.has_wedge)
    rotations, step_deg, given = _rotations(
        iteration, sphere, run, parameters, is_grid, is_global, max_angle)
    if is_grid:
        shifts, shift_step_px = cube_shifts(iteration.radius_px), 1.0
    else:
        shift_step_px = max(1.0, min(radius_px, CHECK_PX) / 2)
        shifts = shift_grid(radius_px if is_global else min(radius_px, CHECK_PX), shift_step_px)
    if is_grid and len(rotations) * len(shifts) > LARGEST_GRID:
        raise UsageError(
            f"iteration {i_round + 1}: {len(rotations)} rotations x {len(shifts)} shifts a "
            f"particle, expected at most {LARGEST_GRID:,} with --search grid. Use shorter lists, "
            "or the default search.")
    return Search(
        state.R_p2t, state.offset_A, state.anchor_A, state.references, 1, state.fsc, mask,
        "grid" if is_grid else "global" if is_global else "local", rotations, is_global, shifts,
        shift_step_px * voxel_A, state.R_p2t, max_angle, max(max_shift_px, 0.01) * voxel_A,
        step_deg, band, i_round, given, limits=limits)


def search_angles(iteration: Iteration) -> Floats:
    """(3,) largest offsets about y, z and x [degrees]."""
    if iteration.y_symmetry > 1:
        return np.array([180.0, 0.0, 0.0])
    return np.array([float(np.abs(values).max()) for values in (
        iteration.phi_deg, iteration.theta_deg, iteration.psi_deg)])


def shell_gains(iteration: Iteration, box_px: int, is_on_reference: bool) -> tuple[Floats, Floats]:
    """(n//2+1,) factors of samples and of references for PEET's filters.

    Both are filtered once: correlations see the square, which is a factor of the samples.
    """
    k = np.arange(box_px // 2 + 1) / box_px
    curve = lowpass(k, *iteration.high) * highpass(k, *iteration.low)
    one = np.ones_like(curve)
    return (one, curve) if is_on_reference else (curve**2, one)


def _start_turns(iteration: Iteration) -> Floats:
    if iteration.y_symmetry > 1:
        return symmetry_turns(iteration.y_symmetry)
    angles = search_angles(iteration)
    return offset_rotations(*(start_offsets(a) for a in angles))


def _tilt_limit(iteration: Iteration, sphere: str) -> float | None:
    """Largest angle of the axis to its present direction; None: any."""
    if sphere != "none":
        return 90.0 if sphere == "half" else None
    tilt = float(np.linalg.norm(search_angles(iteration)[1:]))
    return None if tilt >= 180 else max(tilt, STILL_DEG)


def _rotations(iteration: Iteration, sphere: str, run: PeetRun, parameters: AlignParameters,
               is_grid: bool, is_global: bool, max_angle: float
               ) -> tuple[Floats, float, AlignParameters]:
    """List of rotations, its step, and the parameters that go with it."""
    if is_grid:
        if sphere != "none":
            interval = run.sample_interval_deg
            return (sphere_rotations(interval, iteration.phi_deg, sphere == "half"), interval,
                    parameters)
        if iteration.y_symmetry > 1:
            fold = iteration.y_symmetry
            return symmetry_turns(fold), 360.0 / fold, parameters
        lists = (iteration.phi_deg, iteration.theta_deg, iteration.psi_deg)
        steps = [float(np.diff(np.sort(v)).max()) for v in lists if len(v) > 1]
        return offset_rotations(*lists), max(steps, default=1.0), parameters
    if is_global:
        order = 2
        if sphere != "none":
            order = int(np.clip(np.rint(np.log2(60.0 / run.sample_interval_deg)), 1, 3))
        cone = _tilt_limit(iteration, sphere)
        given = parameters.model_copy(update={
            "global_order": order, "cone_deg": None if cone is None or cone >= 179 else cone})
        return (healpix_rotations(order, parameters.symmetry), healpix_step_deg(order), given)
    largest = min(max_angle, CHECK_DEG)
    step = max(largest / 2, STILL_DEG)
    return local_rotations(largest, step), step, parameters


def reference_mask(run: PeetRun, box_px: int) -> NDArray[np.float32] | None:
    """The mask of a run in our axes; None: no mask."""
    settings = run.mask
    if settings.kind == "none":
        return None
    if settings.kind == "sphere":
        mask = shell_mask(box_px, settings.inside_px, settings.outside_px)
    elif settings.kind == "cylinder":
        mask = cylinder_mask(box_px, settings.inside_px, settings.outside_px, settings.height_px,
                             settings.z_y_deg)
    else:
        assert settings.file is not None
        mask = file_mask(read_mrc(settings.file, permissive=True, pixel_A=1.0).data, box_px)
    if not mask.any():
        raise InputError(f"{run.source}: the mask ({settings.kind}) keeps no voxel of the box of "
                         f"{box_px}. Correct maskType or its radii.")
    return from_peet_map(blurred(mask, settings.blur_px))


def describe_search(search: Search) -> dict[str, Any]:
    """What an iteration searches, for the log."""
    starts = 1 if search.limits is None else len(search.limits.starts)
    return {"kind": search.kind, "starts": starts, "rotations": len(search.rotations),
            "shifts": len(searched_shifts_px(search)), "band_px": search.band.r_max}
