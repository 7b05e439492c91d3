"""Particles that stand for the same place, and which of them to keep.

Our rule: in the order of their scores, best first, a particle is kept unless one that was kept
already lies within a distance of it (and, where asked for, within an angle modulo symmetry). The
result does not depend on the order of the rows: equal scores are told apart by position.

RELION's rule (star_handler --remove_duplicates): a particle is removed if any *later* row of its
tomogram lies within the distance. It knows no score, and it takes the refined origin without the
orientation of the box, so that the position is wrong for turned boxes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sta_mpi.pick.poses import pose_distance_deg

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

ACROSS = ("best", "same-half", "drop", "ignore")
"""What to do with a place that both half-sets hold; see `DuplicateRule`."""


@dataclass(frozen=True)
class DuplicateRule:
    """When two particles are one.

    Parameters
    ----------
    distance_A : float            largest distance of duplicates
    angle_deg : float or None     largest angle, modulo symmetry; None: place alone decides
    across_halves : str           pairs of different half-sets at one place:
        "best"       one of them survives, whatever the angle between them
        "same-half"  poses beyond the angle stay, but all of a place go to the half-set of the best
        "drop"       none of them survives
        "ignore"     half-sets are compared each within itself; both halves of a place survive
    is_cube : bool                the distance is the largest of those along the axes (PEET)
    """

    distance_A: float
    angle_deg: float | None = None
    across_halves: str = "best"
    is_cube: bool = False


@dataclass(frozen=True)
class DuplicateResult:
    """What became of n particles.

    Parameters
    ----------
    keep : (n,) bool
    winner : (n,) int       row of the particle that a removed one is a duplicate of; -1 for kept
    half : (n,) int8        half-sets; changed by "same-half" alone
    n_across : int          pairs of places that both half-sets held before
    """

    keep: NDArray[np.bool_]
    winner: Rows
    half: NDArray[np.int8]
    n_across: int


def close_pairs(position_A: Floats, i_tomo: NDArray[np.int32], distance_A: float,
                is_cube: bool = False) -> Rows:
    """Pairs (m, 2) of rows i < j of one tomogram that lie within a distance (<=), sorted.

    `is_cube` takes the largest distance along an axis instead of the Euclidean one.
    """
    found = []
    for tomogram in np.unique(i_tomo):
        rows = np.flatnonzero(i_tomo == tomogram)
        pairs = cKDTree(position_A[rows]).query_pairs(
            distance_A, p=np.inf if is_cube else 2.0, output_type="ndarray")
        found.append(np.sort(rows[pairs], axis=1).reshape(-1, 2))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.intp)
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.intp)


def remove_duplicates(position_A: Floats, i_tomo: NDArray[np.int32], score: Floats,
                      rule: DuplicateRule, R_p2t: Floats, operators: Floats,
                      half: NDArray[np.int8]) -> DuplicateResult:
    """Keep the best particle of each place.

    Parameters
    ----------
    position_A : (n, 3) float64      refined positions, tomogram axes
    i_tomo : (n,) int
    score : (n,) float64             higher is better; NaN is worst
    rule : DuplicateRule
    R_p2t : (n, 3, 3) float64
    operators : (g, 3, 3) float64    symmetry group of the particle
    half : (n,) int8                 0 where not assigned

    Notes
    -----
    O(n log n) in the number of particles at a bounded number of neighbours.
    """
    pairs = close_pairs(position_A, i_tomo, rule.distance_A, rule.is_cube)
    first, second = pairs.T
    across = (half[first] != half[second]) & (half[first] > 0) & (half[second] > 0)
    is_same = np.ones(len(pairs), bool)
    if rule.angle_deg is not None:
        is_same = pose_distance_deg(R_p2t[first], R_p2t[second], operators) <= rule.angle_deg
    dropped = np.zeros(len(half), bool)
    if rule.across_halves == "ignore":
        is_same &= ~across
    elif rule.across_halves == "best":
        is_same |= across
    elif rule.across_halves == "drop":
        dropped[pairs[across].ravel()] = True
        is_same &= ~across
    winner = _keep_best(pairs[is_same & ~dropped[pairs].any(axis=1)],
                        _ranks(position_A, i_tomo, score))
    keep = (winner < 0) & ~dropped
    new_half = half
    if rule.across_halves == "same-half":
        new_half = _join_halves(pairs, keep, half, _ranks(position_A, i_tomo, score))
    return DuplicateResult(keep, winner, new_half, int(across.sum()))


def relion_duplicates(xyz_A: Floats, origin_A: Floats, i_tomo: NDArray[np.int32],
                      distance_A: float) -> NDArray[np.bool_]:
    """Whether RELION keeps each row: no later row of its tomogram is within the distance.

    Parameters
    ----------
    xyz_A : (n, 3) float64       rlnCenteredCoordinate*
    origin_A : (n, 3) float64    rlnOrigin*, subtracted as it stands
    """
    pairs = close_pairs(xyz_A - origin_A, i_tomo, distance_A)
    keep = np.ones(len(xyz_A), bool)
    keep[pairs[:, 0]] = False
    return keep


def _ranks(position_A: Floats, i_tomo: NDArray[np.int32], score: Floats) -> Rows:
    """Place of each particle in the order best first, whatever the order of the rows."""
    value = np.where(np.isnan(score), -np.inf, score)
    order = np.lexsort((*position_A.T, i_tomo, -value))
    ranks = np.empty(len(order), np.intp)
    ranks[order] = np.arange(len(order))
    return ranks


def _keep_best(pairs: Rows, ranks: Rows) -> Rows:
    """Row of the kept particle that beats each one; -1 for those that are kept.

    Better ones come first: when a particle is met as the worse of a pair, its fate is sealed
    by those before it.
    """
    winner = np.full(len(ranks), -1, np.intp)
    swap = ranks[pairs[:, 0]] > ranks[pairs[:, 1]]
    better = np.where(swap, pairs[:, 1], pairs[:, 0])
    worse = np.where(swap, pairs[:, 0], pairs[:, 1])
    for i in np.lexsort((ranks[worse], ranks[better])):
        if winner[better[i]] < 0 and winner[worse[i]] < 0:
            winner[worse[i]] = better[i]
    return winner


def _join_halves(pairs: Rows, keep: NDArray[np.bool_], half: NDArray[np.int8], ranks: Rows
                 ) -> NDArray[np.int8]:
    """Half-sets with all kept particles of a place in the half-set of its best one."""
    own = pairs[keep[pairs].all(axis=1)]
    n = len(half)
    graph = coo_matrix((np.ones(len(own)), (own[:, 0], own[:, 1])), shape=(n, n))
    _, place = connected_components(graph, directed=False)
    best = np.full(n, -1, np.intp)
    order = np.argsort(-ranks)
    best[place[order]] = order    # the last one written, of the lowest rank, stays
    return np.asarray(half[best[place]], np.int8)
