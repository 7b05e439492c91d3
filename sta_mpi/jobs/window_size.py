"""How much more than its box is cut of a particle, so that the CTF can be undone in it.

A tilt whose dose has damped the high frequencies needs less room than the first ones
(docs/decisions/0104).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.dose_limits import dose_limits
from sta_mpi.data import TiltSeries

N_EDGES = 3
"""Sizes of windows: each takes plans and buffers, and more of them save little."""

DAMPED = 0.01
"""Share of its power that signal has left at the frequency up to which a window has room."""


def cut_size_px(box_px: int, voxel_A: float, series: Sequence[TiltSeries]) -> int:
    """Patch edge that holds the box and the delocalisation of the CTF.

    A component of spatial frequency s is displaced by wavelength * defocus * s; at Nyquist
    of the binned image that is the farthest that signal of the box lies outside of it.
    """
    farthest_A = max(_spread_A2(ts) for ts in series) / (2 * voxel_A)
    return fast_even_size(box_px + 2 * math.ceil(farthest_A / voxel_A))


def window_edges_px(box_px: int, cut_px: int, voxel_A: float, series: TiltSeries,
                    has_dose_weighting: bool) -> NDArray[np.intp]:
    """Edge (n_tilts,) of the window of each tilt: one of a few sizes up to `cut_px`.

    It holds the delocalisation up to the frequency at which the dose of the tilt leaves `DAMPED` of
    the power of the signal. Samples beyond it count as little in averages and searches.
    """
    if not has_dose_weighting:
        return np.full(series.n_tilts, cut_px)
    limits = dose_limits(series.pre_dose_e_per_A2, cut_px, voxel_A, DAMPED,
                         series.b_factor_per_dose_A2, series.ctf_b_factor_A2)
    farthest_px = _spread_A2(series) * limits / (cut_px * voxel_A) / voxel_A
    margin = (cut_px - box_px) / N_EDGES
    sizes = np.unique([min(cut_px, fast_even_size(box_px + math.ceil(i * margin)))
                       for i in range(1, N_EDGES + 1)])
    wanted = np.searchsorted(sizes, box_px + 2 * np.ceil(farthest_px))
    return sizes[np.minimum(wanted, len(sizes) - 1)]


def _spread_A2(series: TiltSeries) -> float:
    """Distance [Å] a frequency [1/Å] by which the CTF displaces what it shows."""
    return float(series.optics.wavelength_A * np.max(np.abs(series.defocus_u_A), initial=0.0))


def fast_even_size(least: int) -> int:
    """The smallest even number >= least whose prime factors are 2, 3 and 5."""
    n = least + least % 2
    while _rest(n) != 1:
        n += 2
    return n


def _rest(n: int) -> int:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n
