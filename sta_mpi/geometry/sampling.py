"""Grids of orientations and shifts that a pose search tries.

Global search: HEALPix directions for (rot, tilt) in NEST order and an equal step in psi,
as RELION samples (order o: 60 / 2^o degrees), cut down to one asymmetric unit of the
symmetry group. Local search: small rotations D about the identity, to be applied on the
right, R_p2t D, which turns the particle in its own axes.

HEALPix is Gorski et al. 2005, ApJ 622, 759; the pixel centres come from astropy_healpix,
imported when first needed because that takes a third of a second.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.errors import InputError
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices

Floats = NDArray[np.float64]

_MAX_ORDER = 7
"""Order 7 has 196608 directions and 768 turns each: beyond it a full grid makes no sense."""

_GENERIC_DIRECTION = np.array([0.4567, 0.2891, 0.8413]) / np.linalg.norm(
    [0.4567, 0.2891, 0.8413])
"""A direction on no symmetry axis or mirror plane of any supported setting. The asymmetric
unit is the part of the sphere nearer to it than to its symmetry mates."""

_HOLE = 0.85
"""Distance, in pixel spacings, beyond which a direction outside is not covered by those
inside. Measured at orders 2 to 4 over C6, D7, T and I: no rotation is further than 0.93 steps
from the grid (0.84 without symmetry) and at most 10 % more points than 1/n of the full
grid from order 3; 0.7 would cost up to 25 % more points."""


def healpix_step_deg(order: int) -> float:
    """Angular step of a HEALPix order as RELION counts it: 60 / 2^order degrees."""
    return 60.0 / 2**order


def healpix_directions(order: int) -> Floats:
    """HEALPix pixel centres (12 * 4^order, 2) as (rot, tilt) [degrees], NEST order.

    rot is in [0, 360), tilt in (0, 180).
    """
    if not 0 <= order <= _MAX_ORDER:
        raise InputError(
            f"HEALPix order {order} is outside 0 to {_MAX_ORDER} "
            "(60 to 0.47 degrees); use local search for finer steps.")
    from astropy_healpix import healpix_to_lonlat  # late: slow import

    nside = 2**order
    lon, lat = healpix_to_lonlat(np.arange(12 * nside**2), nside, order="nested")
    return np.column_stack([np.degrees(lon.value), 90.0 - np.degrees(lat.value)])


def healpix_rotations(
    order: int, symmetry: str = "C1", psi_step_deg: float | None = None
) -> Floats:
    """Orientations R_p2t that cover one asymmetric unit evenly.

    Parameters
    ----------
    order : int                     directions every 60 / 2^order degrees
    symmetry : str                  point group, see `symmetry.symmetry_matrices`
    psi_step_deg : float or None    in-plane step; None: that of the directions.
                                    Rounded so that whole steps fill the turn.

    Returns
    -------
    (n, 3, 3) float64, n about 12 * 4^order * (360 / psi_step) / (order of the group);
    psi runs fastest

    Notes
    -----
    The matrix is RELION's A(rot, tilt, psi); its third row is the direction (rot, tilt) in
    particle axes, on which the group acts. A direction is kept when it is nearer to a
    fixed generic direction than its mates are (a Dirichlet cell). A direction that lies on
    an m-fold axis keeps the first 1/m of its psi values.

    Examples
    --------
    >>> len(healpix_rotations(2)), len(healpix_rotations(2, "D2"))
    (4608, 1152)
    """
    step = healpix_step_deg(order) if psi_step_deg is None else psi_step_deg
    if not 0.0 < step <= 360.0:
        raise InputError(f"psi_step_deg is {step}: use more than 0 and at most 360 degrees.")
    n_psi = max(1, round(360.0 / step))
    angles = healpix_directions(order)
    keep, multiplicity = _asymmetric_unit(_unit_vectors(angles), symmetry_matrices(symmetry))
    kept = []
    for (rot, tilt), fold in zip(angles[keep], multiplicity[keep], strict=True):
        psi = np.arange(-(-n_psi // fold)) * (360.0 / n_psi)
        kept.append(np.column_stack([np.full((len(psi), 2), (rot, tilt)), psi]))
    return matrix_from_relion_angles(np.concatenate(kept))


def local_rotations(range_deg: float, step_deg: float) -> Floats:
    """Small rotations on a cubic grid of rotation vectors within a ball.

    Parameters
    ----------
    range_deg : float   largest rotation angle, at most 180
    step_deg : float    spacing of the grid

    Returns
    -------
    (n, 3, 3) float64, identity first, then by growing angle
    """
    _check_step("step_deg", step_deg)
    if not 0.0 <= range_deg <= 180.0:
        raise InputError(f"range_deg is {range_deg}: use 0 to 180 degrees.")
    return rotation_from_vector(np.radians(_ball_grid(range_deg, step_deg)))


def cone_rotations(
    cone_deg: float, cone_step_deg: float, inplane_deg: float, inplane_step_deg: float
) -> Floats:
    """Rotations that tip z within a cone and turn about z, in particle axes.

    Parameters
    ----------
    cone_deg, cone_step_deg : float       largest tip of the z axis, and its step on the sphere
    inplane_deg, inplane_step_deg : float   turns about z from -inplane_deg to +inplane_deg;
                                            180 or more: a whole turn

    Returns
    -------
    (n, 3, 3) float64, identity first; in-plane angle runs fastest

    Notes
    -----
    D = (shortest turn that takes z to its new direction) Rz(in-plane). Directions lie on
    rings `cone_step_deg` apart, each with as many points as keep that step along it.
    """
    _check_step("cone_step_deg", cone_step_deg)
    _check_step("inplane_step_deg", inplane_step_deg)
    if not 0.0 <= cone_deg <= 180.0 or inplane_deg < 0.0:
        raise InputError(
            f"cone_deg is {cone_deg} (use 0 to 180 degrees) and inplane_deg {inplane_deg} "
            "(use 0 or more).")
    tips = np.concatenate([
        _ring(theta, cone_step_deg)
        for theta in np.arange(0.0, cone_deg + 1e-9 * cone_step_deg, cone_step_deg)])
    if inplane_deg >= 180.0:
        n_turns = max(1, round(360.0 / inplane_step_deg))
        inplane = np.arange(n_turns) * (360.0 / n_turns)
    else:
        inplane = _from_zero(inplane_deg, inplane_step_deg)
    vectors = np.column_stack([np.zeros((len(inplane), 2)), np.radians(inplane)])
    turns = rotation_from_vector(vectors)
    pairs = rotation_from_vector(np.radians(tips))[:, None] @ turns[None]
    return np.asarray(pairs.reshape(-1, 3, 3))


def shift_grid(range_px: float, step_px: float) -> Floats:
    """Shifts (m, 3) xyz on a cubic grid within a ball, zero first, then by growing length.

    Parameters
    ----------
    range_px : float   radius of the ball, 0: only the zero shift
    step_px : float    spacing of the grid; any unit of length, the same for both

    Examples
    --------
    >>> shift_grid(2.0, 2.0)[:2]
    array([[ 0.,  0.,  0.],
           [-2.,  0.,  0.]])
    """
    _check_step("step_px", step_px)
    if range_px < 0.0:
        raise InputError(f"range_px is {range_px}: use 0 or more.")
    return _ball_grid(range_px, step_px)


def _ball_grid(radius: float, step: float) -> Floats:
    """Cubic grid points (m, 3) within a ball, nearest first, ties in xyz order."""
    n_side = int(np.floor(radius / step + 1e-9))
    axis = np.arange(-n_side, n_side + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    squared = (points**2).sum(axis=1)
    inside = squared <= (radius / step) ** 2 * (1.0 + 1e-9)
    order = np.argsort(squared[inside], kind="stable")
    return np.asarray(points[inside][order] * float(step))


def _from_zero(limit: float, step: float) -> Floats:
    """0, -step, step, -2 step ... up to the limit."""
    values = np.arange(-np.floor(limit / step + 1e-9), np.floor(limit / step + 1e-9) + 1) * step
    return np.asarray(values[np.argsort(np.abs(values), kind="stable")])


def _ring(theta_deg: float, step_deg: float) -> Floats:
    """Rotation vectors [degrees] that tip z by theta, evenly about the ring."""
    if theta_deg == 0.0:
        return np.zeros((1, 3))
    circumference = 360.0 * np.sin(np.radians(theta_deg))
    n_points = max(1, int(np.ceil(circumference / step_deg - 1e-9)))
    azimuth = 2.0 * np.pi * np.arange(n_points) / n_points
    return theta_deg * np.column_stack(
        [-np.sin(azimuth), np.cos(azimuth), np.zeros(n_points)])


def _unit_vectors(rot_tilt_deg: Floats) -> Floats:
    """Third row of A(rot, tilt, psi): unit vectors (n, 3)."""
    rot, tilt = np.radians(rot_tilt_deg).T
    return np.column_stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)])


def _asymmetric_unit(
    directions: Floats, group: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which directions (n, 3) cover the asymmetric unit, and how many operators fix each.

    First those inside it. Where its border cuts HEALPix pixels holes can remain, so a
    direction outside is added when nothing kept, nor any mate of it, is within `_HOLE`
    pixel spacings.
    """
    mates = np.einsum("nj,gjk->ngk", directions, group)
    closeness = mates @ _GENERIC_DIRECTION
    keep = closeness[:, 0] >= closeness.max(axis=1) - 1e-9
    hole = _HOLE * np.sqrt(4.0 * np.pi / len(directions))
    holes = np.flatnonzero(~keep)
    if keep.any():
        distance, _ = cKDTree(mates[keep].reshape(-1, 3)).query(directions[holes])
        holes = holes[distance > hole]
    for i_direction in holes[np.argsort(-closeness[holes, 0], kind="stable")]:
        distances = np.linalg.norm(mates[keep].reshape(-1, 3) - directions[i_direction], axis=1)
        keep[i_direction] = distances.min(initial=np.inf) > hole
    fixed = np.abs(mates - directions[:, None]).max(axis=2) < 1e-9
    return keep, np.asarray(fixed.sum(axis=1))


def _check_step(name: str, step: float) -> None:
    if not step > 0.0:
        raise InputError(f"{name} is {step}: use a step larger than 0.")
