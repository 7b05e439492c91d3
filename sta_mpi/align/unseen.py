"""Particles that judge a map, apart in space from those that made it.

Particles whose boxes overlap share pixels, and so noise: two seeds on either side of a speck can
both be shifted onto it. Random subsets of dense seeds are then not independent. So the judges
are taken from one end of each tomogram, along a random direction, and particles nearer to them
than a gap make no maps.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def unseen_regions(position_A: Floats, i_tomo: NDArray[np.int32], share: float, gap_A: float,
                   rng: np.random.Generator) -> tuple[Rows, Rows]:
    """(makers, judges): rows of both, rising; what is in neither lies between them.

    Parameters
    ----------
    position_A : (n, 3)
    i_tomo : (n,)
    share : float      of each tomogram's particles that judge; at least one
    gap_A : float      makers and judges of a tomogram are this far apart

    Examples
    --------
    >>> line = np.outer(np.arange(10.0), [1.0, 0, 0])
    >>> a, b = unseen_regions(line, np.zeros(10, np.int32), 0.3, 2.5, np.random.default_rng(1))
    >>> a.tolist(), b.tolist()
    ([5, 6, 7, 8, 9], [0, 1, 2])
    """
    makers, judges = [], []
    for tomogram in np.unique(i_tomo):
        rows = np.flatnonzero(i_tomo == tomogram)
        direction = rng.normal(size=3)
        order = np.argsort(position_A[rows] @ direction, kind="stable")
        n = max(1, round(share * len(rows)))
        own, others = rows[order[:n]], rows[order[n:]]
        near = cKDTree(position_A[own]).query(position_A[others])[0] < gap_A if len(others) else \
            np.zeros(0, bool)
        judges.append(own)
        makers.append(others[~near])
    return np.sort(np.concatenate(makers)), np.sort(np.concatenate(judges))
