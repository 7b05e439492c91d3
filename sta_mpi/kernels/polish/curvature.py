"""What the information matrix of a pose says of it, compiled: a volume and standard deviations."""

import math

import numpy as np

from sta_mpi.kernels.options import cpu_kernel


@cpu_kernel
def log_volume(information, is_free, floor):
    """-1/2 log det of the information (6, 6) of the free parameters (6,); NaN without any.

    Eigenvalues are raised to `floor` times the largest of them.
    """
    values = np.linalg.eigvalsh(_free_part(information, is_free))
    if not (np.isfinite(values).all() and len(values) > 0 and values[-1] > 0.0):
        return np.nan
    volume = 0.0
    for value in values:
        volume -= 0.5 * math.log(max(value, floor * values[-1]))
    return volume


@cpu_kernel
def rms_deviations(information, is_free):
    """Rms standard deviation of the free turns and of the free shifts, from the inverse.

    NaN for a kind without a free parameter, and for both where the information (6, 6) of the free
    ones is not positive definite.
    """
    part = _free_part(information, is_free)
    m = len(part)
    scale, L = np.empty(m), np.zeros((m, m))
    for i in range(m):
        if not (part[i, i] > 0.0 and part[i, i] < np.inf):
            return np.nan, np.nan
        scale[i] = 1.0 / math.sqrt(part[i, i])
    for i in range(m):  # Cholesky factor of the scaled matrix
        for j in range(i + 1):
            total = part[i, j] * scale[i] * scale[j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                if not total > 0.0:
                    return np.nan, np.nan
                L[i, i] = math.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
    squares, counts, column, at = np.zeros(2), np.zeros(2), np.empty(m), 0
    for parameter in range(6):
        if not is_free[parameter]:
            continue
        variance = 0.0
        for i in range(at, m):  # L column = unit vector: |column|^2 is the variance
            total = 1.0 if i == at else 0.0
            for k in range(at, i):
                total -= L[i, k] * column[k]
            column[i] = total / L[i, i]
            variance += column[i] ** 2
        squares[parameter // 3] += variance * scale[at] ** 2
        counts[parameter // 3] += 1.0
        at += 1
    return math.sqrt(squares[0] / counts[0]), math.sqrt(squares[1] / counts[1])


@cpu_kernel
def _free_part(information, is_free):
    """Rows and columns of the free parameters."""
    searched = np.flatnonzero(is_free)
    part = np.empty((len(searched), len(searched)))
    for i in range(len(searched)):
        for j in range(len(searched)):
            part[i, j] = information[searched[i], searched[j]]
    return part
