"""Maps between PEET's axes and ours: PEET's symmetry axis is y, ours z.

A point x of our reference is the point Rx(-90) x of PEET's (`geometry.peet`): our z axis is its y
axis. About the centre voxel n // 2 that is an exchange of axes and a reversal of one, without any
interpolation.
"""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]


def from_peet_map(data: Map) -> Map:
    """A map (n, n, n) [z, y, x] in PEET's axes, in ours."""
    return np.ascontiguousarray(_reversed_z(data).swapaxes(0, 1))


def to_peet_map(data: Map) -> Map:
    """A map (n, n, n) [z, y, x] in our axes, in PEET's; inverse of `from_peet_map`."""
    return np.ascontiguousarray(_reversed_z(data.swapaxes(0, 1)))


def _reversed_z(data: Map) -> Map:
    """z to -z about voxel n // 2 (for even n the plane without a mate goes round)."""
    turned = data[::-1]
    return np.roll(turned, 1, axis=0) if len(data) % 2 == 0 else turned


def fitted_box(data: Map, size_px: int) -> Map:
    """A map of any shape cropped, or padded with the mean of its faces, to a cube about its
    centre voxel."""
    faces = [np.take(data, i, axis).ravel() for axis in range(3) for i in (0, -1)]
    out = np.full((size_px,) * 3, np.float32(np.concatenate(faces).mean(dtype=np.float64)))
    source, target = [], []
    for n in data.shape:
        offset = size_px // 2 - n // 2
        source.append(slice(max(-offset, 0), min(n, size_px - offset)))
        target.append(slice(max(offset, 0), max(offset, 0) + source[-1].stop - source[-1].start))
    out[tuple(target)] = data[tuple(source)]
    return out


def cropped(data: Map, size_xyz_px: tuple[int, int, int]) -> Map:
    """The inner part of a cube (n, n, n) about its centre voxel."""
    n = len(data)
    own = tuple(slice(n // 2 - s // 2, n // 2 - s // 2 + s) for s in size_xyz_px[::-1])
    return np.ascontiguousarray(data[own])
