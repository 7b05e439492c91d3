"""The point group of a map, found and not assumed.

1. Directions that look like axes: for the primes p = 2, 3, 5, 7, 11 the correlation of the map
   with itself turned by 360 / p degrees, over all directions (or a cone about z where normals are
   known). Correlations compare directions of one prime only: turns by less always correlate more.
2. Each candidate is refined (direction and point), and its n read from the angular orders that
   carry signal (`angular_orders`): the C_n of the axis.
3. Groups with several axes (D_n, T, O, I) are placed on the axes found, and accepted by the share
   of the map's non-round signal that they leave unchanged, which averaging over a group that is
   not there would destroy (to about 1 / size of the group).

Both shares are cross correlations of half maps, so noise neither adds to them nor hides in them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.angular_orders import AngularOrders, angular_orders
from sta_mpi.align.denovo import axial_average, radial_average
from sta_mpi.align.map_fit import COARSE_SHELL, BandMap, best_shift, make_band
from sta_mpi.align.move_map import RigidMove, move_map, symmetrise_map
from sta_mpi.align.symmetry_axis import (
    SymmetryFit,
    generating_operators,
    nearest_setting,
    refine_axes,
    self_correlation,
    upright,
)
from sta_mpi.geometry.rotations import rotation_from_vector, turn_of_z_to
from sta_mpi.geometry.sampling import healpix_directions
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

PRIMES = (2, 3, 5, 7, 11)
KEPT = 3
"""Directions refined for each prime."""
NEAR_BEST = 0.5
"""Correlation of an axis, over the best one's, below which its n is not looked at: a lattice has
axes off its units as well, which hold for a few neighbours."""
LEAST_SHARE = 0.85
"""Share of the non-round signal that a group with several axes must leave unchanged."""
LEAST_SIGNAL = 0.3
"""Correlation of the halves' non-round parts below which nothing is said of symmetry."""
TWIST_STEP_DEG = 6.0
WIDE_SHARE, LEAST_WIDE_SHARE, EDGE_PX = 0.48, 0.25, 3.0
"""Radius over the box, and soft edge, of the sphere about an axis of a lattice."""
_NEXT_AXIS = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Turn that takes y to x, z to y and x to z: it leaves D2 as it is."""
BIG = {"T": (3, 12), "O": (4, 24), "I": (5, 60)}
"""Group -> (highest fold, size)."""


@dataclass(frozen=True)
class Axis:
    """An axis of the map, and what is around it.

    Parameters
    ----------
    direction : (3,) unit vector
    centre_px : (3,)                point of the axis nearest to the centre voxel
    prime : int                     turn by which it was found
    score : float                   correlation with the map turned by 360 / prime degrees
    orders : AngularOrders
    """

    direction: Floats
    centre_px: Floats
    prime: int
    score: float
    orders: AngularOrders

    @property
    def fold(self) -> int:
        """n of C_n about it; 1: none, 0: round."""
        return self.orders.fold()


@dataclass(frozen=True)
class PointGroup:
    """What was found.

    Parameters
    ----------
    symmetry : str              "C1" where there is none
    fit : SymmetryFit or None   its axes; None for C1
    axes : list of Axis         candidates, for the report
    shares : dict               group -> share of the non-round signal that it leaves unchanged
    is_round : bool             a candidate axis has no angular order at all: the map is too
                                coarse, or truly round, and n is not determined
    """

    symmetry: str
    fit: SymmetryFit | None
    axes: list[Axis]
    shares: dict[str, float] = field(default_factory=dict)
    is_round: bool = False


def find_point_group(half1: Map, half2: Map, mask: Map, r_max: float, max_shift_px: float,
                     plans: FftPlans, cone_deg: float | None = None) -> PointGroup:
    """Find the point group of a map from its halves.

    Parameters
    ----------
    half1, half2 : (n, n, n) float32    low-passed where they agree
    mask : (n, n, n)                    put on them
    r_max : float                       highest frequency index used
    max_shift_px : float                axes pass the centre voxel within this distance
    cone_deg : float or None            the main axis lies this near to z, outward side up; then
                                        only cyclic groups are looked for
    """
    data = 0.5 * (half1 + half2)
    axes = find_axes(half1, half2, mask, r_max, max_shift_px, plans, cone_deg)
    folded = [a for a in axes if a.fold > 1]
    least = NEAR_BEST * max((a.score for a in folded), default=0.0)
    cyclic = max((a for a in folded if a.score >= least),
                 key=lambda a: (a.fold, a.score), default=None)
    is_round = cyclic is None and any(a.fold == 0 for a in axes)
    shares: dict[str, float] = {}
    if cone_deg is None:
        fits = _several_axes(data, mask, axes, r_max, plans)
        for name, fit in fits.items():
            shares[name] = unchanged_share(half1, half2, mask, name, fit, plans)
        # a group whose own folds do not explain the axis of the highest fold is not the map's
        most = 1 if cyclic is None else cyclic.fold
        good = [name for name in fits
                if shares[name] >= LEAST_SHARE and _highest_fold(name) % most == 0]
        if good:
            name = max(good, key=lambda g: len(symmetry_matrices(g)))
            return PointGroup(name, fits[name], axes, shares)
    if cyclic is None:
        return PointGroup("C1", None, axes, shares, is_round)
    name = f"C{cyclic.fold}"
    band = make_band(data, mask, 2.0, r_max, plans)
    Q, centre = upright(turn_of_z_to(cyclic.direction), cyclic.centre_px)
    Q, centre, score = refine_axes(band, symmetry_matrices(name)[1:2], Q, centre, True, 0.5)
    Q, centre = upright(Q, centre)
    return PointGroup(name, SymmetryFit(Q, centre, score, float("nan")), axes, shares)


def find_axes(half1: Map, half2: Map, mask: Map, r_max: float, max_shift_px: float,
              plans: FftPlans, cone_deg: float | None) -> list[Axis]:
    """Candidate axes with their angular orders, by prime."""
    data = 0.5 * (half1 + half2)
    low = make_band(data, mask, 2.0, min(COARSE_SHELL, r_max), plans)
    fine = make_band(data, mask, 2.0, r_max, plans)
    axes: list[Axis] = []
    for p in PRIMES:
        generator = symmetry_matrices(f"C{p}")[1:2]
        for direction, centre in _starts(low, generator, max_shift_px, cone_deg):
            Q, c, _ = refine_axes(low, generator, turn_of_z_to(direction), centre, True, 1.0)
            Q, c, score = refine_axes(fine, generator, Q, c, True, 0.5)
            Q, c = upright(Q, c)
            if cone_deg is not None and np.degrees(np.arccos(np.clip(Q[2, 2], -1, 1))) > cone_deg:
                continue
            if np.linalg.norm(c) > 1.2 * max_shift_px + 1.0:
                continue
            if _is_known(Q[:, 2], c, axes):
                continue
            about = mask if cone_deg is None else _sphere_about(c, len(data))
            orders = angular_orders(half1, half2, about, Q[:, 2], c)
            axes.append(Axis(Q[:, 2], c, p, score, orders))
    return axes


def _sphere_about(centre_px: Floats, n: int) -> Map:
    """The sphere about a point that the box holds: a lattice goes on around each of its axes.

    A sphere about the centre of the box would show more of the lattice on one side of the axis
    than on the other, which is signal of order 1.
    """
    radius_px = max(WIDE_SHARE * n - float(np.linalg.norm(centre_px)), LEAST_WIDE_SHARE * n)
    return soft_sphere(n, radius_px - EDGE_PX, EDGE_PX, tuple(n // 2 + np.asarray(centre_px)))


def _is_known(direction: Floats, centre_px: Floats, axes: list[Axis]) -> bool:
    """Whether an axis was found by another prime."""
    return any(abs(float(direction @ a.direction)) > np.cos(np.radians(1.5))
               and np.linalg.norm(centre_px - a.centre_px) < 0.75 for a in axes)


def unchanged_share(half1: Map, half2: Map, mask: Map, symmetry: str, fit: SymmetryFit,
                    plans: FftPlans) -> float:
    """Share of the signal, but for its round part, that averaging over a group leaves; 0 to 1.

    For D_n the parts that are round about the main axis are taken away: rings about it are alike
    from above and below whether or not there are two-fold axes. D2 has three such axes, and the
    least share counts.
    """
    if symmetry.upper() == "D2":
        turns = [np.linalg.matrix_power(_NEXT_AXIS, i) for i in range(3)]
        moves = [RigidMove(t @ fit.move.R, t @ fit.move.t_px) for t in turns]
    else:
        moves = [fit.move]
    average = axial_average if symmetry.upper().startswith("D") else radial_average
    return min(_share(half1 * mask, half2 * mask, symmetry, m, average, plans) for m in moves)


def _share(half1: Map, half2: Map, symmetry: str, move: RigidMove,
           average: Callable[[Map], Map], plans: FftPlans) -> float:
    parts = [m - average(m) for m in (move_map(h, move, plans) for h in (half1, half2))]
    signal = float(np.vdot(parts[0], parts[1]))
    norm = float(np.linalg.norm(parts[0]) * np.linalg.norm(parts[1]))
    if signal < LEAST_SIGNAL * norm or norm == 0:
        return 0.0
    kept = symmetrise_map(parts[0], symmetry_matrices(symmetry), plans)
    return float(np.vdot(kept, parts[1])) / signal


def _highest_fold(symmetry: str) -> int:
    """Fold of the main axis of a group."""
    return BIG[symmetry][0] if symmetry in BIG else int(symmetry[1:])


def _starts(band: BandMap, generator: Floats, max_shift_px: float, cone_deg: float | None
            ) -> list[tuple[Floats, Floats]]:
    """The best directions of a prime, with a point of each axis."""
    rot, tilt = np.radians(healpix_directions(3 if cone_deg is None else 4)).T
    directions = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot),
                           np.cos(tilt)], axis=1)
    least = -1e-9 if cone_deg is None else np.cos(np.radians(cone_deg))
    directions = directions[directions[:, 2] >= least]
    found = []
    for u in directions:
        Q = turn_of_z_to(u)
        R = Q @ generator[0] @ Q.T
        score, shift = best_shift(band, band, R, max_shift_px)
        point = np.linalg.lstsq(np.eye(3) - R, shift, rcond=1e-6)[0]
        found.append((score, u, point))
    kept: list[tuple[Floats, Floats]] = []
    for _, u, point in sorted(found, key=lambda f: -f[0]):
        if all(abs(float(u @ other)) < np.cos(np.radians(15.0)) for other, _ in kept):
            kept.append((u, point))
        if len(kept) == KEPT:
            break
    return kept


def _several_axes(data: Map, mask: Map, axes: list[Axis], r_max: float, plans: FftPlans
                  ) -> dict[str, SymmetryFit]:
    """Groups of several axes placed on the axes found, each at its best twist."""
    band = make_band(data, mask, 2.0, r_max, plans)
    low = make_band(data, mask, 2.0, min(COARSE_SHELL, r_max), plans)
    wanted: dict[str, list[Axis]] = {}
    for axis in axes:
        if axis.fold > 1:
            wanted.setdefault(f"D{axis.fold}", []).append(axis)
            for name, (top, _) in BIG.items():
                if axis.fold == top:
                    wanted.setdefault(name, []).append(axis)
    fits = {}
    for name, candidates in wanted.items():
        group = symmetry_matrices(name)
        generators = generating_operators(group)
        best = max((refine_axes(low, generators, Q, axis.centre_px, False, 0.3)
                    for axis in _distinct(candidates)
                    for Q in _best_twists(low, generators, _main_axis(name), axis)),
                   key=lambda f: f[2])
        Q, centre, score = refine_axes(band, generators, best[0], best[1], False, 0.5)
        fits[name] = SymmetryFit(nearest_setting(Q, group), centre, score, float("nan"))
    return fits


def _distinct(axes: list[Axis]) -> list[Axis]:
    """At most three axes of different directions, the best first."""
    kept: list[Axis] = []
    for axis in sorted(axes, key=lambda a: -a.score):
        if all(abs(float(axis.direction @ k.direction)) < np.cos(np.radians(10)) for k in kept):
            kept.append(axis)
    return kept[:3]


def _best_twists(band: BandMap, generators: Floats, own: Floats, axis: Axis) -> list[Floats]:
    """The three best settings with the group's main axis on an axis of the map."""
    place = turn_of_z_to(axis.direction) @ turn_of_z_to(own).T
    twists = np.radians(np.arange(0.0, 360.0, TWIST_STEP_DEG))
    settings = [rotation_from_vector(axis.direction * t) @ place for t in twists]
    scores = [self_correlation(band, generators, Q, axis.centre_px) for Q in settings]
    return [settings[i] for i in np.argsort(-np.array(scores), kind="stable")[:3]]


def _main_axis(symmetry: str) -> Floats:
    """Direction of an axis of the highest fold of a group in its standard setting."""
    group = symmetry_matrices(symmetry)
    angle = np.degrees(np.arccos(np.clip((np.trace(group, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    turn = group[np.where(angle > 1, angle, 999).argmin()]
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    if np.linalg.norm(axis) < 1e-6:    # a half turn: the axis is the eigenvector of 1
        axis = np.linalg.eigh(turn + turn.T)[1][:, -1]
    return np.asarray(axis / np.linalg.norm(axis))
