"""PEET's orientations.

A motive list holds three Euler angles, in the order of the turns z1, x2, z3 here (in the file
the columns stand as z1, z3, x2), with

    R = Rz(z3) Rx(x2) Rz(z1)        (active, right-handed, acting on xyz columns)

which turns the reference into the tomogram; a particle's twist axis, PEET's symmetry axis, is
R (0, 1, 0). Ours, and RELION's, is z: the reference is turned with it by the turn about x that
takes y to z, so that R_p2t = R Rx(-90). Source: PEET's files and two independent readers of
them, named in the project's specification.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.geometry.euler import euler_from_matrix, matrix_from_euler

Floats = NDArray[np.float64]

_Z_TO_Y = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Rx(-90): takes z to y."""


def rotation_from_peet_euler(z1_x2_z3_deg: ArrayLike) -> Floats:
    """Matrices (..., 3, 3), reference to tomogram, of angles (..., 3) [degrees].

    Examples
    --------
    >>> rotation_from_peet_euler([0.0, 90.0, 0.0]).round(6) @ [0.0, 1.0, 0.0]
    array([0., 0., 1.])
    """
    return matrix_from_euler(np.asarray(z1_x2_z3_deg, np.float64)[..., ::-1], "ZXZ")


def peet_euler_from_rotation(R: ArrayLike) -> Floats:
    """Angles z1, x2, z3 (..., 3) [degrees] of matrices, x2 in [0, 180]; where x2 is 0 or 180,
    z1 is 0."""
    return euler_from_matrix(R, "ZXZ")[..., ::-1]


def rotation_from_slicer(xyz_deg: ArrayLike) -> Floats:
    """Matrices (..., 3, 3), reference to tomogram, of 3dmod's slicer angles X, Y, Z (..., 3).

    A slicer view turns the volume by Rx(X) Ry(Y) Rz(Z); this is the inverse.
    """
    return matrix_from_euler(-np.asarray(xyz_deg, np.float64)[..., ::-1], "ZYX")


def rp2t_from_peet(R: ArrayLike, y_is_axis: bool = True) -> Floats:
    """`R_p2t` (..., 3, 3) for a reference whose axis is z, of PEET's matrices.

    Parameters
    ----------
    R : (..., 3, 3)     reference to tomogram, the reference's axis along y
    y_is_axis : bool    False: the reference stays as PEET has it, R_p2t = R
    """
    matrices = np.asarray(R, np.float64)
    return matrices @ _Z_TO_Y if y_is_axis else matrices.copy()


def peet_from_rp2t(R_p2t: ArrayLike, y_is_axis: bool = True) -> Floats:
    """PEET's matrices (..., 3, 3) of `R_p2t`; inverse of `rp2t_from_peet`."""
    matrices = np.asarray(R_p2t, np.float64)
    return matrices @ _Z_TO_Y.T if y_is_axis else matrices.copy()
