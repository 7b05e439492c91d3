"""PEET's first orientations: from the axes of tomograms, models or files.

R turns the reference into the tomogram; its y column is the particle's twist axis.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sta_mpi.geometry.rotations import random_rotations

Floats = NDArray[np.float64]

ZERO, ALIGN_Z, ALIGN_XZ, RANDOM, ALIGN_AND_TWIST = range(5)
"""Codes of initMOTL."""


def next_point_axes(contours: Sequence[Floats]) -> Floats:
    """Directions (n, 3) from each point of its contour to the next; the last goes on as the one
    before it, a point alone has y."""
    axes = []
    for points in contours:
        steps = np.diff(points, axis=0)
        steps = np.concatenate([steps, steps[-1:]]) if len(steps) else np.tile(
            [0.0, 1.0, 0.0], (len(points), 1))
        axes.append(_unit(steps))
    return np.concatenate(axes) if axes else np.zeros((0, 3))


def end_point_axes(contours: Sequence[Floats]) -> Floats:
    """Directions (n, 3) from the first to the last point of the contour of each point."""
    axes = [np.tile(_unit((points[-1] - points[0])[None]), (len(points), 1))
            for points in contours if len(points)]
    return np.concatenate(axes) if axes else np.zeros((0, 3))


def first_orientations(code: int, axes: Floats, rng: np.random.Generator) -> Floats:
    """Orientations R (n, 3, 3) for a code of initMOTL.

    Parameters
    ----------
    code : int             0: none; 1: y to the axis by a turn about z alone; 2: by turns about x
                           and z; 3: random; 4: as 2 with a random twist about y
    axes : (n, 3)          twist axes in the tomogram
    rng : numpy Generator
    """
    n = len(axes)
    if code == ZERO:
        return np.tile(np.eye(3), (n, 1, 1))
    if code == RANDOM:
        return random_rotations(n, rng)
    unit = _unit(axes)
    z_deg = np.degrees(np.arctan2(-unit[:, 0], unit[:, 1]))
    x_deg = np.degrees(np.arcsin(np.clip(unit[:, 2], -1, 1)))
    if code == ALIGN_Z:
        x_deg = np.zeros(n)
    turned = Rotation.from_euler("ZX", np.column_stack([z_deg, x_deg]), degrees=True).as_matrix()
    turned = turned.reshape(-1, 3, 3)
    if code != ALIGN_AND_TWIST:
        return turned
    twist = Rotation.from_euler("y", rng.uniform(0, 360, (n, 1)), degrees=True).as_matrix()
    return np.asarray(turned @ twist.reshape(-1, 3, 3))


def _unit(vectors: Floats) -> Floats:
    """Vectors (n, 3) of length 1; y for those without length."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1.0), [0.0, 1.0, 0.0])
