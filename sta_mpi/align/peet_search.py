"""What a PEET iteration searches, and its filters.

Offsets phi, theta and psi turn about the particle's y, z and x axes. PEET's own order of the three
is not documented; here a candidate is

    R_new = R Rx(psi) Rz(theta) Ry(phi)        twist first, in the axes of the reference

Turns are given for our axes, where PEET's y is z (`geometry.peet`): R_p2t D with D conjugated.
The low-pass is 1 up to its cutoff and a Gaussian beyond; the high-pass is its mirror image.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from sta_mpi.geometry.peet import rp2t_from_peet

Floats = NDArray[np.float64]

CORNER = 0.866
"""PEET's frequency of the corner of a transform [cycles a voxel], from which a low-pass is off."""

CAPTURE_DEG = 12.0
"""Spacing of the poses that polishing begins at: it reaches half of it in the lowest band."""


def offset_rotations(phi_deg: ArrayLike, theta_deg: ArrayLike, psi_deg: ArrayLike) -> Floats:
    """All products of the offsets (n, 3, 3) for our axes, no turn first.

    Parameters
    ----------
    phi_deg, theta_deg, psi_deg : (k,) each    offsets about PEET's y, z and x
    """
    lists = [np.asarray(values, np.float64).ravel() for values in (psi_deg, theta_deg, phi_deg)]
    angles = np.array(list(itertools.product(*lists)))
    order = np.argsort(np.abs(angles).sum(axis=1), kind="stable")
    turns = Rotation.from_euler("XZY", angles[order], degrees=True).as_matrix()
    return conjugated(turns)


def conjugated(turns: Floats) -> Floats:
    """Turns (n, 3, 3) of PEET's particle axes as turns of ours."""
    Q = rp2t_from_peet(np.eye(3))
    return np.asarray(Q.T @ turns @ Q)


def sphere_rotations(interval_deg: float, phi_deg: ArrayLike, is_half: bool) -> Floats:
    """Turns (n, 3, 3) for our axes that bring the axis to all directions, with twists.

    Parameters
    ----------
    interval_deg : float    step of the latitude; 360 / interval points on the equator, fewer
                            towards the poles, one at each pole
    phi_deg : (k,)          twists, applied first
    is_half : bool          the hemisphere around the present axis alone
    """
    n_rings = max(1, round(90.0 / interval_deg))
    directions = []
    for latitude in np.linspace(0 if is_half else -90.0, 90.0, n_rings + 1 if is_half
                                else 2 * n_rings + 1)[::-1]:
        count = max(1, round(360.0 / interval_deg * np.cos(np.radians(latitude))))
        directions += [(360.0 * i / count, 90.0 - latitude) for i in range(count)]
    twists = np.asarray(phi_deg, np.float64).ravel()
    azimuth, colatitude = np.array(directions).T
    # from the y axis by the colatitude about x, then about y; the turn back keeps the twist's zero
    tip = Rotation.from_euler("YXY", np.column_stack([azimuth, colatitude, -azimuth]),
                              degrees=True).as_matrix()
    twists = twists[np.argsort(np.abs(twists), kind="stable")]
    return conjugated((tip[:, None] @ twist_matrices(twists)[None]).reshape(-1, 3, 3))


def symmetry_turns(fold: int) -> Floats:
    """Turns (fold, 3, 3) by 360 / fold degrees about PEET's y, for our axes."""
    return conjugated(twist_matrices(360.0 * np.arange(fold) / fold))


def twist_matrices(angles_deg: ArrayLike) -> Floats:
    """Turns (k, 3, 3) about PEET's y, in PEET's axes."""
    angles = np.asarray(angles_deg, np.float64).reshape(-1, 1)
    return np.asarray(Rotation.from_euler("y", angles, degrees=True).as_matrix())


def start_offsets(largest_deg: float) -> Floats:
    """Offsets (k,) of a range of +- largest_deg at which polishing begins."""
    if largest_deg >= 180.0 - 1e-6:
        n = round(360.0 / CAPTURE_DEG)
        return np.arange(n) * 360.0 / n - 180.0 * (n // 2 * 2) / n
    n_side = int(np.ceil(max(0.0, largest_deg - CAPTURE_DEG / 2) / CAPTURE_DEG - 1e-9))
    return np.linspace(-1, 1, 2 * n_side + 1) * largest_deg * (
        2 * n_side / (2 * n_side + 1)) if n_side else np.zeros(1)


def cube_shifts(radius_xyz_px: ArrayLike) -> Floats:
    """All whole shifts (n, 3) with |t| <= radius on each axis, nearest first."""
    axes = [np.arange(-int(r), int(r) + 1) for r in np.asarray(radius_xyz_px, np.float64)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    order = np.argsort((points**2).sum(axis=1), kind="stable")
    return points[order].astype(np.float64)


def lowpass(k_cpp: ArrayLike, cutoff: float, sigma: float) -> Floats:
    """PEET's low-pass at frequencies [cycles a voxel]; 1 everywhere from a cutoff of 0.866."""
    k = np.asarray(k_cpp, np.float64)
    if cutoff >= CORNER:
        return np.ones_like(k)
    if sigma <= 0:
        return np.asarray(k <= cutoff, np.float64)
    return np.exp(-np.maximum(k - cutoff, 0.0) ** 2 / (2 * sigma**2))


def highpass(k_cpp: ArrayLike, cutoff: float, sigma: float) -> Floats:
    """PEET's high-pass: the low-pass mirrored below its cutoff; 1 for a cutoff of 0 or less."""
    k = np.asarray(k_cpp, np.float64)
    if cutoff <= 0:
        return np.ones_like(k)
    if sigma <= 0:
        return np.asarray(k >= cutoff, np.float64)
    return np.exp(-np.maximum(cutoff - k, 0.0) ** 2 / (2 * sigma**2))


def band_of(high: tuple[float, float], low: tuple[float, float], n: int) -> tuple[float, float]:
    """Fourier indices (r_min, r_max) of a box of n beyond which the filters leave < 0.14."""
    r_max = n / 2.0 if high[0] >= CORNER else n * (high[0] + 2.0 * max(high[1], 0.0))
    r_min = 0.0 if low[0] <= 0 else n * max(0.0, low[0] - 2.0 * max(low[1], 0.0))
    return r_min, r_max
