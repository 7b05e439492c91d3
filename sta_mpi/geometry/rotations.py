"""Rotation matrices: drawing them, measuring between them, and their vector form.

Matrices are (..., 3, 3) float64, right-handed, active, acting on xyz columns. A rotation
vector points along the axis (right-hand rule) and its length is the angle [rad]. Nothing
here knows Euler conventions (`euler`) or tilt geometry (`projection`).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]


def random_rotations(n: int, rng: np.random.Generator) -> Floats:
    """Draw n rotations from the uniform (Haar) measure.

    Parameters
    ----------
    n : int
    rng : numpy Generator

    Returns
    -------
    (n, 3, 3) float64

    Notes
    -----
    A quaternion of four normal deviates has a uniform direction on the 3-sphere, and the
    3-sphere covers the rotations evenly and twice.
    """
    quaternions = rng.standard_normal((n, 4))
    return np.asarray(Rotation.from_quat(quaternions).as_matrix()).reshape(n, 3, 3)


def rotation_from_vector(rotvec_rad: ArrayLike) -> Floats:
    """Turn rotation vectors (..., 3) [rad] into matrices (..., 3, 3)."""
    vectors = np.asarray(rotvec_rad, np.float64)
    flat = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return np.asarray(flat).reshape(*vectors.shape[:-1], 3, 3)


def vector_from_rotation(R: ArrayLike) -> Floats:
    """Turn matrices (..., 3, 3) into rotation vectors (..., 3) [rad] of length <= pi."""
    matrices = np.asarray(R, np.float64)
    flat = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec()
    return np.asarray(flat).reshape(*matrices.shape[:-2], 3)


def angular_distance_deg(R1: ArrayLike, R2: ArrayLike) -> Floats:
    """Angle [degrees] of the rotation that takes R1 into R2, by broadcasting.

    Parameters
    ----------
    R1, R2 : (..., 3, 3)

    Returns
    -------
    (...) float64, 0 to 180

    Notes
    -----
    From the Frobenius norm, ||R1 - R2|| = 2 sqrt(2) sin(angle / 2), near 0, and from the
    trace near 180 degrees. Either alone loses half of the digits at one end.

    Examples
    --------
    >>> quarter = rotation_from_vector([0.0, 0.0, np.pi / 2])
    >>> float(angular_distance_deg(quarter, np.eye(3)).round(9))
    90.0
    """
    first, second = np.asarray(R1, np.float64), np.asarray(R2, np.float64)
    half_sine = np.linalg.norm(first - second, axis=(-2, -1)) / np.sqrt(8.0)
    trace = np.sum(first * second, axis=(-2, -1))
    half_cosine = np.sqrt(np.maximum(trace + 1.0, 0.0)) / 2.0
    return np.asarray(np.degrees(2.0 * np.arctan2(half_sine, half_cosine)))


def nearest_rotation(M: ArrayLike) -> Floats:
    """Rotation matrices (..., 3, 3) nearest to M in the Frobenius norm (determinant +1).

    Solved by the singular value decomposition M = U S V^T: the answer is U V^T, with the
    last singular direction turned over where that would be a reflection (Kabsch 1976).
    """
    u, _, vt = np.linalg.svd(np.asarray(M, np.float64))
    sign = np.where(np.linalg.det(u @ vt) < 0.0, -1.0, 1.0)
    u = u.copy()
    u[..., :, 2] *= sign[..., None]
    return np.asarray(u @ vt)


def turn_of_z_to(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shortest rotation (3, 3) that takes the z axis to a direction (3,), of any length."""
    unit = direction / np.linalg.norm(direction)
    axis = np.cross([0.0, 0.0, 1.0], unit)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return np.eye(3) if unit[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return rotation_from_vector(axis / sine * np.arctan2(sine, float(unit[2])))
