"""Slicer angles that 3dmod keeps in a model (chunks SLAN), and the particles they orient.

A view with angles X, Y, Z shows the volume turned by Rx(X) Ry(Y) Rz(Z); a particle seen in the
reference's orientation there has R = Rz(-Z) Ry(-Y) Rx(-X), reference to tomogram. Source: 3dmod's
own matrices.
"""

import struct

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.errors import FormatError
from sta_mpi.formats.foreign_particles import ForeignParticles, VolumeGrid
from sta_mpi.formats.imod_model import FLIPPED_YZ, ImodModel, model_points_px
from sta_mpi.geometry.peet import rotation_from_slicer, rp2t_from_peet

Floats = NDArray[np.float64]

_SLAN_BYTES = 60
_NEAR_PX = 5.0
"""Farthest that the centre of a view may be from the point that it was chosen for."""


def slicer_views(model: ImodModel) -> tuple[Floats, Floats]:
    """Angles X, Y, Z (n, 3) [degrees] and centres xyz (n, 3) [px, to about half a pixel]."""
    angles, centres = [], []
    for name, data in model.chunks:
        if name != b"SLAN":
            continue
        if len(data) != 4 + _SLAN_BYTES:
            raise FormatError(f"slicer angles of {len(data) - 4} bytes, expected {_SLAN_BYTES}. "
                              "The model is damaged.")
        values = struct.unpack_from(">6f", data, 8)
        angles.append(values[:3])
        centres.append(values[3:])
    return np.array(angles, np.float64).reshape(-1, 3), np.array(centres).reshape(-1, 3)


def particles_of_model(model: ImodModel, name: str, y_is_axis: bool = True) -> ForeignParticles:
    """Points of a model's first object, turned by the slicer views that belong to them.

    Views are used where every point has one of its own within 5 pixels; otherwise particles are
    not turned, and views that there are count as lost.
    """
    points = model_points_px(model)
    n = len(points)
    angles, centres = slicer_views(model)
    view = _matched(points, centres)
    R = np.tile(np.eye(3), (n, 1, 1))
    lost = []
    if view is not None:
        R = rp2t_from_peet(rotation_from_slicer(angles[view]), y_is_axis)
    elif len(angles):
        lost.append(f"{len(angles)} slicer angles: not one for each of {n} points")
    if len(model.objects) > 1:
        lost.append(f"objects 2 to {len(model.objects)} of the model")
    x, y, z = model.image_size_px
    size = (x, z, y) if model.flags & FLIPPED_YZ else (x, y, z)
    grid = VolumeGrid(size if min(size) > 0 else None, model.pixel_A)
    return ForeignParticles(
        [name], np.zeros(n, np.int32), points, np.zeros((n, 3)), R, np.full(n, np.nan),
        np.zeros(n, np.int64), np.zeros(n, np.int8), np.full(n, model.pixel_A or np.nan),
        {name: grid}, lost)


def _matched(points: Floats, centres: Floats) -> NDArray[np.intp] | None:
    """View of every point; None where views and points do not belong together one by one."""
    if len(points) != len(centres) or not len(points):
        return None
    distance, nearest = cKDTree(centres).query(points)
    if distance.max() > _NEAR_PX or len(np.unique(nearest)) != len(points):
        return None
    return np.asarray(nearest, np.intp)
