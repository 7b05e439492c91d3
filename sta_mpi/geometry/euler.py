"""Euler angles in degrees to rotation matrices and back.

RELION's triplet is (rot, tilt, psi) = (phi, theta, psi), with

    A = Rz(psi)^T Ry(theta)^T Rz(phi)^T        (R active and right-handed)

which takes reference (particle) coordinates into the frame of the image, subtomogram or
tomogram; `R_p2t` of this program is A_sub A_part in RELION's columns. Source: RELION's
documented convention and its projection code; checked against scipy in the tests.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]

_GIMBAL_SINE = 1e-9
"""Below this sine of theta, phi is not determined and is set to 0, as RELION does."""


def matrix_from_relion_angles(rot_tilt_psi_deg: ArrayLike) -> Floats:
    """Matrices A (..., 3, 3) from rot, tilt, psi (..., 3) [degrees].

    A takes reference coordinates into subtomogram coordinates, acting on xyz columns.

    Examples
    --------
    >>> matrix_from_relion_angles([90.0, 0.0, 0.0]).round(6) @ [1.0, 0.0, 0.0]
    array([ 0., -1.,  0.])
    """
    angles = np.radians(np.asarray(rot_tilt_psi_deg, np.float64))
    c_phi, c_theta, c_psi = np.moveaxis(np.cos(angles), -1, 0)
    s_phi, s_theta, s_psi = np.moveaxis(np.sin(angles), -1, 0)
    rows = [
        [c_psi * c_theta * c_phi - s_psi * s_phi,
         c_psi * c_theta * s_phi + s_psi * c_phi,
         -c_psi * s_theta],
        [-s_psi * c_theta * c_phi - c_psi * s_phi,
         -s_psi * c_theta * s_phi + c_psi * c_phi,
         s_psi * s_theta],
        [s_theta * c_phi, s_theta * s_phi, c_theta],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def relion_angles_from_matrix(A: ArrayLike) -> Floats:
    """Angles rot, tilt, psi (..., 3) [degrees] of matrices A (..., 3, 3).

    Returns tilt in [0, 180], rot and psi in [-180, 180]. Where tilt is 0 or 180 only the
    sum or difference of rot and psi is determined: rot is 0 there.

    Notes
    -----
    phi = atan2(A21, A20), theta = atan2(|(A20, A21)|, A22). psi is not read from the small
    third column but from A Rz(phi) e_y = (sin psi, cos psi, 0), so the three angles
    give back A to its own precision however close theta is to 0 or 180.
    """
    matrix = np.asarray(A, np.float64)
    sine = np.hypot(matrix[..., 2, 0], matrix[..., 2, 1])
    theta = np.arctan2(sine, matrix[..., 2, 2])
    phi = np.where(
        sine > _GIMBAL_SINE, np.arctan2(matrix[..., 2, 1], matrix[..., 2, 0]), 0.0)
    y_turned = matrix[..., 1] * np.cos(phi)[..., None] - matrix[..., 0] * np.sin(phi)[..., None]
    psi = np.arctan2(y_turned[..., 0], y_turned[..., 1])
    return np.degrees(np.stack([phi, theta, psi], axis=-1))


def matrix_from_euler(angles_deg: ArrayLike, axes: str = "ZYZ") -> Floats:
    """Active matrices (..., 3, 3) from any Euler triplet (..., 3) [degrees].

    Parameters
    ----------
    angles_deg : (..., 3)
    axes : str
        scipy's notation: capitals turn about the moving axes (first angle is the leftmost
        factor), small letters about the fixed axes (first angle is the rightmost factor).

    Examples
    --------
    RELION's A is the inverse of the "ZYZ" matrix of the same angles:

    >>> import numpy as np
    >>> relion = matrix_from_relion_angles([10.0, 20.0, 30.0])
    >>> bool(np.allclose(relion, matrix_from_euler([10.0, 20.0, 30.0], "ZYZ").T))
    True
    """
    angles = np.asarray(angles_deg, np.float64)
    flat = Rotation.from_euler(axes, angles.reshape(-1, 3), degrees=True).as_matrix()
    return np.asarray(flat).reshape(*angles.shape[:-1], 3, 3)


def euler_from_matrix(R: ArrayLike, axes: str = "ZYZ") -> Floats:
    """Euler triplet (..., 3) [degrees] of matrices (..., 3, 3); inverse of `matrix_from_euler`.

    Where the middle angle leaves the other two undetermined the third is 0.
    """
    matrices = np.asarray(R, np.float64)
    flat = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_euler(
        axes, degrees=True, suppress_warnings=True)
    return np.asarray(flat).reshape(*matrices.shape[:-2], 3)
