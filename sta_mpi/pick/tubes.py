"""Seeds along curves: filaments, tubes, and stalks of two points.

A curve goes through its points as a cubic spline over chord length. Along it a frame is carried
that turns as little as possible (double reflection, Wang et al., ACM Trans. Graph. 27, 2008), so
that a twist is counted from the curve alone. Coordinates are xyz in Å.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from sta_mpi.errors import InputError
from sta_mpi.pick.surfaces import Seeds

Floats = NDArray[np.float64]

_FINE = 64
"""Places a segment where length is measured."""


@dataclass(frozen=True)
class Curve:
    """Places on a curve and their frames.

    Parameters
    ----------
    xyz_A : (n, 3)
    frames : (n, 3, 3)    columns across, across, along; right-handed
    length_A : float      of the whole curve
    """

    xyz_A: Floats
    frames: Floats
    length_A: float


def sample_curve(points_A: Floats, spacing_A: float, what: str) -> Curve:
    """Places every `spacing_A` along the curve through points (m, 3), the rest shared by its ends.

    Raises
    ------
    InputError   fewer than two different points; `what` names the contour
    """
    points = np.asarray(points_A, float)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    points = points[np.concatenate([[True], steps > 1e-6])] if len(points) else points
    if len(points) < 2:
        raise InputError(f"{what}: {len(points)} different points, expected at least 2 along the "
                         "filament. Mark its course from one end to the other.")
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = make_interp_spline(chord, points, k=min(3, len(points) - 1))
    fine = np.linspace(0.0, chord[-1], _FINE * (len(points) - 1) + 1)
    xyz, tangent = spline(fine), spline.derivative()(fine)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xyz, axis=0), axis=1))])
    n = int(length[-1] / spacing_A) + 1
    first = 0.5 * (length[-1] - (n - 1) * spacing_A)
    at = np.interp(first + spacing_A * np.arange(n), length, fine)
    across = _carried(xyz, tangent)
    along = spline.derivative()(at)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    e1 = np.stack([np.interp(at, fine, across[:, i]) for i in range(3)], axis=1)
    e1 -= (e1 * along).sum(axis=1, keepdims=True) * along
    e1 /= np.linalg.norm(e1, axis=1, keepdims=True)
    frames = np.stack([e1, np.cross(along, e1), along], axis=2)
    return Curve(spline(at), frames, float(length[-1]))


def seed_axis(curve: Curve) -> Seeds:
    """Seeds on the curve itself; their direction is along it, from its first point on."""
    return Seeds(curve.xyz_A, curve.frames[:, :, 2])


def seed_tube(curve: Curve, radius_A: float, lattice_A: float, phase_deg: float = 0.0) -> Seeds:
    """Seeds in rings around a curve sampled every sqrt(3) / 2 lattice constants.

    A ring holds as many seeds as are nearest to one every lattice constant; every second ring is
    turned by half a step, so that the seeds are a hexagonal lattice. Normals point outward.
    """
    n = max(1, round(2.0 * np.pi * radius_A / lattice_A))
    rings = len(curve.xyz_A)
    turn = np.radians(phase_deg) + 2.0 * np.pi / n * (
        np.arange(n) + 0.5 * (np.arange(rings) % 2)[:, None])
    area = 2.0 * np.pi * radius_A * curve.length_A
    return _around(curve, np.repeat(np.arange(rings), n), turn.ravel(), radius_A, area)


def seed_helix(curve: Curve, radius_A: float, twist_deg: float, phase_deg: float = 0.0) -> Seeds:
    """Seeds on one helix around a curve sampled every rise: each turned by the twist."""
    turn = np.radians(phase_deg + twist_deg * np.arange(len(curve.xyz_A)))
    return _around(curve, np.arange(len(curve.xyz_A)), turn, radius_A, np.nan)


def seed_stalk(points_A: Floats, at: str, head_first: bool, what: str) -> Seeds:
    """One seed of a contour of two points; its direction is from base to head.

    Parameters
    ----------
    at : "head", "centre" or "base"
    head_first : bool     whether the first point is the head
    """
    if len(points_A) != 2:
        raise InputError(f"{what}: {len(points_A)} points, expected 2, head and base, of a stalk. "
                         "Mark every stalk as a contour of its own.")
    head, base = points_A if head_first else points_A[::-1]
    length = float(np.linalg.norm(head - base))
    if not length > 0:
        raise InputError(f"{what}: head and base are the same point. Mark two.")
    place = {"head": head, "base": base, "centre": 0.5 * (head + base)}[at]
    return Seeds(place[None], ((head - base) / length)[None])


def _around(curve: Curve, rows: NDArray[np.intp], turn: Floats, radius_A: float, area: float
            ) -> Seeds:
    frames = curve.frames[rows]
    normal = (np.cos(turn)[:, None] * frames[:, :, 0] + np.sin(turn)[:, None] * frames[:, :, 1])
    return Seeds(curve.xyz_A[rows] + radius_A * normal, normal, area)


def _carried(xyz: Floats, tangent: Floats) -> Floats:
    """First axis of the frame that turns least, at each of n places; (n, 3)."""
    across = np.empty_like(xyz)
    start = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    across[0] = start - (start @ tangent[0]) * tangent[0]
    across[0] /= np.linalg.norm(across[0])
    for i in range(len(xyz) - 1):
        v1 = xyz[i + 1] - xyz[i]
        c1 = v1 @ v1
        r = across[i] - 2.0 / c1 * (v1 @ across[i]) * v1
        t = tangent[i] - 2.0 / c1 * (v1 @ tangent[i]) * v1
        v2 = tangent[i + 1] - t
        c2 = v2 @ v2
        across[i + 1] = r if c2 < 1e-24 else r - 2.0 / c2 * (v2 @ r) * v2
    return across
