"""Small dense algebra of a pose search, compiled: a step costs less than the samples of a band.

Six parameters: a rotation vector about the particle's own axes [rad] and a shift [px]. Loops and
not expressions of arrays, which take numba some tenths of a second each to compile, wherever
they are inlined.
"""

import math

import numpy as np

from sta_mpi.kernels.options import cpu_kernel

FLOOR = 1e-6
"""Directions with less than this share of the largest information of their kind (an axis of
symmetry) stay where they are."""


@cpu_kernel
def log_likelihood(cross, power, gd, gw, H, grey_scale):
    """(score, grey scale, gradient (6,), information (6, 6)) of the sums of a pose.

    score = 2 s cross - s^2 power; for a grey scale of NaN the best one is fitted,
    s = cross / power, score = cross |cross| / power, and the information lost to s is taken off.
    """
    s, size, score = grey_scale, grey_scale, 2 * grey_scale * cross - grey_scale**2 * power
    is_fitted = s != s
    if is_fitted:
        s = cross / power if power > 0 else 0.0
        size, score = abs(s), s * abs(cross)
    gradient, information = np.empty(6), np.empty((6, 6))
    for i in range(6):
        gradient[i] = 2 * size * (gd[i] - s * gw[i])
        for j in range(6):
            lost = gw[i] * gw[j] / power if is_fitted and power > 0 else 0.0
            information[i, j] = 2 * s * s * (H[i, j] - lost)
    return score, s, gradient, information


@cpu_kernel
def fisher_step(gradient, information, damping, largest_turn_rad, largest_move_px):
    """(step (6,), its length in standard deviations) that solves information step = gradient.

    Parameters are scaled to unit information, so damping is relative (Marquardt). The step is
    shortened to the largest turn and move. The length is NaN where no parameter matters.
    """
    scale, L, step = np.empty(6), np.zeros((6, 6)), np.zeros(6)
    for kind in range(2):
        largest = 0.0
        for i in range(3 * kind, 3 * kind + 3):
            largest = max(largest, information[i, i])
        if not largest > 0.0:
            return step, np.nan
        for i in range(3 * kind, 3 * kind + 3):
            scale[i] = 1.0 / math.sqrt(max(information[i, i], FLOOR * largest))
    for i in range(6):  # Cholesky factor of the scaled matrix
        for j in range(i + 1):
            total = information[i, j] * scale[i] * scale[j]
            if i == j:
                total += FLOOR + damping
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                L[i, i] = math.sqrt(max(total, FLOOR))
            else:
                L[i, j] = total / L[j, j]
    for i in range(6):
        total = gradient[i] * scale[i]
        for k in range(i):
            total -= L[i, k] * step[k]
        step[i] = total / L[i, i]
    for i in range(5, -1, -1):
        total = step[i]
        for k in range(i + 1, 6):
            total -= L[k, i] * step[k]
        step[i] = total / L[i, i]
    for i in range(6):
        step[i] *= scale[i]
    turn = math.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
    move = math.sqrt(step[3] ** 2 + step[4] ** 2 + step[5] ** 2)
    excess = max(1.0, max(turn / largest_turn_rad, move / largest_move_px))
    for i in range(6):
        step[i] /= excess
    return step, step_length(step, information)


@cpu_kernel
def step_length(step, information):
    """Length of a step in standard deviations: sqrt(step^T information step)."""
    square = 0.0
    for i in range(6):
        for j in range(6):
            square += step[i] * information[i, j] * step[j]
    return math.sqrt(max(square, 0.0))


@cpu_kernel
def product(A, B):
    """A B of two (3, 3) matrices; a loop, which a call of BLAS would cost more than."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += A[i, k] * B[k, j]
    return out


@cpu_kernel
def turned(R, rotvec):
    """R exp([rotvec]x), by the formula of Rodrigues."""
    x, y, z = rotvec[0], rotvec[1], rotvec[2]
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle > 1e-4:
        a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
    else:
        a, b = 1.0 - square / 6.0, 0.5 - square / 24.0
    c = 1.0 - b * square
    turn = np.empty((3, 3))
    turn[0, 0], turn[0, 1], turn[0, 2] = c + b * x * x, b * x * y - a * z, b * x * z + a * y
    turn[1, 0], turn[1, 1], turn[1, 2] = b * x * y + a * z, c + b * y * y, b * y * z - a * x
    turn[2, 0], turn[2, 1], turn[2, 2] = b * x * z - a * y, b * y * z + a * x, c + b * z * z
    return product(R, turn)


@cpu_kernel
def proposal(R, shift, gradient, information, damping, largest_turn_rad, largest_move_px):
    """(R, shift, length) after a step of `fisher_step` from a pose."""
    step, length = fisher_step(gradient, information, damping, largest_turn_rad, largest_move_px)
    moved = np.empty(3)
    for i in range(3):
        moved[i] = shift[i] + step[3 + i]
    return turned(R, step), moved, length


@cpu_kernel
def put(values, out):
    """Fill out (m,) with values (m,)."""
    for i in range(len(out)):
        out[i] = values[i]


@cpu_kernel
def put_matrix(values, out):
    """Fill out (m, n) with values (m, n)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = values[i, j]
