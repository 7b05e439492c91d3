"""Projection matrices of tilts: from angles and shifts, from RELION 4 matrices, and back.

Convention of `sta_mpi.data.TiltSeries`: P (n, 3, 4) takes xyz [Å from the tomogram
centre] to (x, y) [Å from the image centre pixel, width // 2 and height // 2] and the depth
along the beam [Å], zero at the tomogram centre.

RELION writes the same thing in pixels with origins at corners,

    q = T(c_img) T(shift / px) Rz(z_rot) Ry(y_tilt) Rx(x_tilt) T(-c_tomo) p

with *integer* halves c_tomo = (W // 2, H // 2, D // 2) and c_img = (w // 2, h // 2), but
counts centred coordinates from the *floating* halves (W/2, H/2, D/2). The two differ by
half a pixel on odd axes: `_half_pixel_offset_A` is the only place that knows it. Angles:
y_tilt is the tilt, z_rot the in-plane angle of the tilt axis, x_tilt the pitch; all turn
actively and right-handed.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from sta_mpi.geometry.rotations import nearest_rotation

Floats = NDArray[np.float64]
SizeXYZ = tuple[int, int, int]
SizeXY = tuple[int, int]


def tilt_rotation(x_tilt_deg: ArrayLike, y_tilt_deg: ArrayLike, z_rot_deg: ArrayLike) -> Floats:
    """Rotations Rz(z_rot) Ry(y_tilt) Rx(x_tilt), tomogram axes to image axes and beam.

    Parameters
    ----------
    x_tilt_deg, y_tilt_deg, z_rot_deg : (n,) or scalar [degrees], broadcast

    Returns
    -------
    (n, 3, 3) float64
    """
    angles = np.broadcast_arrays(*(
        np.atleast_1d(np.asarray(a, np.float64)) for a in (z_rot_deg, y_tilt_deg, x_tilt_deg)))
    stacked = np.stack(angles, axis=-1)
    return np.asarray(Rotation.from_euler("ZYX", stacked, degrees=True).as_matrix())


def tilt_angles_from_rotation(M: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Angles (x_tilt, y_tilt, z_rot) [degrees] of rotations Rz Ry Rx (..., 3, 3).

    y_tilt lies in [-90, 90]. At exactly +-90 only one combination of the other two is
    determined; x_tilt is 0 there.
    """
    matrix = np.asarray(M, np.float64)
    cosine = np.hypot(matrix[..., 0, 0], matrix[..., 1, 0])
    y_tilt = np.arctan2(-matrix[..., 2, 0], cosine)
    x_tilt = np.where(
        cosine > 1e-9, np.arctan2(matrix[..., 2, 1], matrix[..., 2, 2]), 0.0)
    # M Rx(x)^T e_y = Rz e_y = (-sin z, cos z, 0) holds for every y_tilt.
    y_turned = (matrix[..., 1] * np.cos(x_tilt)[..., None]
                - matrix[..., 2] * np.sin(x_tilt)[..., None])
    z_rot = np.arctan2(-y_turned[..., 0], y_turned[..., 1])
    return np.degrees(x_tilt), np.degrees(y_tilt), np.degrees(z_rot)


def projection_from_angles(
    x_tilt_deg: ArrayLike,
    y_tilt_deg: ArrayLike,
    z_rot_deg: ArrayLike,
    shift_A: ArrayLike,
    tomogram_size_px: SizeXYZ,
    pixel_A: float,
) -> Floats:
    """Projection matrices P (n, 3, 4) of tilts given as RELION 5 writes them.

    Parameters
    ----------
    x_tilt_deg, y_tilt_deg, z_rot_deg : (n,)   rlnTomoXTilt, rlnTomoYTilt, rlnTomoZRot
    shift_A : (n, 2)                           rlnTomoXShiftAngst, rlnTomoYShiftAngst
    tomogram_size_px : (3,) int                W, H, D in unbinned pixels
    pixel_A : float                            pixel of the tilt images

    Returns
    -------
    (n, 3, 4) float64

    Examples
    --------
    A point 100 A above the centre, seen at a tilt of 90 degrees, moves along +x:

    >>> P = projection_from_angles([0.0], [90.0], [0.0], [[0.0, 0.0]], (400, 400, 200), 2.0)
    >>> (P[0] @ [0.0, 0.0, 100.0, 1.0]).round(6) + 0.0
    array([100.,   0.,   0.])
    """
    rotation = tilt_rotation(x_tilt_deg, y_tilt_deg, z_rot_deg)
    P = np.zeros((len(rotation), 3, 4))
    P[:, :, :3] = rotation
    P[:, :2, 3] = np.asarray(shift_A, np.float64)
    P[:, :2, 3] += rotation[:, :2] @ _half_pixel_offset_A(tomogram_size_px, pixel_A)
    return P


def angles_from_projection(
    P: ArrayLike, tomogram_size_px: SizeXYZ, pixel_A: float
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Angles and shifts of projection matrices: the inverse of `projection_from_angles`.

    Parameters
    ----------
    P : (n, 3, 4)
    tomogram_size_px : (3,) int
    pixel_A : float

    Returns
    -------
    x_tilt_deg, y_tilt_deg, z_rot_deg : (n,) float64
    shift_A : (n, 2) float64
    residual : (n,) float64
        Frobenius distance of the 3x3 part to the nearest rotation: what magnification,
        stretch or skew of the alignment the angles cannot carry (0 for a rigid tilt).
    """
    matrices = np.asarray(P, np.float64)
    rotation = nearest_rotation(matrices[:, :, :3])
    residual = np.linalg.norm(matrices[:, :, :3] - rotation, axis=(1, 2))
    offset = _half_pixel_offset_A(tomogram_size_px, pixel_A)
    shift_A = matrices[:, :2, 3] - matrices[:, :2, :3] @ offset
    return (*tilt_angles_from_rotation(rotation), shift_A, residual)


def projection_from_relion4(
    proj_px: ArrayLike, tomogram_size_px: SizeXYZ, image_size_px: SizeXY, pixel_A: float
) -> Floats:
    """Projection matrices P (n, 3, 4) from RELION 4's rlnTomoProjX/Y/Z/W.

    Parameters
    ----------
    proj_px : (n, 4, 4)           rows X, Y, Z, W; corner-based pixels to corner-based pixels
    tomogram_size_px : (3,) int   W, H, D
    image_size_px : (2,) int      width, height of the tilt images
    pixel_A : float

    Returns
    -------
    (n, 3, 4) float64; the depth row is re-based to zero at the tomogram centre
    """
    proj = np.asarray(proj_px, np.float64)
    centre = np.asarray(tomogram_size_px, np.float64) / 2.0
    P = np.zeros((len(proj), 3, 4))
    P[:, :, :3] = proj[:, :3, :3]
    at_centre_px = proj[:, :2, :3] @ centre + proj[:, :2, 3]
    P[:, :2, 3] = pixel_A * (at_centre_px - _image_centre_px(image_size_px))
    return P


def relion4_from_projection(
    P: ArrayLike, tomogram_size_px: SizeXYZ, image_size_px: SizeXY, pixel_A: float
) -> Floats:
    """RELION 4 matrices (n, 4, 4) of P (n, 3, 4): the inverse of `projection_from_relion4`.

    The depth row is RELION's: zero at the integer centre voxel of the tomogram.
    """
    matrices = np.asarray(P, np.float64)
    size = np.asarray(tomogram_size_px)
    proj = np.zeros((len(matrices), 4, 4))
    proj[:, :3, :3] = matrices[:, :, :3]
    proj[:, :2, 3] = (matrices[:, :2, 3] / pixel_A + _image_centre_px(image_size_px)
                      - matrices[:, :2, :3] @ (size / 2.0))
    proj[:, 2, 3] = -matrices[:, 2, :3] @ (size // 2).astype(np.float64)
    proj[:, 3, 3] = 1.0
    return proj


def slice_axes(P: ArrayLike, R_p2t: ArrayLike) -> Floats:
    """Axes u, v of the central slices that tilts see of a particle.

    The 2D frequency (kx, ky) of tilt f lies at the 3D frequency kx u + ky v of the
    particle's own frame (Fourier slice theorem for orthogonal projection).

    Parameters
    ----------
    P : (n, 3, 4) or (n, 3, 3)    projection matrices of the tilts, rigid
    R_p2t : (..., 3, 3)           particle axes to tomogram axes

    Returns
    -------
    (..., n, 2, 3) float64, rows u and v
    """
    tilts = np.asarray(P, np.float64)[:, :2, :3]
    particles = np.asarray(R_p2t, np.float64)
    return np.asarray(np.einsum("fij,...jk->...fik", tilts, particles))


def _half_pixel_offset_A(tomogram_size_px: SizeXYZ, pixel_A: float) -> Floats:
    """From RELION's integer rotation centre to the floating centre of coordinates [Å], (3,)."""
    size = np.asarray(tomogram_size_px)
    return np.asarray((size / 2.0 - size // 2) * pixel_A)


def _image_centre_px(image_size_px: SizeXY) -> Floats:
    return np.asarray([side // 2 for side in image_size_px], np.float64)
