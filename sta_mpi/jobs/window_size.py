"""How much more than its box is cut of a particle, so that the CTF can be undone in it."""

import math
from collections.abc import Sequence

import numpy as np

from sta_mpi.data import TiltSeries


def cut_size_px(box_px: int, voxel_A: float, series: Sequence[TiltSeries]) -> int:
    """Patch edge that holds the box and the delocalisation of the CTF.

    A component of spatial frequency s is displaced by wavelength * defocus * s; at Nyquist
    of the binned image that is the farthest that signal of the box lies outside of it.
    """
    farthest_A = max(
        float(ts.optics.wavelength_A * np.max(np.abs(ts.defocus_u_A), initial=0.0)) / (2 * voxel_A)
        for ts in series)
    return fast_even_size(box_px + 2 * math.ceil(farthest_A / voxel_A))


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
