"""Half-sets of particles that lie together: neighbours never meet across the halves.

Particles whose boxes overlap share pixels, and with them noise. Where neighbours are in
different half-sets, this common noise passes for signal in the FSC of the half maps. Clusters
(a virus-like particle, a lattice patch) therefore go to one half as a whole.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

Floats = NDArray[np.float64]

LARGEST_SHARE = 0.5
"""Clusters with more than this share of all particles are cut: whole, they leave no halves."""


def cluster_labels(position_A: Floats, group: NDArray[np.intp], distance_A: float
                   ) -> NDArray[np.intp]:
    """Label (n,) of each particle's cluster: chains of neighbours within a distance.

    Parameters
    ----------
    position_A : (n, 3) float64
    group : (n,) int            tomogram of each particle; clusters do not cross tomograms
    distance_A : float          largest distance of neighbours

    Notes
    -----
    Clusters that are too large for two balanced halves are cut at the median of their longest
    axis until they are not; neighbours along the cut then are in different clusters.
    """
    n = len(position_A)
    labels = np.zeros(n, np.intp)
    next_label = 0
    for g in np.unique(group):
        rows = np.flatnonzero(group == g)
        pairs = KDTree(position_A[rows]).query_pairs(distance_A, output_type="ndarray")
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])),
                          shape=(len(rows), len(rows)))
        count, own = connected_components(graph, directed=False)
        for c in range(count):
            for part in _patches(position_A, rows[own == c], max(1, int(LARGEST_SHARE * n))):
                labels[part] = next_label
                next_label += 1
    return labels


def _patches(position_A: Floats, rows: NDArray[np.intp], most: int) -> list[NDArray[np.intp]]:
    """Rows cut into patches of at most `most`."""
    if len(rows) <= most:
        return [rows]
    centred = position_A[rows] - position_A[rows].mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = np.argsort(centred @ axis, kind="stable")
    middle = len(rows) // 2
    return (_patches(position_A, rows[order[:middle]], most)
            + _patches(position_A, rows[order[middle:]], most))


def halves_of_clusters(labels: NDArray[np.intp], seed: int) -> NDArray[np.int8]:
    """Half-set 1 or 2 of every particle, clusters whole, both halves as equal as can be.

    Largest clusters first, each to the half that is smaller so far; ties by chance.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0xC1A57]))
    names, sizes = np.unique(labels, return_counts=True)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, half = [0, 0], np.zeros(len(labels), np.int8)
    for i in order:
        h = int(filled[1] < filled[0]) if filled[0] != filled[1] else int(rng.integers(2))
        half[labels == names[i]] = h + 1
        filled[h] += int(sizes[i])
    return half


def shared_share(position_A: Floats, group: NDArray[np.intp], half: NDArray[np.int8],
                 distance_A: float) -> float:
    """Share of particles with a neighbour within a distance in the other half-set."""
    touched = np.zeros(len(half), bool)
    for g in np.unique(group):
        rows = np.flatnonzero(group == g)
        pairs = KDTree(position_A[rows]).query_pairs(distance_A, output_type="ndarray")
        crossing = pairs[half[rows[pairs[:, 0]]] != half[rows[pairs[:, 1]]]]
        touched[rows[crossing.ravel()]] = True
    return float(touched.mean()) if len(half) else 0.0


def collapsed_share(before_A: Floats, after_A: Floats, group: NDArray[np.intp]) -> float:
    """Share of particles that have moved onto a neighbour.

    Parameters
    ----------
    before_A, after_A : (n, 3) float64    positions of the same particles
    group : (n,) int                      tomogram of each particle

    Notes
    -----
    A particle counts when its nearest neighbour is now within half of the median distance of
    nearest neighbours before, and was not.

    Examples
    --------
    >>> line = np.arange(4.0)[:, None] * [10.0, 0.0, 0.0]
    >>> moved = line.copy()
    >>> moved[1] = [2.0, 0.0, 0.0]
    >>> collapsed_share(line, moved, np.zeros(4, int))
    0.5
    """
    before, after = (_nearest(p, group) for p in (before_A, after_A))
    if not np.isfinite(before).any():
        return 0.0
    close = 0.5 * float(np.median(before[np.isfinite(before)]))
    return float(np.mean((after < close) & (before >= close)))


def _nearest(position_A: Floats, group: NDArray[np.intp]) -> Floats:
    """Distance (n,) to the nearest particle of the same group; infinity for one alone."""
    found = np.full(len(position_A), np.inf)
    for g in np.unique(group):
        rows = np.flatnonzero(group == g)
        if len(rows) > 1:
            found[rows] = KDTree(position_A[rows]).query(position_A[rows], 2)[0][:, 1]
    return found
