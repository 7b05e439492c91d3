"""Template matching: peaks of score maps, and scores made comparable over depth."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Real = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]

MAD_TO_SD = 1.4826
FEWEST_IN_SLAB = 1000


def local_maxima(scores: Real, allowed: Flags, most: int) -> Ints:
    """Voxels (m, 3) zyx no lower than their 26 neighbours, best first, at most `most`.

    Of equal scores the voxel that comes first in memory is first.
    """
    masked = np.where(allowed, scores, -np.inf)
    highest = ndimage.maximum_filter(masked, size=3, mode="constant", cval=-np.inf)
    points = np.argwhere(allowed & (masked == highest) & np.isfinite(masked))
    values = scores[tuple(points.T)]
    return np.asarray(points[np.argsort(-values, kind="stable")[:most]], np.intp)


def thin_points(position_A: Floats, score: NDArray[np.floating], min_distance_A: float) -> Ints:
    """Rows that stay, best first, when none may be nearer than a distance to a better one.

    Examples
    --------
    >>> thin_points(np.array([[0.0, 0, 0], [1, 0, 0], [9, 0, 0]]), np.array([1.0, 2, 3]), 5.0)
    array([2, 1])
    """
    order = np.argsort(-score, kind="stable")
    if len(order) == 0:
        return np.zeros(0, np.intp)
    near = cKDTree(position_A).query_ball_point(position_A, min_distance_A)
    free = np.ones(len(order), bool)
    kept = []
    for i in order:
        if free[i]:
            kept.append(i)
            free[near[i]] = False
    return np.array(kept, np.intp)


def slab_statistics(best: Real, worst: Real, allowed: Flags, slab_px: int) -> Floats:
    """Median and robust standard deviation (nz, 2) of the scores at every depth.

    Noise scores both ways alike, so the largest scores and the negated smallest ones are taken
    together. A slab with few voxels takes the values of the whole volume.
    """
    def of(rows: slice) -> tuple[float, float]:
        inside = allowed[rows]
        values = np.concatenate([best[rows][inside], -worst[rows][inside]])
        if len(values) < FEWEST_IN_SLAB:
            return np.nan, np.nan
        middle = float(np.median(values))
        return middle, MAD_TO_SD * float(np.median(np.abs(values - middle)))

    nz = len(best)
    whole = of(slice(None))
    whole = whole if np.isfinite(whole[0]) and whole[1] > 0 else (0.0, 1.0)
    half = max(1, slab_px // 2)
    statistics = np.array([of(slice(max(0, z - half), z + half + 1)) for z in range(nz)])
    bad = ~np.isfinite(statistics[:, 0]) | ~(statistics[:, 1] > 0)
    statistics[bad] = whole
    return statistics


def over_slab(score: NDArray[np.floating], z: Ints, statistics: Floats) -> Floats:
    """Scores in robust standard deviations over the median of their depth."""
    middle, sd = statistics[np.clip(z, 0, len(statistics) - 1)].T
    return np.asarray((score - middle) / sd)
