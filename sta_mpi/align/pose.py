"""A pose, how it is to be polished, and the priors and limits around it."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.polish.climb import restrain
from sta_mpi.kernels.polish.restraint import clipped, is_on_limit

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


class Terms(NamedTuple):
    """Priors and limits as compiled functions take them.

    Parameters
    ----------
    precision : (3,) float64    inverse variances of turn [rad^-2], shift [px^-2], tilt [rad^-2]
    limits : (3,) float64       of turn [rad], shift [px] and tilt [rad]; infinity: none
    is_free : (6,) bool         parameters that are searched
    is_limited : bool
    """

    precision: Floats
    limits: Floats
    is_free: NDArray[np.bool_]
    is_limited: bool


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
    tolerance : float                  a step shorter than this [standard deviations], that is
                                       expected to leave less than half of it, or that changes
                                       log L by less than a quarter of its square is the last one
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

    @cached_property
    def terms(self) -> Terms:
        """Priors and limits in the units of the search."""
        limits = (self.max_angle_deg, self.max_shift_px, self.max_tilt_deg)
        units = np.radians(1.0), 1.0, np.radians(1.0)
        scaled = np.array([np.inf if limit is None else limit * unit
                           for limit, unit in zip(limits, units, strict=True)])
        priors = (self.prior_angle_deg, self.prior_shift_px, self.prior_tilt_deg)
        precision = np.array([0.0 if prior is None else (prior * unit) ** -2.0
                              for prior, unit in zip(priors, units, strict=True)])
        return Terms(precision, scaled, np.array(self.free), bool(np.isfinite(scaled).any()))

    @cached_property
    def prior_information(self) -> Floats:
        """(6, 6) information of the priors about their centre [rad^-2, px^-2]."""
        turn, move, tilt = self.terms.precision
        return np.diag([turn + tilt, turn + tilt, turn, move, move, move])


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
        self._terms = settings.terms

    def enter(self, rules: NDArray[np.void]) -> None:
        """Write priors and limits into records `kernels.polish.climb.RULES` (b,)."""
        restrain(rules, *self._centre, *self._terms[:3])

    def clip(self, pose: Pose) -> Pose:
        """The pose itself, or the nearest one within the limits."""
        if not self._terms.is_limited:
            return pose
        R, shift, was_outside = clipped(*self._centre, *_contiguous(pose), self._terms.limits)
        return Pose(R, shift) if was_outside else pose

    def holds(self, pose: Pose) -> bool:
        """Whether the pose lies on a limit."""
        return self._terms.is_limited and bool(is_on_limit(
            *self._centre, *_contiguous(pose), self._terms.limits))


def _contiguous(pose: Pose) -> tuple[Floats, Floats]:
    """The arrays of a pose; compiled functions are compiled anew for every layout."""
    return np.ascontiguousarray(pose.R_p2t), np.ascontiguousarray(pose.shift_xyz_px)
