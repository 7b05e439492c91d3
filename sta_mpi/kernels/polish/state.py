"""A step of a pose search, compiled: what the sums of a pose say, and where to go from there."""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish.restraint import clipped, has_prior, log_prior, step_between
from sta_mpi.kernels.polish.step import log_likelihood, proposal, put_matrix, step_length


@cpu_kernel
def judge(cross, power, gd, gw, H, grey_scale, R0, shift0, precision, is_free, R, shift):
    """(score, log prior, grey scale, gradient (6,), information (6, 6), the same with the prior).

    The prior is that of `restraint.log_prior`. No step along a parameter that is not free follows
    from the gradient and the last matrix: without its gradient and without its coupling to others
    it stays where it is, and the others go to their optimum at that value.
    """
    score, s, gradient, information = log_likelihood(cross, power, gd, gw, H, grey_scale)
    prior, with_prior = 0.0, np.empty((6, 6))
    put_matrix(information, with_prior)
    if has_prior(precision):
        prior, slope, curvature = log_prior(R0, shift0, R, shift, precision)
        for i in range(6):
            gradient[i] += slope[i]
            for j in range(6):
                with_prior[i, j] += curvature[i, j]
    for i in range(6):
        if not is_free[i]:
            gradient[i] = 0.0
            for j in range(6):
                if j != i:
                    with_prior[i, j] = with_prior[j, i] = 0.0
    return score, prior, s, gradient, information, with_prior


@cpu_kernel
def next_pose(R, shift, gradient, information, damping, largest_turn_rad, largest_move_px,
              R0, shift0, limits):
    """(R, shift, length of the step in standard deviations) after a step within the limits.

    The length is NaN where no parameter matters. See `step.fisher_step`, `restraint.clipped`.
    """
    R_new, shift_new, length = proposal(R, shift, gradient, information, damping,
                                        largest_turn_rad, largest_move_px)
    if limits[0] < np.inf or limits[1] < np.inf or limits[2] < np.inf:
        R_new, shift_new, was_outside = clipped(R0, shift0, R_new, shift_new, limits)
        if was_outside:
            length = step_length(step_between(R, shift, R_new, shift_new), information)
    return R_new, shift_new, length
