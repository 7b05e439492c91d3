"""A pose, how it is to be polished, and the priors and limits around it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.polish.restraint import clipped, is_on_limit, log_prior

Floats = NDArray[np.float64]


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
    prior_tilt_deg : float or None     standard deviation of the tilt, the angle between the
                                       normal R_p2t e_z and the centre's, in each of its two
                                       directions; turns about the normal stay free
    max_angle_deg, max_shift_px        strict limits from the same centre; None: no limit
    max_tilt_deg : float or None       strict limit of the tilt
    free : tuple of 6 bool             parameters that are searched, in the order of the step: turns
                                       about the particle's own X, Y, Z, shifts along x, y, z
    tolerance : float                  a step shorter than this [standard deviations], or that
                                       changes log L by less than a quarter of its square, is the
                                       last one
    max_steps : int                    most steps in each band
    """

    bands: tuple[int, ...] | None = None
    grey_scale: float | None = None
    prior_angle_deg: float | None = None
    prior_shift_px: float | None = None
    max_angle_deg: float | None = None
    max_shift_px: float | None = None
    tolerance: float = 0.3
    max_steps: int = 20
    prior_tilt_deg: float | None = None
    max_tilt_deg: float | None = None
    free: tuple[bool, ...] = (True,) * 6

    def prior_information(self) -> Floats:
        """(6, 6) information of the priors about their centre [rad^-2, px^-2]."""
        turn, move, tilt = _precision(self)
        return np.diag([turn + tilt, turn + tilt, turn, move, move, move])


def information_of(free: tuple[bool, ...], information: Floats) -> Floats:
    """Rows and columns (n, n) of the n free parameters of an information (6, 6)."""
    if all(free):
        return information
    searched = np.flatnonzero(free)
    return information[np.ix_(searched, searched)]


class Restraint:
    """Priors and limits around a pose.

    Parameters
    ----------
    centre : Pose
    settings : PolishSettings
    """

    def __init__(self, centre: Pose, settings: PolishSettings) -> None:
        self._centre = (np.ascontiguousarray(centre.R_p2t, np.float64),
                        np.ascontiguousarray(centre.shift_xyz_px, np.float64))
        self._precision = _precision(settings)
        self._limits = np.array([
            np.inf if limit is None else limit * unit for limit, unit in (
                (settings.max_angle_deg, np.radians(1.0)), (settings.max_shift_px, 1.0),
                (settings.max_tilt_deg, np.radians(1.0)))])
        self._is_flat = not self._precision.any()
        self._fixed = np.flatnonzero(~np.array(settings.free))
        self._is_free = bool(np.isinf(self._limits).all())

    def prior(self, pose: Pose) -> tuple[float, Floats, Floats] | None:
        """(log prior, its gradient (6,), its information (6, 6)) of a pose; None: flat."""
        if self._is_flat:
            return None
        value, gradient, information = log_prior(
            *self._centre, pose.R_p2t, pose.shift_xyz_px, self._precision)
        return value, gradient, information

    def of_free(self, gradient: Floats, information: Floats) -> tuple[Floats, Floats]:
        """Gradient (6,) and information (6, 6) that no step along a fixed parameter follows.

        Without its gradient and without its coupling to others a parameter stays where it is, and
        the others go to their optimum at that value.
        """
        if not len(self._fixed):
            return gradient, information
        gradient, information = gradient.copy(), information.copy()
        own = np.diag(information)[self._fixed]
        gradient[self._fixed] = 0.0
        information[self._fixed] = information[:, self._fixed] = 0.0
        information[self._fixed, self._fixed] = own
        return gradient, information

    def clip(self, pose: Pose) -> Pose:
        """The pose itself, or the nearest one within the limits."""
        if self._is_free:
            return pose
        R, shift, was_outside = clipped(
            *self._centre, pose.R_p2t, pose.shift_xyz_px, self._limits)
        return Pose(R, shift) if was_outside else pose

    def holds(self, pose: Pose) -> bool:
        """Whether the pose lies on a limit."""
        return not self._is_free and bool(is_on_limit(
            *self._centre, pose.R_p2t, pose.shift_xyz_px, self._limits))


def _precision(settings: PolishSettings) -> Floats:
    """(3,) inverse variances of turn [rad^-2], shift [px^-2] and tilt [rad^-2]."""
    turn, move, tilt = settings.prior_angle_deg, settings.prior_shift_px, settings.prior_tilt_deg
    return np.array([
        0.0 if turn is None else np.radians(turn) ** -2.0,
        0.0 if move is None else float(move) ** -2.0,
        0.0 if tilt is None else np.radians(tilt) ** -2.0])
