"""Symmetry, centre and orientation of a first reference, and its particles with it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.evened import evened
from sta_mpi.align.lattice_direction import (
    LatticeDirection,
    NeighbourDirection,
    lattice_direction,
    neighbour_direction,
    neighbour_spacing_A,
)
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
from sta_mpi.signal.filters import highpass_map, lowpass_map
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

LATTICE_SHARE = 0.47
"""Radius, over the box, of the sphere in which neighbours are looked for."""
FINEST_VOXELS = 3.0
SAME_SITE = 0.12
"""Particles nearer than this share of the box stand for one site."""
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
    lattice : LatticeDirection or None         as the map shows it, before the turn about z
    neighbours : NeighbourDirection or None    as the particles' places say
    before, after : (n, n, n)        mean of the halves, low-passed, as they were and moved
    """

    symmetry: str
    move: RigidMove
    limit_A: float
    group: PointGroup | None
    fit: SymmetryFit | None
    lattice: LatticeDirection | None
    neighbours: NeighbourDirection | None
    before: Map
    after: Map
    notes: list[str] = field(default_factory=list)


def orient(plan: ReferencePlan, halves: Map, limit_A: float, poses: tuple[Floats, Floats]
           ) -> Orientation:
    """Find symmetry, centre and twist of a reference from its half maps (2, n, n, n).

    `limit_A` is where the halves agree; no more than that is looked at. `poses` are R_p2t and
    offset_A of all particles before the move.
    """
    voxel_A, n = plan.setup.sizes.voxel_A, plan.setup.sizes.box_px
    plans = FftPlans(effort="estimate")
    limit_A = float(np.clip(limit_A, FINEST_VOXELS * voxel_A, plan.lowpass_A))
    low = [lowpass_map(h, voxel_A, limit_A) for h in halves]
    seen = low if plan.r_min == 0 else [
        highpass_map(h, voxel_A, plan.span_A / plan.r_min) for h in low]
    mask = soft_sphere(n, min(plan.mask_diameter_A / (2 * voxel_A), LATTICE_SHARE * n), 3.0)
    group, fit, symmetry = _axes(plan, seen, mask, plan.span_A / limit_A, plans)
    move = shift_move(np.zeros(3)) if fit is None else fit.move
    mean = 0.5 * (low[0] + low[1])
    moved = move_map(mean, move, plans)
    centring = _centring(plan, symmetry, moved, mask)
    move = move.then(centring)
    lattice = neighbours = None
    if symmetry[0] == "C" and symmetry != "C1":
        n_fold = int(symmetry[1:])
        lattice = _lattice(plan, n_fold, move_map(moved, centring, plans))
        neighbours = _neighbours(plan, n_fold, lattice, move_poses(*poses, move, voxel_A))
        move = move.then(_twist(plan, n_fold, lattice, neighbours))
    after = move_map(mean, move, plans)
    return Orientation(symmetry, move, limit_A, group, fit, lattice, neighbours, mean, after,
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
        if plan.cone_deg is not None:
            n = sizes.box_px
            low, mask = evened(low, n / r_max), soft_sphere(n, LATTICE_SHARE * n - 3.0, 3.0)
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


def _lattice(plan: ReferencePlan, n_fold: int, data: Map) -> LatticeDirection | None:
    """The lattice that the map shows around itself."""
    p, n = plan.parameters, len(data)
    spacing_px = (None if p.lattice_spacing_A is None
                  else p.lattice_spacing_A / plan.setup.sizes.voxel_A)
    return lattice_direction(data, soft_sphere(n, LATTICE_SHARE * n, 2.0), n_fold, spacing_px)


def _neighbours(plan: ReferencePlan, n_fold: int, lattice: LatticeDirection | None,
                poses: tuple[Floats, Floats]) -> NeighbourDirection | None:
    """The direction to neighbours as the places of particles say; None where there are none."""
    particles = plan.setup.inputs.particles
    position_A = particles.xyz_A + poses[1]
    spacing_A = plan.parameters.lattice_spacing_A
    if spacing_A is None and lattice is not None and lattice.is_lattice:
        spacing_A = lattice.spacing_px * plan.setup.sizes.voxel_A
    if spacing_A is None:
        spacing_A = neighbour_spacing_A(position_A, particles.i_tomo, SAME_SITE * plan.span_A)
    if spacing_A is None or spacing_A > plan.span_A:
        return None
    return neighbour_direction(position_A, poses[0], particles.i_tomo, n_fold, spacing_A)


def _twist(plan: ReferencePlan, n_fold: int, lattice: LatticeDirection | None,
           neighbours: NeighbourDirection | None) -> RigidMove:
    """The turn about z that brings the nearest neighbours to the direction asked for.

    Places of particles go before the map, whose own shape may turn its self-correlation.
    """
    if neighbours is not None and neighbours.is_lattice:
        angle_deg = neighbours.angle_deg
    elif lattice is not None and lattice.is_lattice:
        angle_deg = lattice.angle_deg
    else:
        return shift_move(np.zeros(3))
    period = 360.0 / n_fold
    turn_deg = (plan.parameters.lattice_direction_deg - angle_deg) % period
    turn_deg -= period * round(turn_deg / period)
    return RigidMove(rotation_from_vector([0.0, 0.0, np.radians(turn_deg)]), np.zeros(3))


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
    if found.neighbours is not None and found.neighbours.is_lattice:
        results |= {"neighbours_were_at_deg": found.neighbours.angle_deg,
                    "neighbour_pairs": found.neighbours.pairs}
    return results
