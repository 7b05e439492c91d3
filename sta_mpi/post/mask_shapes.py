"""Shapes of masks: around the atoms of a model, logic of several masks, a central stretch.

Shapes are boolean [z, y, x]; a soft mask stands for the voxels where it is at least 1/2. The
soft edge comes last (`signal.masks.soft_edge`), so that a combined mask has one edge all around.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sta_mpi.errors import InputError
from sta_mpi.signal.filters import raised_cosine_lowpass

Mask = NDArray[np.float32]
Shape = NDArray[np.bool_]
Floats = NDArray[np.float64]

BODY = 0.5
"""A voxel belongs to a soft mask from this value on."""


def body(mask: Mask) -> Shape:
    """Voxels that belong to a soft mask."""
    return np.asarray(mask >= BODY)


def shape_of_atoms(xyz_A: Floats, radius_A: float, shape_zyx: tuple[int, int, int],
                   voxel_A: float, first_voxel_A: ArrayLike = (0.0, 0.0, 0.0)) -> Shape:
    """Voxels whose centre lies within a radius of any atom.

    Parameters
    ----------
    xyz_A : (m, 3) float64        atoms
    radius_A : float
    shape_zyx : (3,) int          of the map
    voxel_A : float
    first_voxel_A : (3,) float    xyz of voxel [0, 0, 0] in the frame of the atoms

    Returns
    -------
    (nz, ny, nx) bool

    Raises
    ------
    InputError
        When no atom is near the box.
    """
    first_A = np.asarray(first_voxel_A, np.float64)
    place = (np.asarray(xyz_A, np.float64) - first_A) / voxel_A
    nearest = np.rint(place).astype(np.int64)
    size = np.array(shape_zyx[::-1])
    reach = int(np.ceil(radius_A / voxel_A)) + 1
    out = np.zeros(shape_zyx, bool)
    steps = np.arange(-reach, reach + 1)
    for offset in np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3):
        voxel = nearest + offset
        near = ((voxel - place) ** 2).sum(axis=1) * voxel_A**2 <= radius_A**2
        x, y, z = voxel[near & ((voxel >= 0) & (voxel < size)).all(axis=1)].T
        out[z, y, x] = True
    if not out.any():
        centre = np.asarray(xyz_A).mean(axis=0)
        raise InputError(
            "no atom of the model lies in the map: the centre of the model is at "
            f"({centre[0]:.1f}, {centre[1]:.1f}, {centre[2]:.1f}) Å, the map reaches from "
            f"{_text(first_A)} to {_text(first_A + size * voxel_A)} Å. "
            "Fit the model into the map first, or mend the origin in its header.")
    return out


def combine(start: Shape | None, *, and_: Sequence[Shape] = (), or_: Sequence[Shape] = (),
            minus: Sequence[Shape] = (), invert: bool = False) -> Shape:
    """Logic of shapes: first all `or_`, then all `and_`, then `minus`, then `invert`.

    Without `start` the first of `or_`, else of `and_`, begins.

    Examples
    --------
    >>> a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    >>> combine(a, or_=[b]).tolist(), combine(a, minus=[b]).tolist()
    ([True, True, True, False], [True, False, False, False])
    """
    or_, and_ = list(or_), list(and_)
    if start is None:
        if not or_ + and_:
            raise InputError("there is no mask to begin with. Give a map, a shape, a model or "
                             "another mask (--map, --shape, --model, --or-mask).")
        start = (or_ or and_).pop(0)
    for name, other in [(k, m) for k, group in (("or", or_), ("and", and_), ("minus", minus))
                        for m in group]:
        if other.shape != start.shape:
            raise InputError(f"mask to combine by '{name}' has shape {other.shape} (z, y, x), the "
                             f"first one {start.shape}. Resample it.")
    out = start.copy()
    for other in or_:
        out |= other
    for other in and_:
        out &= other
    for other in minus:
        out &= ~other
    return ~out if invert else out


def central_stretch(shape: Shape, share: float) -> Shape:
    """The shape within the central share (0 to 1) of the box along z, for filaments."""
    n = shape.shape[0]
    z = np.arange(n) - n // 2
    return np.asarray(shape & (np.abs(z) <= share * n / 2)[:, None, None])


def surface_distance(mask: Mask) -> Floats:
    """Distance of every voxel from the surface (at 1/2) of a mask [px]; negative inside.

    The surface lies half a voxel from the voxels on either side of it. Two distance transforms.
    """
    inside = body(mask)
    if inside.all() or not inside.any():
        return np.full(mask.shape, -np.inf if inside.any() else np.inf)
    return np.asarray(np.where(inside, 0.5 - ndimage.distance_transform_edt(inside),
                               ndimage.distance_transform_edt(~inside) - 0.5))


def grown(distance_px: Floats, by_px: float, edge_px: float) -> Mask:
    """A mask whose surface is moved outward (or inward, negative), with a new edge.

    Parameters
    ----------
    distance_px : array       from `surface_distance`
    by_px : float
    edge_px : float           raised cosine, centred on the moved surface
    """
    return raised_cosine_lowpass(distance_px, by_px, edge_px).astype(np.float32)


def touches_border(shape: Shape) -> bool:
    """Whether a shape reaches the outermost voxels of its box."""
    return any(bool(np.take(shape, [0, -1], axis=axis).any()) for axis in range(3))


def _text(xyz: Floats) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in xyz) + ")"
