"""Dynamo's orientations.

A table holds tdrot, tilt, narot. The matrix Rz(narot) Rx(tilt) Rz(tdrot) (active, right-handed)
takes the particle into the reference, so

    R_p2t = Rz(-tdrot) Rx(-tilt) Rz(-narot)

and in RELION's angles rot = narot - 90, tilt = tilt, psi = tdrot + 90. Source: the conversions
that RELION itself and the package eulerangles carry, which agree; the axes of a real table of
filaments point along them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.geometry.euler import euler_from_matrix, matrix_from_euler

Floats = NDArray[np.float64]


def rotation_from_dynamo_euler(tdrot_tilt_narot_deg: ArrayLike) -> Floats:
    """`R_p2t` (..., 3, 3) of angles (..., 3) [degrees].

    Examples
    --------
    >>> rotation_from_dynamo_euler([0.0, 90.0, 0.0]).round(6) @ [0.0, 0.0, 1.0]
    array([0., 1., 0.])
    """
    return matrix_from_euler(-np.asarray(tdrot_tilt_narot_deg, np.float64), "ZXZ")


def dynamo_euler_from_rotation(R_p2t: ArrayLike) -> Floats:
    """tdrot, tilt, narot (..., 3) [degrees] of matrices (..., 3, 3), tilt in [0, 180]."""
    inverse = np.swapaxes(np.asarray(R_p2t, np.float64), -1, -2)
    return euler_from_matrix(inverse, "ZXZ")[..., ::-1]
