"""Particles of a curved hexagonal (or other n-fold) lattice: neighbours, patches, holes.

Every particle sees its neighbours in its own axes. In a lattice of spacing a whose normal is the
particle's z, they lie at

    t_k = a (cos(phase + 2 pi k / n), sin(phase + 2 pi k / n), 0)        k = 0 ... n-1

but for the curvature, and their own axes agree with those of the particle but for a symmetry
operator and a small tilt. A neighbour is *consistent* when it meets both within tolerances.
Particles of template matching that sit between lattice sites, or face the wrong way, have few
consistent neighbours; sites with several neighbours and no particle are holes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sta_mpi.geometry.rotations import angular_distance_deg, nearest_rotation
from sta_mpi.pick.poses import nearest_mates, pose_distance_deg

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class LatticeRule:
    """What a lattice looks like.

    Parameters
    ----------
    spacing_A : float            distance of neighbours
    n_neighbours : int           6 for a hexagonal lattice
    phase_deg : float or None    direction of the first neighbour from particle x; None: estimated
    distance_share : float       a neighbour may be this share of the spacing away from its site
    angle_deg : float            largest angle between the axes of neighbours, modulo symmetry
    """

    spacing_A: float
    n_neighbours: int = 6
    phase_deg: float | None = None
    distance_share: float = 0.3
    angle_deg: float = 25.0


@dataclass(frozen=True)
class Lattice:
    """Consistent neighbours of n particles.

    Parameters
    ----------
    pairs : (m, 2) int        particle and neighbour, both directions
    site : (m,) int           which of the particle's sites, 0 ... n_neighbours - 1
    count : (n,) int          occupied sites of each particle
    patch : (n,) int          connected patch; -1 without any neighbour
    patch_size : (n,) int     particles in it
    phase_deg : float         used
    """

    pairs: Rows
    site: Rows
    count: Rows
    patch: Rows
    patch_size: Rows
    phase_deg: float


def find_lattice(position_A: Floats, R_p2t: Floats, i_tomo: NDArray[np.int32], rule: LatticeRule,
                 operators: Floats) -> Lattice:
    """Find the consistent neighbours of every particle.

    Parameters
    ----------
    position_A : (n, 3) float64
    R_p2t : (n, 3, 3) float64
    i_tomo : (n,) int
    operators : (g, 3, 3) float64    symmetry group of a lattice unit
    """
    reach = (1 + rule.distance_share) * rule.spacing_A
    pairs = _directed_pairs(position_A, i_tomo, reach)
    a, b = pairs.T
    seen = np.einsum("nji,nj->ni", R_p2t[a], position_A[b] - position_A[a])
    flat = np.degrees(np.arctan2(seen[:, 1], seen[:, 0]))
    agree = pose_distance_deg(R_p2t[a], R_p2t[b], operators) <= rule.angle_deg
    phase = rule.phase_deg
    if phase is None:
        ring = agree & (np.linalg.norm(seen, axis=1) > (1 - rule.distance_share) * rule.spacing_A)
        phase = _common_phase_deg(flat[ring], rule.n_neighbours)
    step = 360.0 / rule.n_neighbours
    site = np.rint((flat - phase) / step).astype(np.intp) % rule.n_neighbours
    off = np.linalg.norm(seen - _sites(rule, phase)[site], axis=1)
    good = agree & (off <= rule.distance_share * rule.spacing_A)
    n = len(position_A)
    # a pair holds only where both see each other on a site
    own = set(map(tuple, pairs[good].tolist()))
    mutual = np.array([(j, i) in own for i, j in pairs[good].tolist()], bool)
    good[good] = mutual.reshape(-1)
    pairs, site = pairs[good], site[good]
    occupied = np.unique(np.stack([pairs[:, 0], site], axis=1), axis=0)
    count = np.bincount(occupied[:, 0], minlength=n)
    patch, size = _patches(pairs, n)
    return Lattice(pairs, site, count, patch, size, float(phase))


def consistent(lattice: Lattice, min_neighbours: int, min_patch: int) -> NDArray[np.bool_]:
    """Particles with enough consistent neighbours, in patches that are large enough."""
    return (lattice.count >= min_neighbours) & (lattice.patch_size >= min_patch)


def fill_holes(position_A: Floats, R_p2t: Floats, i_tomo: NDArray[np.int32], lattice: Lattice,
               rule: LatticeRule, operators: Floats, min_votes: int = 3
               ) -> tuple[Floats, Floats, Rows]:
    """Poses for empty sites that several particles point at.

    Every particle predicts its empty sites with the mean neighbour of the whole lattice
    (offset and relative orientation, measured on occupied sites, so curvature is in it).

    Returns
    -------
    position_A : (h, 3), R_p2t : (h, 3, 3)    of the new particles
    parent : (h,) int                         a particle that predicted each
    """
    offset, turn = _mean_neighbour(position_A, R_p2t, lattice, rule, operators)
    empty = np.ones((len(position_A), rule.n_neighbours), bool)
    empty[lattice.pairs[:, 0], lattice.site] = False
    empty[lattice.count == 0] = False
    parent, site = np.nonzero(empty)
    where = position_A[parent] + np.einsum("nij,nj->ni", R_p2t[parent], offset[site])
    R = R_p2t[parent] @ turn[site]
    near = 0.5 * rule.spacing_A
    groups = []
    for tomogram in np.unique(i_tomo[parent]) if len(parent) else []:
        own = np.flatnonzero(i_tomo[parent] == tomogram)
        taken = cKDTree(position_A[i_tomo == tomogram]).query(where[own])[0] < near
        groups += _clusters(where, own[~taken], near, min_votes)
    if not groups:
        return np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0, np.intp)
    new_R = np.stack([_mean_pose(R[g], operators) for g in groups])
    return (np.stack([where[g].mean(axis=0) for g in groups]), new_R,
            np.array([parent[g[0]] for g in groups], np.intp))


def _sites(rule: LatticeRule, phase_deg: float) -> Floats:
    """(n_neighbours, 3) positions of the sites in particle axes."""
    angle = np.radians(phase_deg + 360.0 / rule.n_neighbours * np.arange(rule.n_neighbours))
    return rule.spacing_A * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)


def _directed_pairs(position_A: Floats, i_tomo: NDArray[np.int32], reach_A: float) -> Rows:
    found = [np.zeros((0, 2), np.intp)]
    for tomogram in np.unique(i_tomo):
        rows = np.flatnonzero(i_tomo == tomogram)
        pairs = rows[cKDTree(position_A[rows]).query_pairs(reach_A, output_type="ndarray")]
        found += [pairs.reshape(-1, 2), pairs.reshape(-1, 2)[:, ::-1]]
    pairs = np.concatenate(found)
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.intp)


def _common_phase_deg(angles_deg: Floats, n: int) -> float:
    """Circular mean of directions modulo 360 / n; 0 without any."""
    if len(angles_deg) == 0:
        return 0.0
    return float(np.degrees(np.angle(np.exp(1j * np.radians(n * angles_deg)).mean())) / n)


def _patches(pairs: Rows, n: int) -> tuple[Rows, Rows]:
    """Connected patch of each particle, and its size."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    size = np.bincount(label, minlength=1)[label] if n else np.zeros(0, np.intp)
    return np.where(size > 1, label, -1), np.asarray(size, np.intp)


def _mean_neighbour(position_A: Floats, R_p2t: Floats, lattice: Lattice, rule: LatticeRule,
                    operators: Floats) -> tuple[Floats, Floats]:
    """Mean offset (n_neighbours, 3) and relative orientation of the neighbours of a site."""
    offset = _sites(rule, lattice.phase_deg)
    turn = np.tile(np.eye(3), (rule.n_neighbours, 1, 1))
    a, b = lattice.pairs.T
    seen = np.einsum("nji,nj->ni", R_p2t[a], position_A[b] - position_A[a])
    relative = R_p2t[a].transpose(0, 2, 1) @ nearest_mates(R_p2t[b], R_p2t[a], operators)
    for k in range(rule.n_neighbours):
        own = lattice.site == k
        if own.any():
            offset[k] = np.median(seen[own], axis=0)
            turn[k] = nearest_rotation(relative[own].mean(axis=0))
    return offset, turn


def _clusters(where: Floats, rows: Rows, near_A: float, min_votes: int) -> list[Rows]:
    """Groups of at least `min_votes` predictions of one place; most agreed on first."""
    if len(rows) == 0:
        return []
    tree = cKDTree(where[rows])
    around = tree.query_ball_point(where[rows], near_A)
    free = np.ones(len(rows), bool)
    groups = []
    for i in np.argsort([-len(g) for g in around], kind="stable"):
        members = [j for j in around[i] if free[j]]
        if free[i] and len(members) >= min_votes:
            free[members] = False
            free[tree.query_ball_point(where[rows[members]].mean(axis=0), near_A)] = False
            groups.append(rows[np.array(sorted(members))])
    return groups


def _mean_pose(R: Floats, operators: Floats) -> Floats:
    """Mean of orientations that agree but for symmetry."""
    mates = nearest_mates(R, R[:1], operators)
    if angular_distance_deg(mates, mates[:1]).max() > 90:
        return np.asarray(mates[0])
    return nearest_rotation(mates.mean(axis=0))
