"""Local resolution: the FSC of small windows, judged against windows that have nothing in common.

Both half maps are whitened (divided by the root of their mean radial power), so that no strong low
frequency leaks through the window into the others. At each point a ball with a cosine profile
cuts both maps and their FSC is taken (Cardone et al. 2013, J. Struct. Biol. 184, 226).

A window has few independent samples, so its FSC scatters widely: noise exceeds 0.143 often. The
scatter is measured, not assumed: windows of half map 1 at one place are compared with windows of
half map 2 at *other* places (a permutation of places), where the true FSC is zero. In each shell
the threshold is the larger of the nominal one and the (1 - significance) quantile of these.
The resolution of a window is where its curve first falls below that threshold. Curves are
smoothed over neighbouring shells (1, 2, 1)/4, which the window correlates anyway, and the
search starts at the first shell where noise reaches no more than 0.5: before it, the few samples of
a shell tell nothing.

Curves depend on their own window alone, so they are the same on any number of ranks.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.kernels.shells import shell_sums
from sta_mpi.signal.filters import radial_map
from sta_mpi.signal.fsc import fsc_from_sums
from sta_mpi.signal.masks import soft_sphere

Map = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

LEAST_WINDOW_PX = 12

TELLING_THRESHOLD = 0.5
"""The search for the crossing starts where the threshold has come down to this."""


@dataclass(frozen=True)
class LocalWindow:
    """The window that local curves are taken in.

    Parameters
    ----------
    profile : (w, w, w) float32    cosine ball
    diameter_px : int
    """

    profile: Map
    diameter_px: int

    @property
    def edge_px(self) -> int:
        """Edge w of the cut cube."""
        return int(self.profile.shape[0])

    @property
    def n_shells(self) -> int:
        """Shells of a curve, w // 2 + 1."""
        return self.edge_px // 2 + 1


def make_window(diameter_px: int) -> LocalWindow:
    """Ball that falls as a cosine from 1 at its centre to 0 at its radius, in a quick FFT cube."""
    diameter_px = max(int(diameter_px), LEAST_WINDOW_PX)
    edge = scipy.fft.next_fast_len(diameter_px + diameter_px % 2, real=True)
    edge += edge % 2
    return LocalWindow(soft_sphere(edge, 0.0, diameter_px / 2.0), diameter_px)


def whiten_halves(map1: Map, map2: Map) -> tuple[Map, Map]:
    """Divide both half maps by the root of their mean power in each shell."""
    rft = [np.asarray(scipy.fft.rfftn(m, workers=1), np.complex64) for m in (map1, map2)]
    sums = shell_sums(rft[0], rft[1])
    root = np.sqrt(0.5 * (sums.power_a + sums.power_b) / np.maximum(sums.count, 1.0))
    # shells that a filter has emptied must not be blown up to the level of the others
    factor = np.divide(1.0, root, out=np.zeros_like(root), where=root > 1e-6 * root[1:].max())
    factor[0] = 0.0
    return radial_map(map1, factor), radial_map(map2, factor)


def lattice_points(mask: NDArray[np.bool_], step_px: int) -> Ints:
    """Points of a cubic lattice through the centre voxel that lie in a mask, (m, 3) zyx."""
    axes = []
    for edge in mask.shape:
        start = (edge // 2) % step_px
        axes.append(np.arange(start, edge, step_px))
    zyx = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return np.asarray(zyx[mask[tuple(zyx.T)]], np.intp)


def pad_for_windows(map_: Map, window: LocalWindow) -> Map:
    """Zeros around a map so that every window fits; window of voxel p then starts at p."""
    half = window.edge_px // 2
    return np.pad(np.asarray(map_, np.float32), half)


def windowed_fsc(padded1: Map, padded2: Map, places1: Ints, places2: Ints, window: LocalWindow
                 ) -> Floats:
    """FSC of windows of half map 1 at `places1` and of half map 2 at `places2`.

    Parameters
    ----------
    padded1, padded2 : maps from `pad_for_windows`
    places1, places2 : (m, 3) intp   centres, zyx; the same for local resolution

    Returns
    -------
    (m, n_shells) float64; NaN for windows without power (outside of a map that was masked)
    """
    curves = np.full((len(places1), window.n_shells), np.nan)
    for i, (first, second) in enumerate(zip(places1, places2, strict=True)):
        cut = [np.asarray(scipy.fft.rfftn(_cut(m, p, window), workers=1), np.complex64)
               for m, p in ((padded1, first), (padded2, second))]
        sums = shell_sums(cut[0], cut[1])
        if sums.power_a[1:].sum() > 0.0 and sums.power_b[1:].sum() > 0.0:
            curves[i] = _smooth(fsc_from_sums(sums))
    return curves


def permuted_places(inside: Ints, anywhere: Ints, n_pairs: int, distance_px: float,
                    rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of places whose windows share nothing, for the null distribution.

    Parameters
    ----------
    inside : (m, 3)      points of the mask: first partners, and second ones where enough of them
                         are far apart
    anywhere : (k, 3)    points of the whole box, used for second partners otherwise
    n_pairs : int
    distance_px : float  least distance of two partners, the diameter of the window

    Returns
    -------
    first, second : (n_pairs, 3) intp

    Notes
    -----
    Where the box is too small for that distance, the farthest of many draws is taken.
    """
    first = inside[rng.integers(len(inside), size=n_pairs)]
    near = cKDTree(inside).query_ball_point(first, distance_px, return_length=True)
    pool = inside if np.mean(near < len(inside)) > 0.9 else anywhere
    draws = pool[rng.integers(len(pool), size=(n_pairs, 32))]
    distance = np.linalg.norm(draws - first[:, None], axis=2)
    far = distance >= distance_px
    chosen = np.where(far.any(axis=1), far.argmax(axis=1), distance.argmax(axis=1))
    return first, draws[np.arange(n_pairs), chosen]


def null_threshold(null_curves: Floats, threshold: float, significance: float) -> Floats:
    """Threshold of each shell: the nominal one, or the null's quantile where that is higher.

    Parameters
    ----------
    null_curves : (p, n_shells)   curves of permuted places; rows of NaN are left out
    threshold : float             nominal, 0.143 or 0.5
    significance : float          share of noise windows that may pass a shell
    """
    usable = null_curves[np.isfinite(null_curves).all(axis=1)]
    if not len(usable):
        return np.full(null_curves.shape[1], threshold)
    return np.maximum(threshold, np.quantile(usable, 1.0 - significance, axis=0))


def local_frequency(curves: Floats, thresholds: Floats, window: LocalWindow, voxel_A: float
                    ) -> Floats:
    """Frequency [1/A] at which each curve first falls below its threshold.

    Linear between the two shells around the crossing; Nyquist where it never falls, the first
    telling shell where that is below already, NaN for rows of NaN.
    """
    n_shells = curves.shape[1]
    telling = np.flatnonzero(thresholds[1:] <= TELLING_THRESHOLD)
    start = int(telling[0]) + 1 if telling.size else n_shells - 1
    margin = (curves - thresholds)[:, start:]
    below = margin < 0.0
    first = np.where(below.any(axis=1), below.argmax(axis=1), margin.shape[1])
    last = np.maximum(first - 1, 0)
    following = np.minimum(last + 1, margin.shape[1] - 1)
    rows = np.arange(len(curves))
    high, low = margin[rows, last], margin[rows, following]
    crosses = (first > 0) & (first < margin.shape[1])
    step = np.where(crosses, high / np.where(high > low, high - low, 1.0), 0.0)
    shell = np.where(np.isfinite(curves).all(axis=1), start + last + step, np.nan)
    return np.asarray(shell / (window.edge_px * voxel_A))


def _smooth(curve: Floats) -> Floats:
    """(1, 2, 1)/4 over neighbouring shells; shell 0, which is 1 by definition, is left out."""
    body = np.concatenate([curve[1:2], curve[1:], curve[-1:]])
    return np.concatenate([curve[:1], 0.25 * body[:-2] + 0.5 * body[1:-1] + 0.25 * body[2:]])


def _cut(padded: Map, place: Ints, window: LocalWindow) -> Map:
    z, y, x = place
    w = window.edge_px
    return np.asarray(padded[z:z + w, y:y + w, x:x + w] * window.profile)
