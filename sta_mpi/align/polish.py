"""Pose polish: the most likely pose of one particle near a start, and its information.

Samples obey X = a V exp(-i phase) + noise of power sigma^2 (see `observation`), so over the
independent half plane, up to a constant of the data,

    log L = 2 s cross - s^2 power           s: grey scale of the reference, when it is given
    log L = cross |cross| / power           s = cross / power, the best one, otherwise

(the sign keeps the objective monotone in cross). With analytic derivatives from
`kernels.polish` the expected information of the pose is 2 s^2 H, minus what fitting s costs;
steps solve it (Fisher scoring), damped after a step that made things worse (Levenberg,
Marquardt). Low frequencies come first, because their optimum is the widest.

The six parameters are a rotation vector about the particle's own axes [rad] and a shift in
tomogram axes [px]. A step is applied before its length is taken as a sign of convergence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.geometry.rotations import rotation_from_vector, vector_from_rotation
from sta_mpi.kernels.polish import PoseFunction
from sta_mpi.kernels.polish.step import fisher_step, log_likelihood, step_length, turned

Floats = NDArray[np.float64]

_EARLY_TOLERANCE = 0.3
"""Step in standard deviations that ends a band other than the last: it only has to lead to
the next band's optimum."""

_LARGEST_TURN_RAD = 0.25
_TINY_RAD, _TINY_PX = 3e-4, 2e-3
"""A step below both that makes things worse is on a kink of the interpolant, not far from the
optimum: what is left is less than the interpolation's own error."""

_REJECTIONS = 8


@dataclass(frozen=True)
class Pose:
    """Orientation and shift of a particle.

    Parameters
    ----------
    R_p2t : (3, 3) float64            particle axes to tomogram axes
    shift_xyz_px : (3,) float64       tomogram axes [px of the box]
    """

    R_p2t: Floats
    shift_xyz_px: Floats


@dataclass(frozen=True)
class PolishSettings:
    """How to polish.

    Parameters
    ----------
    bands : tuple of int or None       bands of the layout used in each stage; None: 1, 2, ... all
    grey_scale : float or None         of the reference; None: the best one at every pose
    prior_angle_deg, prior_shift_px    standard deviation of each component of rotation vector
                                       and shift from the prior's centre; None: flat
    max_angle_deg, max_shift_px        strict limits from the same centre; None: no limit
    tolerance : float                  a step shorter than this [standard deviations], or that
                                       changes log L by less than its square, is the last one
    max_steps : int                    most steps in each band
    """

    bands: tuple[int, ...] | None = None
    grey_scale: float | None = None
    prior_angle_deg: float | None = None
    prior_shift_px: float | None = None
    max_angle_deg: float | None = None
    max_shift_px: float | None = None
    tolerance: float = 0.05
    max_steps: int = 20


@dataclass(frozen=True)
class PolishResult:
    """A polished pose.

    Parameters
    ----------
    R_p2t, shift_xyz_px : as in `Pose`
    score : float                   log-likelihood up to a constant, without the prior
    log_prior : float
    cross, power, grey_scale : float
    information : (6, 6) float64    of the data alone, 3 rotations [rad^-2], 3 shifts [px^-2]
    n_evaluations : int             passes over (part of) the samples
    is_converged : bool             the last band ended with a short step or a small gain
    has_hit_limit : bool            the pose lies on a limit
    """

    R_p2t: Floats
    shift_xyz_px: Floats
    score: float
    log_prior: float
    cross: float
    power: float
    grey_scale: float
    information: Floats
    n_evaluations: int
    is_converged: bool
    has_hit_limit: bool


@dataclass(frozen=True)
class _State:
    """Everything known at one pose; information_all includes the prior's."""

    pose: Pose
    score: float
    log_prior: float
    cross: float
    power: float
    grey_scale: float
    gradient: Floats
    information: Floats
    information_all: Floats

    @property
    def objective(self) -> float:
        return self.score + self.log_prior


def polish_pose(problem: PoseFunction, start: Pose, settings: PolishSettings | None = None,
                count: NDArray[np.integer] | None = None, around: Pose | None = None
                ) -> PolishResult:
    """Find the most likely pose near a start.

    Parameters
    ----------
    problem : PoseFunction     the particle's samples and a reference (tilt images or a box)
    start : Pose
    settings : PolishSettings
    count : (m,) int or None   samples that exist in each tilt (dose limits); None: all
    around : Pose or None      centre of priors and limits; None: the start

    Notes
    -----
    A start outside the limits is first moved onto them. Without any sample, or where no
    parameter matters, the start is returned as not converged.
    """
    settings = settings or PolishSettings()
    restraint = _Restraint(around or start, settings)
    layout = problem.layout
    limit = np.full(problem.n_tilts, layout.n_samples) if count is None else np.asarray(count)
    if limit.shape != (problem.n_tilts,) or limit.min(initial=0) < 0:
        raise ValueError(f"count must be ({problem.n_tilts},) integers from 0")
    bands: Sequence[int] = settings.bands or range(1, len(layout.band_start))
    pose, n_evaluations, is_converged, state = restraint.clip(start), 0, False, None
    for i, band in enumerate(bands):
        used = np.minimum(limit, layout.band_start[band]).astype(np.int64)
        search = _Search(problem, restraint, settings.grey_scale, used,
                         largest_move_px=problem.n / (2 * problem.radius(used)))
        last = i == len(bands) - 1
        state, is_converged = search.climb(
            pose, settings.tolerance if last else _EARLY_TOLERANCE, settings.max_steps)
        pose = state.pose
        n_evaluations += search.n_evaluations
    if state is None:
        raise ValueError("bands is empty")
    return PolishResult(
        pose.R_p2t, pose.shift_xyz_px, state.score, state.log_prior, state.cross, state.power,
        state.grey_scale, state.information, n_evaluations, is_converged, restraint.holds(pose))


class _Restraint:
    """Priors and limits around a pose."""

    def __init__(self, centre: Pose, settings: PolishSettings) -> None:
        self._centre = centre
        self._max_rad = (None if settings.max_angle_deg is None
                         else float(np.radians(settings.max_angle_deg)))
        self._max_px = settings.max_shift_px
        angle, shift = settings.prior_angle_deg, settings.prior_shift_px
        self._precision = np.repeat([
            0.0 if angle is None else np.radians(angle) ** -2.0,
            0.0 if shift is None else float(shift) ** -2.0], 3)
        self._is_flat = not self._precision.any()

    def _away(self, pose: Pose) -> Floats:
        """(6,) rotation vector and shift from the centre."""
        return _step_between(self._centre, pose)

    def prior(self, pose: Pose) -> tuple[float, Floats, Floats] | None:
        """(log prior, its gradient (6,), its information (6, 6)) of a pose; None: flat.

        The gradient of |rotation vector|^2 / 2 by a turn about the own axes is the vector itself.
        """
        if self._is_flat:
            return None
        away = self._away(pose)
        slope = self._precision * away
        return -0.5 * float(away @ slope), -slope, np.diag(self._precision)

    def clip(self, pose: Pose) -> Pose:
        """The pose, or the nearest one within the limits."""
        if self._max_rad is None and self._max_px is None:
            return pose
        away = self._away(pose)
        turn, move = away[:3], away[3:]
        if ((self._max_rad is None or np.linalg.norm(turn) <= self._max_rad)
                and (self._max_px is None or np.linalg.norm(move) <= self._max_px)):
            return pose
        R, shift = pose.R_p2t, pose.shift_xyz_px
        if self._max_rad is not None and np.linalg.norm(turn) > self._max_rad:
            turn = turn * ((1 - 1e-9) * self._max_rad / np.linalg.norm(turn))
            R = self._centre.R_p2t @ rotation_from_vector(turn)
        if self._max_px is not None and np.linalg.norm(move) > self._max_px:
            move = move * ((1 - 1e-9) * self._max_px / np.linalg.norm(move))
            shift = self._centre.shift_xyz_px + move
        return Pose(R, shift)

    def holds(self, pose: Pose) -> bool:
        """Whether the pose lies on a limit."""
        if self._max_rad is None and self._max_px is None:
            return False
        away = self._away(pose)
        return bool(
            (self._max_rad is not None and np.linalg.norm(away[:3]) > 0.999 * self._max_rad)
            or (self._max_px is not None and np.linalg.norm(away[3:]) > 0.999 * self._max_px))


class _Search:
    """Damped Fisher scoring in one band."""

    def __init__(self, problem: PoseFunction, restraint: _Restraint, grey_scale: float | None,
                 count: NDArray[np.int64], largest_move_px: float) -> None:
        self._problem, self._restraint = problem, restraint
        self._grey_scale = np.nan if grey_scale is None else float(grey_scale)
        self._count = count
        self._largest_move_px = largest_move_px
        self.n_evaluations = 0

    def climb(self, pose: Pose, tolerance: float, max_steps: int) -> tuple[_State, bool]:
        """(state, whether it converged) after climbing from a pose."""
        state, damping = self._evaluate(pose), 0.0
        for _ in range(max_steps):
            whole = np.nan
            for _ in range(_REJECTIONS):
                pose, length = self._propose(state, damping)
                if np.isnan(length):
                    return state, False
                whole = length if np.isnan(whole) else whole
                trial = self._evaluate(pose)
                gain = trial.objective - state.objective
                # on kinks of the interpolant steps of 0.1 standard deviations may go on, to and fro
                if length < tolerance or abs(gain) < tolerance**2:
                    # a step that is short because it is damped proves nothing
                    return (trial if gain >= -tolerance**2 else state,
                            damping == 0 or whole < _EARLY_TOLERANCE)
                if gain > 0:
                    break
                if _is_tiny(_step_between(state.pose, pose)):
                    return state, True
                damping = max(8.0 * damping, 0.1)
            else:
                return state, False
            state, damping = trial, (damping / 8.0 if damping > 0.1 else 0.0)
        return state, False

    def _propose(self, state: _State, damping: float) -> tuple[Pose, float]:
        """(pose after a step, length of the step in standard deviations)."""
        step, length = fisher_step(state.gradient, state.information_all, damping,
                                   _LARGEST_TURN_RAD, self._largest_move_px)
        wanted = Pose(turned(state.pose.R_p2t, step), state.pose.shift_xyz_px + step[3:])
        pose = self._restraint.clip(wanted)
        if pose is not wanted:
            length = step_length(_step_between(state.pose, pose), state.information_all)
        return pose, float(length)

    def _evaluate(self, pose: Pose) -> _State:
        self.n_evaluations += 1
        sums = self._problem.sums(pose.R_p2t, pose.shift_xyz_px, self._count)
        score, s, gradient, information = log_likelihood(
            sums.cross, sums.power, sums.gd, sums.gw, sums.H, self._grey_scale)
        prior = self._restraint.prior(pose)
        if prior is None:
            return _State(pose, score, 0.0, sums.cross, sums.power, s, gradient, information,
                          information)
        log_prior, slope, curvature = prior
        return _State(pose, score, log_prior, sums.cross, sums.power, s, gradient + slope,
                      information, information + curvature)


def _step_between(old: Pose, new: Pose) -> Floats:
    turn = vector_from_rotation(old.R_p2t.T @ new.R_p2t)
    return np.concatenate([turn, new.shift_xyz_px - old.shift_xyz_px])


def _is_tiny(step: Floats) -> bool:
    return bool(np.abs(step[:3]).max() < _TINY_RAD and np.abs(step[3:]).max() < _TINY_PX)
