"""Lists of orientations in blocks, so that a prior on the pose multiplies only what it allows.

Rotations are sorted by the direction of the particle's Z axis in the tomogram, its normal
R_p2t e_z, and by the turn about it. Each block holds neighbours. A window around every
particle's own pose (normal within a cone, turn about the normal free or limited) then meets
few blocks, and only those enter the matrix products of a search.

Symmetry. R_p2t S is the same pose for every S of the group, but it may have another normal,
and a cone asks for the poses of which *any* mate has its normal inside. A list for cones
therefore holds every normal, and is reduced by the turns about the particle's Z axis alone,
which leave the normal where it is: `normal_rotations` makes one, `unfold` makes one out of a
list that is reduced by the whole group.

Turns are those of swing and twist: R_centre^T R = (shortest turn that takes Z to its new
direction) Rz(in-plane angle), as in `geometry.sampling.cone_rotations`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.geometry.sampling import (
    healpix_directions,
    healpix_rotations,
    healpix_step_deg,
)
from sta_mpi.geometry.symmetry import symmetry_matrices

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROUNDING = 1e-9
"""Allowance of a window's edge: a rotation on it is inside, however it was computed."""

_ROWS = 2048
"""Rotations that are tested at once: a long list must not take memory for its angles."""


@dataclass(frozen=True)
class SearchList:
    """Orientations sorted into blocks of neighbours.

    Parameters
    ----------
    rotations : (R, 3, 3) float64    R_p2t
    order : (R,) int                 where each stood in the list that was sorted
    block_start : (B + 1,) int       block i is rows block_start[i] to block_start[i + 1]
    n_fold : int                     in-plane angles repeat after 360 / n_fold degrees
    """

    rotations: Floats
    order: NDArray[np.intp]
    block_start: NDArray[np.intp]
    n_fold: int = 1

    def __len__(self) -> int:
        """Number of rotations."""
        return len(self.rotations)

    def subset(self, rows: NDArray[np.intp]) -> "SearchList":
        """Some rows, in rising order, in the same blocks; empty blocks are dropped."""
        edges = np.searchsorted(rows, self.block_start)
        return SearchList(self.rotations[rows], self.order[rows], np.unique(edges), self.n_fold)


def make_search_list(rotations: Floats, symmetry: str = "C1", direction_order: int = 1,
                     n_sectors: int = 1) -> SearchList:
    """Sort rotations into blocks of neighbouring normals and in-plane angles.

    Parameters
    ----------
    rotations : (R, 3, 3) float64
    symmetry : str             of the particle; here only its n-fold axis along Z matters
    direction_order : int      blocks have HEALPix directions of this order (12 * 4^order)
    n_sectors : int            sectors of the in-plane angle that a direction is divided into:
                               more than 1 where windows limit the in-plane angle
    """
    if len(rotations) == 0:
        raise InputError("the list of orientations is empty: use a wider or a finer one.")
    fold = n_fold_about_z(symmetry)
    frames = _direction_frames(healpix_directions(direction_order))
    nearest = np.argmax(rotations[:, :, 2] @ frames[:, :, 2].T, axis=1)
    turn = _inplane_deg(np.einsum("nji,njk->nik", frames[nearest], rotations))
    sector = np.floor(turn % (360.0 / fold) * (fold * n_sectors / 360.0)).astype(np.intp)
    block = nearest * n_sectors + np.minimum(sector, n_sectors - 1)
    order = np.argsort(block, kind="stable")
    start = np.flatnonzero(np.r_[True, np.diff(block[order]) > 0, True])
    return SearchList(rotations[order], order, start, fold)


def plan_search_list(order: int, symmetry: str = "C1", max_tilt_deg: float = 180.0,
                     max_inplane_deg: float | None = None) -> SearchList:
    """The list for a search of HEALPix order `order` within windows of a size.

    Without limits it is reduced by the whole group, with limits by turns about Z alone.
    Blocks hold four directions, and a part of their turns where these are limited: measured
    best for cones of 10 to 40 degrees.
    """
    fold = n_fold_about_z(symmetry)
    is_turn_limited = max_inplane_deg is not None and max_inplane_deg < 180.0 / fold
    if max_tilt_deg >= 180.0 and not is_turn_limited:
        return make_search_list(healpix_rotations(order, symmetry), symmetry, max(order - 1, 0))
    n_turns = max(1, round(360.0 / fold / healpix_step_deg(order)))
    return make_search_list(normal_rotations(order, symmetry), symmetry, max(order - 1, 0),
                            min(8, n_turns) if is_turn_limited else 1)


def normal_rotations(order: int, symmetry: str = "C1", psi_step_deg: float | None = None
                     ) -> Floats:
    """Orientations with their normals on a HEALPix grid and even turns about them.

    Parameters
    ----------
    order : int                     normals every 60 / 2^order degrees, over the whole sphere
    symmetry : str                  in-plane angles go up to 360 / n for an n-fold axis along Z
    psi_step_deg : float or None    in-plane step; None: that of the normals

    Returns
    -------
    (n, 3, 3) float64, in-plane angle fastest

    Examples
    --------
    >>> len(normal_rotations(2)), len(normal_rotations(2, "C6"))
    (4608, 768)
    """
    step = healpix_step_deg(order) if psi_step_deg is None else psi_step_deg
    turn = 360.0 / n_fold_about_z(symmetry)
    n_psi = max(1, round(turn / step))
    directions = healpix_directions(order)
    angles = np.empty((len(directions), n_psi, 3))
    angles[..., :2] = directions[:, None]
    angles[..., 2] = np.arange(n_psi) * (turn / n_psi)
    # the transpose of RELION's matrix has the direction (rot, tilt) as its third column
    return np.ascontiguousarray(
        np.swapaxes(matrix_from_relion_angles(angles.reshape(-1, 3)), 1, 2))


def unfold(rotations: Floats, symmetry: str) -> Floats:
    """Add the mates R S that have other normals, of each rotation in turn.

    Parameters
    ----------
    rotations : (R, 3, 3) float64    reduced by the whole group

    Returns
    -------
    (R m, 3, 3) float64, m the number of mates of the Z axis: 1 for Cn, 2 for Dn
    """
    group = symmetry_matrices(symmetry)
    _, first = np.unique(np.rint(group[:, :, 2] * 1e6).astype(np.int64), axis=0,
                         return_index=True)
    mates = rotations[:, None] @ group[np.sort(first)][None]
    return np.ascontiguousarray(mates.reshape(-1, 3, 3))


def nearest_mates(rotations: Floats, centre: Floats, operators: Floats) -> Floats:
    """Of each rotation R (c, 3, 3), the mate R S nearest to a centre (3, 3).

    A candidate stands for all its mates; priors and limits of a polish, and the pose that is
    written, mean the one near the particle's own pose.
    """
    mates = np.asarray(rotations)[:, None] @ operators[None]
    # the trace of centre^T R S grows as the angle falls
    traces = np.einsum("ij,cgij->cg", centre, mates)
    return np.asarray(mates[np.arange(len(mates)), traces.argmax(axis=1)])


def n_fold_about_z(symmetry: str) -> int:
    """How many operators of a group are turns about Z."""
    return int(np.sum(symmetry_matrices(symmetry)[:, 2, 2] > 1.0 - 1e-6))


@dataclass(frozen=True)
class PoseWindow:
    """Orientations that each particle of a batch may take.

    Parameters
    ----------
    R_p2t : (b, 3, 3) float64          centres
    max_tilt_deg : float               largest angle between the normal and the centre's
    max_inplane_deg : float or None    largest turn about it, either way; None: free
    """

    R_p2t: Floats
    max_tilt_deg: float = 180.0
    max_inplane_deg: float | None = None

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.R_p2t)

    def allows(self, rotations: Floats, n_fold: int = 1) -> Flags:
        """Which rotations (R, 3, 3) are inside, (R, b).

        Parameters
        ----------
        n_fold : int    in-plane angles repeat after 360 / n_fold degrees
        """
        inside = np.empty((len(rotations), len(self)), bool)
        for start in range(0, len(rotations), _ROWS):
            part = slice(start, start + _ROWS)
            inside[part] = self._allows(rotations[part], n_fold)
        return inside

    def _allows(self, rotations: Floats, n_fold: int) -> Flags:
        first, second, normal = (self.R_p2t[:, :, i].T for i in range(3))
        inside = rotations[:, :, 2] @ normal >= np.cos(np.radians(self.max_tilt_deg)) - _ROUNDING
        if self.max_inplane_deg is not None and self.max_inplane_deg < 180.0 / n_fold:
            x, y = rotations[:, :, 0], rotations[:, :, 1]
            turn = np.degrees(np.arctan2(x @ second - y @ first, x @ first + y @ second))
            period = 360.0 / n_fold
            away = np.abs(turn - period * np.rint(turn / period))
            inside &= away <= self.max_inplane_deg + np.degrees(_ROUNDING)
        return np.asarray(inside)


def random_subset(n_rotations: int, share: float, seed: int, i_round: int) -> NDArray[np.intp]:
    """Rows of a list that a round of a stochastic search tries, in rising order.

    Parameters
    ----------
    n_rotations : int
    share : float       part of the list, above 0 to 1
    seed, i_round : int

    Returns
    -------
    (about share * n,) int; at least one row

    Notes
    -----
    The same for every particle, batch and rank, so that the product stays dense. Rounds
    deal from shuffled packs of the whole list: every row is tried once a pack.
    """
    if not 0.0 < share <= 1.0:
        raise InputError(f"the share of orientations is {share:g}: use more than 0, at most 1.")
    size = max(1, round(share * n_rotations))
    first, last = i_round * size, (i_round + 1) * size
    packs = np.arange(first // n_rotations, (last - 1) // n_rotations + 1)
    cards = np.concatenate([
        np.random.default_rng([seed, int(pack)]).permutation(n_rotations) for pack in packs])
    return np.unique(cards[first - packs[0] * n_rotations : last - packs[0] * n_rotations])


def _direction_frames(rot_tilt_deg: Floats) -> Floats:
    """(n, 3, 3) rotations whose third column is each direction."""
    angles = np.column_stack([rot_tilt_deg, np.zeros(len(rot_tilt_deg))])
    return np.asarray(np.swapaxes(matrix_from_relion_angles(angles), 1, 2))


def _inplane_deg(turn: Floats) -> Floats:
    """In-plane angle of turns (n, 3, 3) = swing Rz(angle), -180 to 180."""
    return np.asarray(np.degrees(np.arctan2(turn[:, 1, 0] - turn[:, 0, 1],
                                            turn[:, 0, 0] + turn[:, 1, 1])))
