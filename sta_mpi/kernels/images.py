"""What is read off whole tilt images, in one pass each; on the CPU alone."""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel

LANES = 16
"""Sums that run side by side; they are added up in a fixed order."""


@cpu_kernel
def moments(image):
    """(how many, mean, standard deviation) of the pixels of image (h, w) that are numbers.

    Sums are float64, about the first of these pixels. Without any: (0, 0.0, 0.0).
    """
    pivot = 0.0
    for value in image.flat:
        if np.isfinite(value):
            pivot = np.float64(value)
            break
    total, squares, number = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    h, w = image.shape
    whole = w // LANES * LANES
    for y in range(h):
        row = image[y]
        for x in range(0, whole, LANES):
            for lane in range(LANES):
                value = np.float64(row[x + lane])
                is_finite = np.isfinite(value)
                left = value - pivot if is_finite else 0.0
                total[lane] += left
                squares[lane] += left * left
                number[lane] += 1.0 if is_finite else 0.0
        for x in range(whole, w):
            value = np.float64(row[x])
            if np.isfinite(value):
                total[0] += value - pivot
                squares[0] += (value - pivot) ** 2
                number[0] += 1.0
    n = max(number.sum(), 1.0)
    mean = total.sum() / n
    variance = max(squares.sum() / n - mean * mean, 0.0)
    return np.int64(number.sum()), pivot + mean, np.sqrt(variance)


@cpu_kernel
def add_shell_power(spectrum, shell, weight, power):
    """Add weight |spectrum|^2 of a half transform (n, n//2+1) to power (shells,) float64.

    shell is (n, n//2+1), weight (n//2+1,).
    """
    for y in range(spectrum.shape[0]):
        for x in range(spectrum.shape[1]):
            value = spectrum[y, x]
            re, im = np.float64(value.real), np.float64(value.imag)
            power[shell[y, x]] += weight[x] * (re * re + im * im)
