"""A climb through bands, compiled: where to look next, given the sums of the pose just looked at.

A climb is a record of what it knows and asks (`STATE`, an array of length 1), and one a band of how
it is to go on (`RULES`). `take` hands it the sums of the pose that it asks for, over the samples of
its band. On the CPU a loop around `take` and the sums is one call (`chain.climb` of either kind of
samples); on a GPU the sums come from there, often of many climbs at once. See `align.polish` for
what the rules are for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish.restraint import has_prior, log_prior, step_between
from sta_mpi.kernels.polish.state import judge, next_pose
from sta_mpi.kernels.polish.step import fisher_step, product, put, put_matrix, step_length

ASKS, CONVERGED, STOPPED = 0, 1, 2
"""Stages: sums are asked for; ended near an optimum; ended elsewhere."""

STATE = np.dtype([
    ("R", "f8", (3, 3)), ("shift", "f8", 3),
    ("cross", "f8"), ("power", "f8"), ("score", "f8"), ("log_prior", "f8"), ("grey_scale", "f8"),
    ("gradient", "f8", 6), ("information", "f8", (6, 6)), ("information_all", "f8", (6, 6)),
    ("next_R", "f8", (3, 3)), ("next_shift", "f8", 3), ("length", "f8"),
    ("damping", "f8"), ("before", "f8"), ("whole", "f8"),
    ("n_rejections", "i8"), ("n_steps", "i8"), ("n_evaluations", "i8"), ("is_known", "i8"),
    ("stage", "i8"), ("band", "i8")], align=True)
"""R, shift to information_all: the best pose so far and what was found there (`state.judge`);
next_R, next_shift: the pose asked for, `length` [standard deviations] away; damping of that step
(0: none); before: length of the last accepted step, 0 if it was damped; whole: length of the
first, undamped attempt at this step; counts; is_known: 0 until a first pose was looked at in the
band; stage: of the climb in the band; band: row of the rules."""

RULES = np.dtype([
    ("R0", "f8", (3, 3)), ("shift0", "f8", 3), ("precision", "f8", 3), ("limits", "f8", 3),
    ("is_free", "i8", 6), ("grey_scale", "f8"), ("tolerance", "f8"), ("left", "f8"),
    ("contradicted", "f8"), ("least", "f8"), ("largest_turn_rad", "f8"),
    ("largest_move_px", "f8"), ("radius", "f8"), ("max_steps", "i8"), ("may_leap", "i8")],
    align=True)
"""R0 to is_free: priors and limits (`align.pose.Terms`); grey_scale: NaN where it is fitted;
tolerance, and share of it that may be left; contradicted: distance of the optimum [standard
deviations] below which a start stays where it is; least: objective that must remain in reach;
radius: of the band [index units]; may_leap: whether bands after it may be left out."""

LARGEST_LEAP, LEAP_SCORE = 6.0, 4.3
"""See `align.marching.band_after`."""

RISE = 2.0
"""A climb may rise by this many times what the quadratic at its pose promises."""

_TINY_RAD, _TINY_PX = 3e-4, 2e-3
"""A step below both that makes things worse is on a kink of the interpolant, not far from the
optimum: what is left is less than the interpolation's own error."""

_REJECTIONS = 8


@cpu_kernel
def restrain(rules, R0, shift0, precision, limits, is_free):
    """Enter priors and limits into the rules of all bands."""
    for i in range(len(rules)):
        rule = rules[i]
        put_matrix(R0, rule.R0)
        put(shift0, rule.shift0)
        put(precision, rule.precision)
        put(limits, rule.limits)
        put(is_free, rule.is_free)


@cpu_kernel
def take(state, rules, cross, power, gd, gw, H):
    """Go on with the sums of the pose that was asked for: ask for the next one, or end."""
    _take(state[0], rules[state[0].band], cross, power, gd, gw, H)
    if state[0].stage != ASKS:
        _go_on(state[0], rules)


@cpu_kernel
def _go_on(at, rules):
    """Ask for the pose again in the next band, if there is one."""
    score = at.score if rules[at.band].may_leap != 0 else -np.inf
    band = band_after(rules["radius"], at.band, score)
    if band < len(rules):
        at.band = band
        at.is_known = 0
        put_matrix(at.R, at.next_R)
        put(at.shift, at.next_shift)
        at.stage = ASKS


@cpu_kernel
def band_after(radii, i, score):
    """The band, from i + 1 on, after band i of radii (m,); see `align.marching.band_after`."""
    for j in range(len(radii) - 1, i + 1, -1):
        leap = radii[j] / radii[i]
        if leap <= LARGEST_LEAP and score >= LEAP_SCORE * leap**2:
            return j
    return i + 1


@cpu_kernel
def _take(at, rule, cross, power, gd, gw, H):
    at.n_evaluations += 1
    score, prior, s, gradient, information, with_prior = judge(
        cross, power, gd, gw, H, rule.grey_scale, rule.R0, rule.shift0, rule.precision,
        rule.is_free, at.next_R, at.next_shift)
    gain = score + prior - at.score - at.log_prior
    small_gain = 0.25 * rule.tolerance**2
    # on kinks of the interpolant steps of 0.1 standard deviations may go on, to and fro
    is_end = at.is_known != 0 and (at.length < rule.tolerance or abs(gain) < small_gain)
    if at.is_known == 0 or gain > 0.0 or (is_end and gain >= -small_gain):
        put_matrix(at.next_R, at.R)
        put(at.next_shift, at.shift)
        at.cross, at.power, at.grey_scale = cross, power, s
        at.score, at.log_prior = score, prior
        put(gradient, at.gradient)
        put_matrix(information, at.information)
        put_matrix(with_prior, at.information_all)
    if at.is_known == 0:
        at.is_known = 1
        _begin(at, rule)
    elif is_end:
        # a step that is short because it is damped proves nothing
        is_whole = at.damping == 0.0 or at.whole < 3.0 * rule.tolerance
        at.stage = CONVERGED if is_whole else STOPPED
    elif gain > 0.0:
        at.before = at.length if at.damping == 0.0 else 0.0
        at.damping = at.damping / 8.0 if at.damping > 0.1 else 0.0
        at.n_rejections = 0
        at.n_steps += 1
        _propose(at, rule)
    else:
        _reject(at, rule)


def climb_by_sums(state: NDArray[np.void], rules: NDArray[np.void],
                  sums: Callable[[NDArray[np.float64], NDArray[np.float64], int], Any]) -> None:
    """Answer what a climb asks, by sums(R (3, 3), shift (3,), band) of `PoseSums`, to its end."""
    while state["stage"][0] == ASKS:
        take(state, rules, *sums(state["next_R"][0], state["next_shift"][0],
                                 int(state["band"][0])))


@cpu_kernel
def resume(state, rules):
    """Climb on in a band from a pose that was looked at there: ask for the next one, or end."""
    _begin(state[0], rules[0])


@cpu_kernel
def _begin(at, rule):
    at.damping = at.before = 0.0
    at.n_rejections = at.n_steps = 0
    at.stage = ASKS
    if rule.contradicted > 0.0 and _next(at, rule)[2] < rule.contradicted:
        at.stage = CONVERGED
    else:
        _propose(at, rule)


@cpu_kernel
def _next(at, rule):
    return next_pose(at.R, at.shift, at.gradient, at.information_all, at.damping,
                     rule.largest_turn_rad, rule.largest_move_px, rule.R0, rule.shift0,
                     rule.limits)


@cpu_kernel
def _propose(at, rule):
    """Ask for a pose a step away; end where it need not be looked at."""
    if at.n_rejections == 0:
        at.whole = np.nan
        if at.n_steps >= rule.max_steps or ceiling_of(at) < rule.least:
            at.stage = STOPPED
            return
    R, shift, length = _next(at, rule)
    if length != length:
        at.stage = STOPPED
        return
    if at.whole != at.whole:
        at.whole = length
    put_matrix(R, at.next_R)
    put(shift, at.next_shift)
    at.length = length
    if at.damping == 0.0 and (length < rule.tolerance
                              or length * length < rule.left * rule.tolerance * at.before):
        _foresee(at, rule)
        at.stage = CONVERGED


@cpu_kernel
def _reject(at, rule):
    """After a step that made things worse, ask for a shorter one."""
    step = step_between(at.R, at.shift, at.next_R, at.next_shift)
    is_tiny = True
    for i in range(3):
        is_tiny &= abs(step[i]) < _TINY_RAD and abs(step[3 + i]) < _TINY_PX
    at.damping = max(8.0 * at.damping, 0.1)
    at.n_rejections += 1
    if is_tiny:
        at.stage = CONVERGED
    elif at.n_rejections >= _REJECTIONS:
        at.stage = STOPPED
    else:
        _propose(at, rule)


@cpu_kernel
def _foresee(at, rule):
    """Apply the step asked for without a look, with the score and prior expected there.

    The objective is taken as the parabola of its gradient and information: it rises by
    gradient . step - length^2 / 2, which is length^2 / 2 where no limit cut the step short.
    """
    step = step_between(at.R, at.shift, at.next_R, at.next_shift)
    objective = at.score + at.log_prior - 0.5 * at.length * at.length
    for i in range(6):
        objective += at.gradient[i] * step[i]
    prior = 0.0
    if has_prior(rule.precision):
        prior = log_prior(rule.R0, rule.shift0, at.next_R, at.next_shift, rule.precision)[0]
    at.score, at.log_prior = objective - prior, prior
    put_matrix(at.next_R, at.R)
    put(at.next_shift, at.shift)


@cpu_kernel
def ceiling_of(at):
    """Objective that a climb could reach from the pose of a record."""
    _, length = fisher_step(at.gradient, at.information_all, 0.0, np.inf, np.inf)
    rise = RISE * 0.5 * length * length if length == length else 0.0
    return at.score + at.log_prior + rise


@cpu_kernel
def ceilings(states):
    """Objectives (n,) that climbs could reach from the poses of n records."""
    out = np.empty(len(states))
    for i in range(len(states)):
        out[i] = ceiling_of(states[i])
    return out


@cpu_kernel
def distinct(states, mates, distance):
    """(n,) bool: whether no earlier distinct record holds the same pose, or a symmetry mate of it.

    Poses are the same where they are less than `distance` [standard deviations] apart, by the
    information at the earlier one. mates (s, 3, 3): R and R S are the same pose.
    """
    is_kept = np.ones(len(states), np.bool_)
    for i in range(len(states)):
        for j in range(i):
            for m in range(len(mates)):
                if is_kept[i] and is_kept[j]:
                    step = step_between(states[j].R, states[j].shift,
                                        product(states[i].R, mates[m]), states[i].shift)
                    is_kept[i] = not step_length(step, states[j].information_all) < distance
    return is_kept
