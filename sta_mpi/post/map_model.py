"""FSC of a map against the density of an atomic model.

Against a model without noise the FSC is the correlation with the truth, C = sqrt(2 F / (1 + F)) in
terms of the half-map FSC F, so 0.5 is the threshold that goes with 0.143 (Rosenthal & Henderson
2003). Maps that are not cubes are padded to one.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.signal.fsc import fsc

Map = NDArray[np.float32]
Floats = NDArray[np.float64]

MODEL_THRESHOLD = 0.5


def pad_to_cube(map_: Map) -> tuple[Map, tuple[int, int, int]]:
    """Pad a map to a cube of even edge.

    Returns
    -------
    cube : (n, n, n) float32       the mean of the map's faces outside
    before_xyz : (3,) int          voxels added in front of x, y and z
    """
    n = max(map_.shape) + max(map_.shape) % 2
    before = [(n - edge) // 2 for edge in map_.shape]
    faces = [np.take(map_, i, axis=axis).ravel() for axis in range(3) for i in (0, -1)]
    outside = float(np.concatenate(faces).mean(dtype=np.float64))
    cube = np.full((n, n, n), outside, np.float32)
    inside = tuple(slice(b, b + edge) for b, edge in zip(before, map_.shape, strict=True))
    cube[inside] = map_
    return cube, (before[2], before[1], before[0])


def map_model_fsc(map_: Map, model_map: Map, mask: Map) -> Floats:
    """FSC of a map and a model's density, both under one soft mask around the model.

    Parameters
    ----------
    map_, model_map, mask : (n, n, n) float32

    Notes
    -----
    The mean inside the mask is removed from the map first: a flat offset under the mask would
    correlate with the shape of the mask.
    """
    weight = mask.astype(np.float64)
    total = weight.sum()
    level = [float((m * weight).sum() / total) for m in (map_, model_map)]
    return fsc(((map_ - level[0]) * mask).astype(np.float32),
               ((model_map - level[1]) * mask).astype(np.float32))
