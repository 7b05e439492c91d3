"""Picks on lattices against planted units: found, false, pose errors after the common move."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.symmetry import symmetry_matrices

Floats = NDArray[np.float64]

FALSE_A = 37.5
"""Half a lattice constant: nearer to no unit than to a place between two."""
RIGHT_A, RIGHT_DEG = 20.0, 12.0


@dataclass(frozen=True)
class Matched:
    """Picks of one series: nearest unit, distance, angle modulo symmetry, and what is left.

    `places[u]` is the number of the place of unit u.
    """

    name: str
    places: NDArray[np.intp]
    unit: NDArray[np.intp]
    distance_A: Floats
    angle_deg: Floats
    move_A: Floats
    turn: Floats

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Picks at a unit, with its orientation."""
        return (self.distance_A < RIGHT_A) & (self.angle_deg < RIGHT_DEG)


def compare(picks: Path, truth: Path, tomograms: Path, symmetry: str) -> list[Matched]:
    """Match picks with units, in the frame that fits best.

    A reference has a frame of its own: a turn about z and a height along z that all particles
    share are no errors of picks. They are fitted by medians.
    """
    table = read_tomograms(tomograms)
    found, planted = read_particles(picks, table), read_particles(truth, table)
    return _match(found, planted, symmetry, *_frame(found, planted, symmetry))


def shared_frame(picks: Path, truth: Path, tomograms: Path, symmetry: str) -> tuple[float, float]:
    """Turn about z [degrees] and height along z [Å] from the frame of the picks to the true one."""
    table = read_tomograms(tomograms)
    return _frame(read_particles(picks, table), read_particles(truth, table), symmetry)


def _frame(found, planted, symmetry: str) -> tuple[float, float]:
    first = _match(found, planted, symmetry, 0.0, 0.0)
    turns = np.concatenate([m.turn[(m.distance_A < RIGHT_A) & (m.angle_deg < 30)] for m in first])
    if len(turns) < 10:
        return 0.0, 0.0
    twist_deg = -float(np.median(Rotation.from_matrix(turns).as_rotvec(degrees=True)[:, 2]))
    second = _match(found, planted, symmetry, twist_deg, 0.0)
    height_A = float(np.median(np.concatenate([m.move_A[m.is_right, 2] for m in second])))
    return twist_deg, height_A


def _match(found, planted, symmetry: str, twist_deg: float, height_A: float) -> list[Matched]:
    group = symmetry_matrices(symmetry)
    turn = Rotation.from_euler("z", twist_deg, degrees=True).as_matrix()
    matched = []
    for i, name in enumerate(planted.tomo_names):
        rows = found.i_tomo == list(found.tomo_names).index(name)
        if not rows.any():
            continue
        own = planted.i_tomo == i
        R = found.R_p2t[rows] @ turn
        place = found.position_A[rows] + height_A * R[:, :, 2]
        distance, unit = cKDTree(planted.position_A[own]).query(place)
        true = planted.R_p2t[own][unit]
        left = np.stack([np.einsum("nji,njk->nik", true @ g, R) for g in group], axis=1)
        angle = np.degrees(np.arccos(np.clip((np.trace(left, axis1=2, axis2=3) - 1) / 2, -1, 1)))
        best = angle.argmin(axis=1)
        move = np.einsum("nji,nj->ni", R, planted.position_A[own][unit] - place)
        matched.append(Matched(
            name, _places(planted.position_A[own]), unit, distance, angle.min(axis=1), move,
            left[np.arange(len(best)), best]))
    return matched


def _places(position_A: Floats) -> NDArray[np.intp]:
    """Number of the place of each unit: real lists hold a few units twice."""
    n = len(position_A)
    near = cKDTree(position_A).query_pairs(FALSE_A, output_type="ndarray")
    graph = coo_array((np.ones(len(near)), near.T), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def summary(matched: list[Matched]) -> dict[str, float]:
    """Shares and errors over all series."""
    right = [m.is_right for m in matched]
    n_picks = sum(len(m.unit) for m in matched)
    n_found = sum(len(np.unique(m.places[m.unit[r]]))
                  for m, r in zip(matched, right, strict=True))
    angle = np.concatenate([m.angle_deg[r] for m, r in zip(matched, right, strict=True)])
    place = np.concatenate([m.distance_A[r] for m, r in zip(matched, right, strict=True)])
    return {"picks": n_picks, "found": n_found / sum(len(np.unique(m.places)) for m in matched),
            "false": sum(int((m.distance_A > FALSE_A).sum()) for m in matched) / n_picks,
            "angle_rms_deg": float(np.sqrt((angle**2).mean())),
            "shift_rms_A": float(np.sqrt((place**2).mean())),
            "angle_median_deg": float(np.median(angle)),
            "shift_median_A": float(np.median(place))}
