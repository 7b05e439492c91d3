"""Symmetry, centre and orientation of a first reference, and its particles with it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.lattice_direction import LatticeDirection, lattice_direction
from sta_mpi.align.move_map import (
    RigidMove,
    centre_of_mass,
    move_map,
    move_poses,
    shift_move,
    symmetrise_map,
)
from sta_mpi.align.point_group import PointGroup, find_point_group
from sta_mpi.align.symmetry_axis import SymmetryFit, find_symmetry
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.reference_plan import ReferencePlan
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

SPHERE_SHARE, LATTICE_SHARE = 0.42, 0.47
"""Radius of what searches look at, over the box: the particle, the particle with neighbours."""
FINEST_VOXELS = 3.0
DENSE_SHARE = 0.3
"""The mass of a map is its density above this share of the maximum."""


@dataclass(frozen=True)
class Orientation:
    """How the reference is turned and moved, and why.

    Parameters
    ----------
    symmetry : str
    move : RigidMove
    limit_A : float                  what the searches saw
    group : PointGroup or None       what was found, with --symmetry auto
    fit : SymmetryFit or None        axes of the symmetry
    lattice : LatticeDirection or None
    before, after : (n, n, n)        mean of the halves, low-passed, as they were and moved
    """

    symmetry: str
    move: RigidMove
    limit_A: float
    group: PointGroup | None
    fit: SymmetryFit | None
    lattice: LatticeDirection | None
    before: Map
    after: Map
    notes: list[str] = field(default_factory=list)


def orient(plan: ReferencePlan, halves: Map, limit_A: float) -> Orientation:
    """Find symmetry, centre and twist of a reference from its half maps (2, n, n, n).

    `limit_A` is where the halves agree; no more than that is looked at.
    """
    voxel_A, n = plan.setup.sizes.voxel_A, plan.setup.sizes.box_px
    plans = FftPlans(effort="estimate")
    limit_A = float(np.clip(limit_A, FINEST_VOXELS * voxel_A, plan.lowpass_A))
    low = [lowpass_map(h, voxel_A, limit_A) for h in halves]
    mask = soft_sphere(n, SPHERE_SHARE * n, 3.0)
    group, fit, symmetry = _axes(plan, low, mask, plan.span_A / limit_A, plans)
    move = shift_move(np.zeros(3)) if fit is None else fit.move
    mean = 0.5 * (low[0] + low[1])
    moved = move_map(mean, move, plans)
    centring = _centring(plan, symmetry, moved, mask)
    move = move.then(centring)
    lattice = None
    if symmetry[0] == "C" and symmetry != "C1":
        lattice, twist = _twist(plan, int(symmetry[1:]), move_map(moved, centring, plans))
        move = move.then(twist)
    after = move_map(mean, move, plans)
    return Orientation(symmetry, move, limit_A, group, fit, lattice, mean, after,
                       _notes(plan, group, symmetry))


def moved_state(state: LoopPoses, orientation: Orientation, voxel_A: float) -> None:
    """Move references and poses together, in place; references get the symmetry."""
    plans, operators = FftPlans(effort="estimate"), symmetry_matrices(orientation.symmetry)
    moved = []
    for data in state.references[:, 0]:
        turned = move_map(data, orientation.move, plans)
        moved.append(turned if len(operators) == 1 else symmetrise_map(turned, operators, plans))
    state.references = np.stack(moved)[:, None]
    R, offset_A = move_poses(state.R_p2t, state.offset_A, orientation.move, voxel_A)
    state.move(R, offset_A, np.ones(len(R), bool), voxel_A)


def _axes(plan: ReferencePlan, low: list[Map], mask: Map, r_max: float, plans: FftPlans
          ) -> tuple[PointGroup | None, SymmetryFit | None, str]:
    asked, sizes = plan.parameters.symmetry, plan.setup.sizes
    reach_A = plan.parameters.symmetry_max_shift_A or 0.25 * plan.span_A
    if asked == "auto":
        group = find_point_group(low[0], low[1], mask, r_max, reach_A / sizes.voxel_A, plans,
                                 plan.cone_deg)
        return group, group.fit, group.symmetry
    symmetry = asked.strip().upper()
    if len(symmetry_matrices(symmetry)) == 1:
        return None, None, "C1"
    fit = find_symmetry(0.5 * (low[0] + low[1]), mask, symmetry, r_max,
                        reach_A / sizes.voxel_A, plans)
    return None, fit, symmetry


def _centring(plan: ReferencePlan, symmetry: str, data: Map, mask: Map) -> RigidMove:
    """The shift that brings the mass to the centre, as far as the symmetry leaves it free.

    Not where normals are known: there the place along the normal is that of the seeds, and what is
    around the particle may hold more mass than the particle.
    """
    if plan.cone_deg is not None or not (symmetry == "C1" or symmetry[0] == "C"):
        return shift_move(np.zeros(3))
    dense = np.maximum(data * mask - DENSE_SHARE * float((data * mask).max()), 0.0)
    if not dense.any():
        return shift_move(np.zeros(3))
    centre = centre_of_mass(dense.astype(np.float32))
    if symmetry != "C1":
        centre[:2] = 0.0
    return shift_move(-centre)


def _twist(plan: ReferencePlan, n_fold: int, data: Map
           ) -> tuple[LatticeDirection | None, RigidMove]:
    """The turn about z that brings the nearest neighbours to the direction asked for."""
    p, voxel_A, n = plan.parameters, plan.setup.sizes.voxel_A, len(data)
    spacing_px = None if p.lattice_spacing_A is None else p.lattice_spacing_A / voxel_A
    found = lattice_direction(data, soft_sphere(n, LATTICE_SHARE * n, 2.0), n_fold, spacing_px)
    if found is None or not found.is_lattice:
        return found, shift_move(np.zeros(3))
    period = 360.0 / n_fold
    turn_deg = (p.lattice_direction_deg - found.angle_deg) % period
    turn_deg -= period * round(turn_deg / period)
    turn = rotation_from_vector([0.0, 0.0, np.radians(turn_deg)])
    return found, RigidMove(turn, np.zeros(3))


def _notes(plan: ReferencePlan, group: PointGroup | None, symmetry: str) -> list[str]:
    notes = []
    if group is not None and group.is_round:
        notes.append("the map is round about its axis as far as its halves agree: the number n of "
                     "a cyclic symmetry is not determined and none is imposed. Give --symmetry, or "
                     "a finer --lowpass-A or binning.")
    if symmetry[0] == "C" and symmetry != "C1" and plan.cone_deg is None:
        notes.append("which end of the axis points up is not known: no normals were given "
                     "(--cone-deg).")
    return notes


def orientation_results(found: Orientation, voxel_A: float) -> dict[str, Any]:
    """Numbers for job.json."""
    results: dict[str, Any] = {
        "symmetry": found.symmetry, "turn_deg": found.move.angle_deg,
        "shift_A": [round(float(v), 3) for v in found.move.t_px * voxel_A]}
    if found.fit is not None:
        tilt = np.degrees(np.arccos(np.clip(found.fit.Q[2, 2], -1, 1)))
        results |= {"axis_tilt_deg": float(tilt),
                    "axis_off_centre_A": float(np.linalg.norm(found.fit.centre_px) * voxel_A),
                    "self_correlation": found.fit.score}
    if found.lattice is not None and found.lattice.is_lattice:
        results |= {"lattice_spacing_A": found.lattice.spacing_px * voxel_A,
                    "lattice_was_at_deg": found.lattice.angle_deg}
    return results
