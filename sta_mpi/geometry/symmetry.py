"""Point groups as sets of rotation matrices, in RELION's (Xmipp's) standard settings.

A map V with symmetry group G satisfies V(x) = V(S x) for every S in G, so a particle
whose orientation is R_p2t is just as well described by R_p2t S: symmetry acts on the
right, in the particle's own axes.

Settings (axes in particle xyz): Cn along z; Dn with n along z and 2 along x; T with 3
along z and 2 along (0, sqrt(2/3), sqrt(1/3)); O with 4 along z and 3 along (1, 1, 1);
I1 to I4 as below, "I" being I2. Groups with mirrors do not exist for particles and are
refused. Source: the conventions page and symmetry tables of RELION, shared with Xmipp.
"""

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import nearest_rotation, rotation_from_vector

Floats = NDArray[np.float64]

_SAME = 1e-6
"""Largest difference of matrix entries of one operator; distinct operators differ by > 0.1."""

_GOLDEN = (1.0 + np.sqrt(5.0)) / 2.0
_FIVEFOLD_TO_TWOFOLD_DEG = np.degrees(np.arctan(1.0 / _GOLDEN))
"""31.717 degrees, between a 2-fold axis of an icosahedron and the nearest 5-fold axis."""

_ICOSAHEDRAL_TURN_DEG = {
    # Turn about y that takes I2 (2-fold axes along x, y, z; 5-fold nearest to z in the xz
    # plane, towards +x) into each setting.
    "I": 0.0,
    "I1": 90.0,
    "I2": 0.0,
    "I3": -_FIVEFOLD_TO_TWOFOLD_DEG,
    "I4": _FIVEFOLD_TO_TWOFOLD_DEG,
}


def symmetry_matrices(name: str) -> Floats:
    """Rotation matrices of a point group.

    Parameters
    ----------
    name : str
        "C1", "C6", "D2", "T", "O", "I", "I1" to "I4"; case does not matter.

    Returns
    -------
    (n, 3, 3) float64, identity first, in a fixed order

    Raises
    ------
    InputError
        For a name that is not one of these.

    Examples
    --------
    >>> [len(symmetry_matrices(name)) for name in ("C1", "C6", "D2", "T", "O", "I1")]
    [1, 6, 4, 12, 24, 60]
    """
    kind = name.strip().upper()
    if match := re.fullmatch(r"([CD])([1-9]\d{0,2})", kind):
        cyclic = _turns(np.array([0.0, 0.0, 1.0]), int(match[2]))
        if match[1] == "C":
            return cyclic
        return np.concatenate([cyclic, cyclic @ np.diag([1.0, -1.0, -1.0])])
    if kind == "T":
        return _generate([_turns(np.array([0.0, 0.0, 1.0]), 3)[1],
                          _turns(np.sqrt([0.0, 2.0 / 3.0, 1.0 / 3.0]), 2)[1]])
    if kind == "O":
        return _generate([_turns(np.array([0.0, 0.0, 1.0]), 4)[1],
                          _turns(np.sqrt([1.0 / 3.0] * 3), 3)[1]])
    if kind in _ICOSAHEDRAL_TURN_DEG:
        return _icosahedral(_ICOSAHEDRAL_TURN_DEG[kind])
    raise InputError(
        f"symmetry '{name}' is not known: use C1, C2 ... C999, D1 ... D999, T, O or "
        "I1 to I4 (I is I2). Groups with mirrors cannot be the symmetry of a particle.")


def expand(R_p2t: ArrayLike, symmetry: str) -> Floats:
    """All orientations that symmetry makes equivalent to R_p2t.

    Parameters
    ----------
    R_p2t : (..., 3, 3)
    symmetry : str

    Returns
    -------
    (..., n, 3, 3) float64, R_p2t S; the given orientation first
    """
    return np.asarray(R_p2t, np.float64)[..., None, :, :] @ symmetry_matrices(symmetry)


def is_group(matrices: ArrayLike) -> bool:
    """Whether rotations (n, 3, 3) are distinct, hold the identity and every product."""
    group = np.asarray(matrices, np.float64)
    if not np.allclose(group @ np.swapaxes(group, 1, 2), np.eye(3), atol=_SAME):
        return False
    if not _holds(group, np.eye(3)):
        return False
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
    differences = np.abs(products[:, None] - group.reshape(1, -1, 9)).max(axis=-1)
    return bool(((differences < _SAME).sum(axis=1) == 1).all())


def _turns(axis: Floats, fold: int) -> Floats:
    """The n turns about one axis, identity first: (fold, 3, 3)."""
    angles = 2.0 * np.pi * np.arange(fold) / fold
    return rotation_from_vector(angles[:, None] * axis)


def _icosahedral(turn_about_y_deg: float) -> Floats:
    """The 60 rotations of I2, turned about y."""
    turn = rotation_from_vector([0.0, np.radians(turn_about_y_deg), 0.0])
    two = np.array([0.0, 0.0, 1.0])
    five = np.array([1.0, 0.0, _GOLDEN]) / np.sqrt(1.0 + _GOLDEN**2)
    return _generate([_turns(turn @ two, 2)[1], _turns(turn @ five, 5)[1]])


def _generate(generators: list[Floats]) -> Floats:
    """Close a set of generators under multiplication, identity first, breadth first."""
    members = [np.eye(3)]
    i_next = 0
    while i_next < len(members):
        for generator in generators:
            product = nearest_rotation(members[i_next] @ generator)
            if not _holds(np.array(members), product):
                members.append(product)
        i_next += 1
    return np.array(members)


def _holds(group: Floats, matrix: Floats) -> bool:
    return bool((np.abs(group - matrix).max(axis=(1, 2)) < _SAME).any())
