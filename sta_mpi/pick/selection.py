"""Choosing rows of a particle table by numbers; every function returns which rows stay."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keep = NDArray[np.bool_]


def within(values: Floats, low: float | None, high: float | None) -> Keep:
    """Values from low to high, both included; NaN is never within."""
    keep = ~np.isnan(values)
    if low is not None:
        keep &= values >= low
    if high is not None:
        keep &= values <= high
    return np.asarray(keep)


def best(values: Floats, count: int | None = None, share: float | None = None) -> Keep:
    """The `count` rows, or the share of all rows, with the highest values.

    NaN is lowest; of equal values the earlier row stays.

    Examples
    --------
    >>> best(np.array([3.0, 1.0, 2.0, 3.0]), count=2).tolist()
    [True, False, False, True]
    """
    n = len(values)
    wanted = n if count is None else min(count, n)
    if share is not None:
        wanted = min(wanted, round(share * n))
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
    keep = np.zeros(n, bool)
    keep[order[:wanted]] = True
    return keep


def random_subset(n: int, count: int | None, share: float | None, rng: np.random.Generator) -> Keep:
    """`count` rows, or a share of them, drawn at random without repeats."""
    return best(rng.random(n), count, share)


def limit_per_group(group: NDArray[np.integer], values: Floats, least: int | None,
                    most: int | None) -> Keep:
    """Drop groups with fewer than `least` rows, keep the best `most` rows of the others.

    Examples
    --------
    >>> limit_per_group(np.array([0, 0, 0, 1]), np.array([1.0, 3.0, 2.0, 9.0]), 2, 2).tolist()
    [False, True, True, False]
    """
    keep = np.zeros(len(group), bool)
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        if least is not None and len(rows) < least:
            continue
        keep[rows[best(values[rows], most)]] = True
    return keep


def axis_tilt_deg(R_p2t: Floats) -> Floats:
    """Angle (n,) [degrees] of each particle's z axis to that of the tomogram, 0 to 180."""
    return np.degrees(np.arccos(np.clip(R_p2t[:, 2, 2], -1.0, 1.0)))


def in_box(position_A: Floats, low_A: Sequence[float], high_A: Sequence[float]) -> Keep:
    """Positions (n, 3) within a box, both corners included."""
    return np.asarray(((position_A >= low_A) & (position_A <= high_A)).all(axis=1))


def in_volume(position_A: Floats, mask: NDArray[np.floating], voxel_A: float) -> Keep:
    """Positions whose voxel of a tomogram mask is at least 1/2; outside the volume is outside.

    Parameters
    ----------
    position_A : (n, 3) float64    from the centre of the tomogram, which is that of the mask
    mask : (nz, ny, nx)            any binning; half of its size is the centre, as in RELION
    voxel_A : float
    """
    size_xyz = np.array(mask.shape[::-1])
    index = np.floor(position_A / voxel_A + size_xyz / 2.0 + 0.5).astype(np.int64)
    inside = ((index >= 0) & (index < size_xyz)).all(axis=1)
    keep = np.zeros(len(position_A), bool)
    x, y, z = index[inside].T
    keep[inside] = mask[z, y, x] >= 0.5
    return keep


def split(n: int, parts: int | None, size: int | None, order: NDArray[np.intp]
          ) -> list[NDArray[np.intp]]:
    """Rows in parts of nearly equal length, or of `size` (the last one may be shorter).

    Examples
    --------
    >>> [p.tolist() for p in split(5, 2, None, np.arange(5))]
    [[0, 1, 2], [3, 4]]
    """
    if size is not None:
        return [np.sort(order[i : i + size]) for i in range(0, n, size)]
    return [np.sort(part) for part in np.array_split(order, parts or 1)]
