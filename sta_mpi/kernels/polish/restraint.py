"""Priors and limits of a pose, compiled: how far it is from a centre, and back onto the limits.

A pose is a rotation matrix and a shift. It differs from the centre by the rotation vector of
R_centre^T R, the shift, and the tilt: the angle between the normals, the third columns.
"""

import math

import numpy as np

from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish.step import turned

_TINY = 1e-12


@cpu_kernel
def step_between(R0, shift0, R, shift):
    """(6,) rotation vector of R0^T R, at most pi long, and shift - shift0."""
    M = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                M[i, j] += R0[k, i] * R[k, j]
    # the largest of the four components of the quaternion is at least a half (Shepperd 1978)
    trace = M[0, 0] + M[1, 1] + M[2, 2]
    q = np.empty(4)
    largest = 3
    for i in range(3):
        if M[i, i] > (trace if largest == 3 else M[largest, largest]):
            largest = i
    if largest == 3:
        q[3] = 1.0 + trace
        q[0], q[1], q[2] = M[2, 1] - M[1, 2], M[0, 2] - M[2, 0], M[1, 0] - M[0, 1]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q[i] = 1.0 - trace + 2.0 * M[i, i]
        q[j], q[k], q[3] = M[j, i] + M[i, j], M[k, i] + M[i, k], M[k, j] - M[j, k]
    sine = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    sign = -1.0 if q[3] < 0.0 else 1.0
    # angle / sine, which is 2 / cosine for small angles
    factor = 2.0 * sign * math.atan2(sine, sign * q[3]) / sine if sine > _TINY else 0.0
    step = np.empty(6)
    for i in range(3):
        step[i] = factor * q[i]
        step[3 + i] = shift[i] - shift0[i]
    return step


@cpu_kernel
def tilt_from(R0, R):
    """(angle between the normals [rad], x, y, its sine): R0's normal is (x, y, .) in R's axes."""
    x, y, z = 0.0, 0.0, 0.0
    for k in range(3):
        x += R[k, 0] * R0[k, 2]
        y += R[k, 1] * R0[k, 2]
        z += R[k, 2] * R0[k, 2]
    sine = math.sqrt(x * x + y * y)
    return math.atan2(sine, z), x, y, sine


@cpu_kernel
def has_prior(precision):
    """Whether any of the precisions (3,) is not 0."""
    return precision[0] != 0.0 or precision[1] != 0.0 or precision[2] != 0.0


@cpu_kernel
def log_prior(R0, shift0, R, shift, precision):
    """(log prior, gradient (6,), information (6, 6)) of a pose.

    precision (3,): of each component of the rotation vector, of the shift, and of the tilt.
    The gradient of |rotation vector|^2 / 2 by a turn about the own axes is the vector itself;
    that of tilt^2 / 2 is the turn, perpendicular to the normal, that tilts it further. The
    information of the tilt is that at the centre, where it is the same all around.
    """
    away = step_between(R0, shift0, R, shift)
    gradient, information, total = np.zeros(6), np.zeros((6, 6)), 0.0
    for i in range(6):
        p = precision[i // 3]
        total -= 0.5 * p * away[i] * away[i]
        gradient[i] = -p * away[i]
        information[i, i] = p
    p = precision[2]
    if p > 0.0:
        angle, x, y, sine = tilt_from(R0, R)
        factor = angle / sine if sine > _TINY else 1.0
        total -= 0.5 * p * angle * angle
        gradient[0] -= p * factor * y
        gradient[1] += p * factor * x
        information[0, 0] += p
        information[1, 1] += p
    return total, gradient, information


@cpu_kernel
def clipped(R0, shift0, R, shift, limits):
    """(R, shift, whether it was outside): the pose, or the nearest one within the limits.

    limits (3,): largest turn [rad], shift [px], tilt [rad]; infinity where there is none. A
    shorter turn away from the centre never tilts more, so both limits hold in the end.
    """
    slack = 1.0 - 1e-9
    was_outside = False
    angle, x, y, sine = tilt_from(R0, R)
    if angle > limits[2]:
        back = (angle - slack * limits[2]) / sine if sine > _TINY else 0.0
        turn = np.zeros(3)
        turn[0], turn[1] = -y * back, x * back
        if sine <= _TINY:
            turn[0] = angle - slack * limits[2]
        R, was_outside = turned(R, turn), True
    away = step_between(R0, shift0, R, shift)
    size = math.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2)
    if size > limits[0]:
        for i in range(3):
            away[i] *= slack * limits[0] / size
        R, was_outside = turned(R0, away), True
    size = math.sqrt(away[3] ** 2 + away[4] ** 2 + away[5] ** 2)
    if size > limits[1]:
        moved = np.empty(3)
        for i in range(3):
            moved[i] = shift0[i] + away[3 + i] * (slack * limits[1] / size)
        shift, was_outside = moved, True
    return R, shift, was_outside


@cpu_kernel
def is_on_limit(R0, shift0, R, shift, limits):
    """Whether a pose lies on a limit, within a thousandth of it."""
    away = step_between(R0, shift0, R, shift)
    turn = math.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2)
    move = math.sqrt(away[3] ** 2 + away[4] ** 2 + away[5] ** 2)
    near = 0.999
    return (turn > near * limits[0] or move > near * limits[1]
            or tilt_from(R0, R)[0] > near * limits[2])
