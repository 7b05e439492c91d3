"""Finding where the symmetry axes of a map lie, by correlating it with itself.

If a map has the symmetry group G with its axes turned by Q and meeting at the point c, then
turning it by Q S Q^T about c leaves it unchanged for every S of G. The score of (Q, c) is the mean
correlation (over a band) over operators that generate the group. All orientations of
the axes are tried in a low band, where the point c follows from the best shift of each turned
map, t = (1 - Q S Q^T) c; the best few are refined in wider bands.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sta_mpi.align.map_fit import (
    COARSE_SHELL,
    BandMap,
    band_edges,
    best_shift,
    correlation,
    make_band,
)
from sta_mpi.align.move_map import RigidMove, turn_about
from sta_mpi.geometry.rotations import angular_distance_deg, rotation_from_vector
from sta_mpi.geometry.sampling import healpix_directions, healpix_rotations
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

_REFINED = 5
_LOWEST_SHELL = 2.0
"""Shell 1 is nearly the same for any map in a box, and says nothing of its symmetry."""


@dataclass(frozen=True)
class SymmetryFit:
    """Where the axes of a group lie in a map.

    Parameters
    ----------
    Q : (3, 3) float64         axes of the group's standard setting to those of the map
    centre_px : (3,) float64   a point of the axis (cyclic groups: the one nearest to the centre
                               voxel), or where the axes meet
    score : float              mean correlation of the map with itself over generating operators
    before : float             the same with the axes as they are
    """

    Q: Floats
    centre_px: Floats
    score: float
    before: float

    @property
    def move(self) -> RigidMove:
        """The move that brings the axes to the standard setting (Cn: to z)."""
        return RigidMove(self.Q.T, -self.Q.T @ self.centre_px)


def find_symmetry(data: Map, mask: Map | None, symmetry: str, r_max: float, max_shift_px: float,
                  plans: FftPlans) -> SymmetryFit:
    """Find the axes of a point group in a map.

    Parameters
    ----------
    data : (n, n, n) float32
    mask : (n, n, n) or None     put on the map; it should not break the symmetry
    symmetry : str               "C6", "D2", "O", ...
    r_max : float                highest frequency index used
    max_shift_px : float         the axes pass the centre voxel within this distance
    """
    operators = symmetry_matrices(symmetry)
    if len(operators) == 1:
        raise ValueError("C1 has no axes to find")
    generators = generating_operators(operators)
    is_cyclic = symmetry.strip().upper().startswith("C")
    edges = band_edges(COARSE_SHELL, r_max)
    bands = [make_band(data, mask, min(_LOWEST_SHELL, r / 3), r, plans) for r in edges]
    starts = _global_starts(bands[0], generators, is_cyclic, max_shift_px)
    found = [refine_axes(bands[0], generators, Q, c, is_cyclic, 1.0) for Q, c in starts]
    Q, c, score = max(found, key=lambda f: f[2])
    for band in bands[1:]:
        Q, c, score = refine_axes(band, generators, Q, c, is_cyclic, 0.5)
    if is_cyclic:
        Q, c = upright(Q, c)
    else:
        Q = nearest_setting(Q, operators)
    before = self_correlation(bands[-1], generators, np.eye(3), np.zeros(3))
    return SymmetryFit(Q, c, score, before)


def self_correlation(band: BandMap, generators: Floats, Q: Floats, centre_px: Floats) -> float:
    """Mean correlation of a map with itself turned by operators of a group at (Q, c)."""
    return float(np.mean([correlation(band, band, turn_about(Q @ S @ Q.T, centre_px))
                          for S in generators]))


def fold_scores(data: Map, mask: Map | None, r_max: float, folds: range, plans: FftPlans
                ) -> dict[int, float]:
    """Correlation of a map with itself turned by 360 / n degrees about z, for several n."""
    band = make_band(data, mask, min(_LOWEST_SHELL, r_max / 3), r_max, plans)
    return {n: self_correlation(band, symmetry_matrices(f"C{n}")[1:2], np.eye(3), np.zeros(3))
            for n in folds}


def generating_operators(operators: Floats) -> Floats:
    """One or two operators whose products are the whole group."""
    for count in (1, 2):
        for chosen in combinations(range(1, len(operators)), count):
            members = operators[list(chosen)]
            if _closure_size(members, len(operators)) == len(operators):
                return np.asarray(members)
    raise ValueError("these operators are no group of rotations")


def upright(Q: Floats, centre_px: Floats) -> tuple[Floats, Floats]:
    """The axis of a cyclic group alone: shortest turn from z, nearest point, pointing up."""
    axis = Q[:, 2] if Q[2, 2] >= 0 else -Q[:, 2]
    z = np.array([0.0, 0.0, 1.0])
    turn = np.cross(z, axis)
    sine = float(np.linalg.norm(turn))
    angle = np.arctan2(sine, axis[2])
    R = np.eye(3) if sine < 1e-12 else rotation_from_vector(turn / sine * angle)
    return R, centre_px - axis * (axis @ centre_px)


def nearest_setting(Q: Floats, operators: Floats) -> Floats:
    """The equivalent Q S that turns least."""
    mates = Q @ operators
    return np.asarray(mates[angular_distance_deg(mates, np.eye(3)).argmin()])


def _closure_size(members: Floats, limit: int) -> int:
    """Number of products of some rotations, at most `limit` + 1."""
    found = [np.eye(3)]
    i = 0
    while i < len(found) and len(found) <= limit:
        for member in members:
            product = found[i] @ member
            if np.abs(np.array(found) - product).max(axis=(1, 2)).min() > 1e-6:
                found.append(product)
        i += 1
    return len(found)


def _global_starts(band: BandMap, generators: Floats, is_cyclic: bool, max_shift_px: float
                   ) -> list[tuple[Floats, Floats]]:
    """The best orientations of the axes, each with the point where they meet."""
    if is_cyclic:
        rot, tilt = np.radians(healpix_directions(3)).T
        up = tilt <= np.pi / 2 + 1e-9
        grid = rotation_from_vector(np.stack([
            -np.sin(rot) * tilt, np.cos(rot) * tilt, np.zeros_like(tilt)], axis=1)[up])
    else:
        grid = healpix_rotations(2)
    scores, centres = [], []
    for Q in grid:
        turns = [Q @ S @ Q.T for S in generators]
        found = [best_shift(band, band, R, max_shift_px) for R in turns]
        scores.append(np.mean([score for score, _ in found]))
        left = np.concatenate([np.eye(3) - R for R in turns])
        right = np.concatenate([shift for _, shift in found])
        centres.append(np.linalg.lstsq(left, right, rcond=1e-6)[0])
    kept: list[int] = []
    for i in np.argsort(-np.array(scores), kind="stable"):
        if all(angular_distance_deg(grid[i], grid[j]) > 15.0 for j in kept):
            kept.append(int(i))
        if len(kept) == _REFINED:
            break
    return [(grid[i], centres[i]) for i in kept]


def refine_axes(band: BandMap, generators: Floats, Q: Floats, centre_px: Floats, is_cyclic: bool,
            first_step: float) -> tuple[Floats, Floats, float]:
    """Climb to the best (Q, c) near a start; (Q, c, score).

    Turns about the axis of a cyclic group and shifts along it change nothing and are left out.
    """
    r = band.r_max
    px = band.box_px * band.px_per_own_px / (2 * np.pi * r)
    free = [0, 1, 3, 4] if is_cyclic else list(range(6))

    def at(p: Floats) -> tuple[Floats, Floats]:
        full = np.zeros(6)
        full[free] = p
        turned = Q @ rotation_from_vector(full[:3] / r)
        return turned, centre_px + Q @ full[3:] * px

    n = len(free)
    found = minimize(lambda p: -self_correlation(band, generators, *at(p)), np.zeros(n),
                     method="Nelder-Mead", options={
                         "initial_simplex": np.vstack([np.zeros(n), first_step * np.eye(n)]),
                         "xatol": 2e-3, "fatol": 1e-7, "maxfev": 500})
    return *at(found.x), float(-found.fun)
