"""Power of weighted samples on the scale of their noise; on the CPU alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.options import cpu_inline, cpu_kernel

FLOOR = 0.1
_LANES = 16


@cpu_inline
def _whitened(re, im, weight, floor):
    bottom = max(np.float32(weight), floor)
    return (re * re + im * im) / bottom if bottom > 0 else np.float32(0.0)


@cpu_kernel
def whitened_power(re, im, weight):
    """Sum of |data|^2 / weight of samples (m, p): their signal-to-noise power, noise included.

    Weights are raised to a tenth of their row's mean: masking in real space spreads data into
    the zeros of the CTF, where their own weight says nothing about them. Sums are float64, in 16
    lanes and always in the same order.
    """
    m, p = weight.shape
    sizes, powers, whole = np.zeros(_LANES), np.zeros(_LANES), p - p % _LANES
    for f in range(m):
        sizes[:] = 0.0
        for start in range(0, whole, _LANES):
            for lane in range(_LANES):
                sizes[lane] += weight[f, start + lane]
        for i in range(whole, p):
            sizes[i - whole] += weight[f, i]
        floor = np.float32(FLOOR * sizes.sum() / p)
        for start in range(0, whole, _LANES):
            for lane in range(_LANES):
                powers[lane] += _whitened(re[f, start + lane], im[f, start + lane],
                                          weight[f, start + lane], floor)
        for i in range(whole, p):
            powers[i - whole] += _whitened(re[f, i], im[f, i], weight[f, i], floor)
    return powers.sum()


def power_of_stored(re: NDArray[Any], im: NDArray[Any], weight: NDArray[Any],
                    data_scale: NDArray[np.float64] | float,
                    weight_scale: NDArray[np.float64] | float) -> float:
    """`whitened_power` of samples (m, p) as they are stored: float32, or float16 times scales."""
    if weight.dtype == np.float16:
        re, im, weight = (x.astype(np.float32) * np.asarray(scale, np.float32) for x, scale in (
            (re, data_scale), (im, data_scale), (weight, weight_scale)))
    return float(whitened_power(re, im, weight))
