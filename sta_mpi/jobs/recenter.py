"""`recenter`: move a map and its particles together. Rank 0 alone works.

The steps come in a fixed order, each on what the one before left: centre, symmetry axes or fit to
another map, rotation. The map is interpolated once, by the move that they make together.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.map_fit import fit_map
from sta_mpi.align.move_map import (
    RigidMove,
    centre_of_mass,
    move_map,
    move_poses,
    shift_move,
)
from sta_mpi.align.symmetry_axis import SymmetryFit, find_symmetry, fold_scores
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_sets import OptimisationSet
from sta_mpi.geometry.euler import matrix_from_relion_angles, relion_angles_from_matrix
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.averaging import check_symmetry
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import load_set, set_files
from sta_mpi.jobs.map_files import MapSet, map_set_files, read_map_set
from sta_mpi.jobs.parameters.recenter import RecenterParameters
from sta_mpi.jobs.reference_files import read_checked_map, read_mask
from sta_mpi.jobs.set_output import given_members, has_set, write_particle_set
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import angular_coverage, map_slices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.masks import apply_mask, soft_sphere

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

SEARCH_VOXELS = 4.0
"""Default limit of searches [voxels]: half of Nyquist."""
SEARCH_SPHERE = 0.42
"""Radius of what searches look at without a mask, over the box."""
LOW_SYMMETRY = 0.3
"""Mean self-correlation below which a map hardly has the symmetry."""
FOLDS = range(2, 13)


def input_files(parameters: RecenterParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = map_set_files(parameters.reference)
    files += [path for path in (parameters.mask, parameters.align_to) if path is not None]
    return files + (set_files(parameters) if has_set(parameters) else [])


@dataclass
class _Found:
    """The move, and what was learnt on the way."""

    move: RigidMove
    results: dict[str, Any]
    warnings: list[str]
    symmetry: SymmetryFit | None = None


def run(parameters: RecenterParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Find the move; write moved maps, mask, particles and set."""
    if not runtime.is_root:
        return JobOutcome()
    given = read_map_set(parameters.reference)
    mask = read_mask(parameters.mask, given.sizes)
    inputs = load_set(parameters) if has_set(parameters) else None
    plans = FftPlans(effort="estimate")
    found = _find_move(parameters, given, mask, plans)
    moved = replace(given, maps={name: move_map(data, found.move, plans)
                                 for name, data in given.maps.items()})
    outputs = moved.write(folder.path)
    if mask is not None:
        mask = np.clip(move_map(mask, found.move, plans), 0, 1)
        write_mrc(folder.file("mask.mrc"), mask, given.voxel_A)
        outputs["mask"] = "mask.mrc"
    shown_A = parameters.lowpass_A or SEARCH_VOXELS * given.voxel_A
    sections = [_map_section(given, moved, shown_A)]
    if inputs is not None:
        particles = inputs.particles
        assert isinstance(particles, RelionParticles)
        R, offset = move_poses(particles.R_p2t, particles.offset_A, found.move, given.voxel_A)
        outputs |= write_particle_set(
            folder, replace(particles, R_p2t=R, offset_A=offset), inputs.tomograms,
            _members(parameters, folder.path, outputs, inputs.paths.tomograms), inputs.motion_A)
        found.results["particles"] = len(particles)
        symmetry = parameters.find_symmetry or "C1"
        sections.append(Section("Particles", figures=[Figure(
            "Angular coverage", angular_coverage.later(R, symmetry_matrices(symmetry), symmetry),
            "In the new axes. Particles keep their places in the tomogram: all are turned and "
            "moved by the same amounts, those of the map's frame.")]))
    if found.symmetry is not None:
        sections.append(_symmetry_section(found, moved, mask, parameters, plans))
    return JobOutcome(found.results, outputs, sections, found.warnings)


def _find_move(p: RecenterParameters, given: MapSet, mask: Map | None, plans: FftPlans) -> _Found:
    """The move that the options ask for."""
    data, voxel_A = given.mean, given.voxel_A
    found = _Found(shift_move(np.zeros(3)), {}, [])
    if p.centre_A:
        found.move = shift_move(-np.array(p.centre_A) / voxel_A)
    elif p.centre_on == "mask" and mask is not None:
        found.move = shift_move(-centre_of_mass(mask))
    elif p.centre_on == "mass":
        found.move = shift_move(-_mass(p.reference, data, mask))
    r_max = given.box_px * voxel_A / (p.lowpass_A or SEARCH_VOXELS * voxel_A)
    reach_px = (p.max_shift_A or 0.25 * given.box_px * voxel_A) / voxel_A
    start = found.move
    around = _sphere(given.box_px) if mask is None else \
        np.clip(move_map(mask, start, plans), 0, 1)
    centred = move_map(data, start, plans)
    if p.find_symmetry is not None:
        _refuse_c1(p.find_symmetry)
        found.symmetry = find_symmetry(centred, around, p.find_symmetry, r_max, reach_px, plans)
        found.move = start.then(found.symmetry.move)
        _tell_symmetry(found, p.find_symmetry, given.box_px * voxel_A / r_max)
    elif p.align_to is not None:
        fixed = read_checked_map(p.align_to, given.sizes, "map")
        fit, score = fit_map(apply_mask(centred, around), fixed, _sphere(given.box_px), r_max,
                             reach_px, plans, p.search == "global")
        found.move = start.then(fit)
        found.results["correlation_with_target"] = score
        if p.search == "global":
            _check_hand(found, apply_mask(centred, around), fixed, r_max, reach_px, plans)
    if p.rotate_deg:
        R = matrix_from_relion_angles(np.array(p.rotate_deg))
        found.move = found.move.then(RigidMove(R, np.zeros(3)))
    _describe(found, voxel_A, given.box_px)
    return found


def _check_hand(found: _Found, data: Map, fixed: Map, r_max: float, reach_px: float,
                plans: FftPlans) -> None:
    """Fit the mirror image too, and warn where it fits better."""
    mirror = np.roll(data[:, :, ::-1], 1, axis=2)
    score = fit_map(mirror, fixed, _sphere(len(data)), r_max, reach_px, plans)[1]
    found.results["correlation_of_mirror_image"] = score
    if score > found.results["correlation_with_target"]:
        found.warnings.append(
            f"the mirror image fits the target better ({score:.3f} against "
            f"{found.results['correlation_with_target']:.3f}): one of the maps has the wrong "
            "hand, or both show no detail yet.")


def _sphere(n: int) -> Map:
    """What searches look at without a mask: all but the corners of the box."""
    return soft_sphere(n, SEARCH_SPHERE * n, max(2.0, 0.05 * n))


def _refuse_c1(symmetry: str) -> None:
    check_symmetry(symmetry)
    if symmetry.strip().upper() in ("C1", "D1"):
        raise UsageError(f"--find-symmetry {symmetry}: nothing to find. Give C2 or higher.")


def _mass(path: Path, data: Map, mask: Map | None) -> Floats:
    """Centre of mass of the density above its background."""
    try:
        return centre_of_mass(data - np.median(data) if mask is None else apply_mask(data, mask))
    except ValueError as error:
        raise InputError(f"{path}: {error}. Give another map or --centre-A.") from None


def _tell_symmetry(found: _Found, symmetry: str, resolution_A: float) -> None:
    fit = found.symmetry
    assert fit is not None
    found.results |= {"self_correlation": fit.score, "self_correlation_before": fit.before}
    if fit.score < LOW_SYMMETRY:
        found.warnings.append(
            f"the map correlates with itself turned by {symmetry} at {fit.score:.2f} only (up to "
            f"{resolution_A:.0f} Å): it may not have this symmetry.")


def _describe(found: _Found, voxel_A: float, box_px: int) -> None:
    shift_A = found.move.t_px * voxel_A
    angles = relion_angles_from_matrix(found.move.R)
    found.results |= {
        "turn_deg": found.move.angle_deg, "shift_A": [round(float(v), 4) for v in shift_A],
        "rot_tilt_psi_deg": [round(float(v), 4) for v in angles]}
    if np.linalg.norm(found.move.t_px) > 0.25 * box_px:
        found.warnings.append(
            f"the map moves by {np.linalg.norm(shift_A):.0f} Å in a box of {box_px * voxel_A:.0f} "
            "Å: density that leaves the box comes in on the other side. Average again with the "
            "new particles.")


def _members(p: RecenterParameters, folder: Path, outputs: dict[str, str], tomograms: Path
             ) -> OptimisationSet:
    """The given set with the moved maps."""
    first = "half1" if "half1" in outputs else "reference"
    return replace(
        given_members(p), tomograms=tomograms, reference1=folder / outputs[first],
        reference2=folder / outputs["half2"] if "half2" in outputs else None,
        mask=folder / outputs["mask"] if "mask" in outputs else None)


def _map_section(before: MapSet, after: MapSet, shown_A: float) -> Section:
    pictures = [map_slices.later(lowpass_map(m.mean, m.voxel_A, shown_A), m.voxel_A)
                for m in (before, after)]
    return Section("Map", figures=[
        Figure("Before", pictures[0], f"Central slices above, projections below; here low-passed "
               f"at {shown_A:.0f} Å."),
        Figure("After", pictures[1], "The moved map is interpolated; for the last digit average "
               "again with the new particles.")])


def _symmetry_section(found: _Found, moved: MapSet, mask: Map | None, p: RecenterParameters,
                      plans: FftPlans) -> Section:
    fit = found.symmetry
    assert fit is not None
    r_max = moved.box_px * moved.voxel_A / (p.lowpass_A or SEARCH_VOXELS * moved.voxel_A)
    around = _sphere(moved.box_px) if mask is None else mask
    scores = fold_scores(moved.mean, around, r_max, FOLDS, plans)
    return Section("Symmetry", tables=[Table(
        "Correlation of the moved map with itself turned about z", ("n", "by 360/n degrees"),
        [(n, round(score, 3)) for n, score in scores.items()],
        "Over the band of the search. Multiples of the true n may be high at low "
        "resolution; divisors of it are as high as n itself.")])
