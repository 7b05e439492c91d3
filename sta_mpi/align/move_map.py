"""Rigid moves of a map, and what they mean for the poses of its particles.

A move takes a point x of the map (from the centre voxel) to y = R x + t. The moved map is
V'(y) = V(R^T (y - t)), in Fourier space V'(k) = exp(-2 pi i k.t / n) V(R^T k). A particle whose
map point x lies at R_p2t x + p in the tomogram keeps all of its points where they are when

    R_p2t' = R_p2t R^T,        p' = p - R_p2t R^T t.

RELION's star_handler --center c is the move R = 1, t = -c.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.kernels.gather import gather_box, prepare_gather
from sta_mpi.signal.fft import FftPlans, shift_phases_3d

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

_NO_TURN_DEG = 1e-6
PAD = 2.0
"""Padding of the transform that a turned map is read from."""


@dataclass(frozen=True)
class RigidMove:
    """y = R x + t.

    Parameters
    ----------
    R : (3, 3) float64
    t_px : (3,) float64     xyz [voxels]
    """

    R: Floats
    t_px: Floats

    def then(self, other: "RigidMove") -> "RigidMove":
        """This move, and after it another one."""
        return RigidMove(other.R @ self.R, other.R @ self.t_px + other.t_px)

    def inverse(self) -> "RigidMove":
        """The move that undoes this one."""
        return RigidMove(self.R.T, -self.R.T @ self.t_px)

    @property
    def angle_deg(self) -> float:
        """How far the move turns [degrees]."""
        return float(angular_distance_deg(self.R, np.eye(3)))


def shift_move(t_px: Floats) -> RigidMove:
    """A move that only shifts."""
    return RigidMove(np.eye(3), np.asarray(t_px, float))


def turn_about(R: Floats, centre_px: Floats) -> RigidMove:
    """A turn about a point (3,) [voxels from the centre voxel]."""
    centre = np.asarray(centre_px, float)
    return RigidMove(R, centre - R @ centre)


def move_map(data: Map, move: RigidMove, plans: FftPlans) -> Map:
    """The moved map (n, n, n).

    Notes
    -----
    Pure shifts are exact. Turns read a doubly padded transform by trilinear interpolation up to
    Nyquist; corners beyond it are lost. What leaves the box on one side comes in on the other.
    """
    n = len(data)
    spectrum = plans.rfft3(np.ascontiguousarray(data, np.float32))
    if move.angle_deg > _NO_TURN_DEG:
        volume = prepare_gather(spectrum, plans, PAD)
        spectrum = gather_box(volume, np.ascontiguousarray(move.R.T), n, float(n // 2))
    if np.any(move.t_px):
        spectrum *= shift_phases_3d(n, move.t_px)
    return plans.irfft3(np.asarray(spectrum, np.complex64))


def symmetrise_map(data: Map, operators: Floats, plans: FftPlans) -> Map:
    """Mean of a map over the operators (g, 3, 3) of a group about the centre voxel."""
    n = len(data)
    spectrum = plans.rfft3(np.ascontiguousarray(data, np.float32))
    volume = prepare_gather(spectrum, plans, PAD)
    total = np.zeros(spectrum.shape, np.complex128)
    for operator in operators:
        if angular_distance_deg(operator, np.eye(3)) <= _NO_TURN_DEG:
            total += spectrum
        else:
            total += gather_box(volume, np.ascontiguousarray(operator), n, float(n // 2))
    return plans.irfft3((total / len(operators)).astype(np.complex64))


def helical_map(data: Map, rise_px: float, twist_deg: float, centre_share: float,
                plans: FftPlans) -> Map:
    """Mean of a map over a helix along z, from its central part.

    Parameters
    ----------
    rise_px, twist_deg : float    of one subunit; the next one is turned by +twist and +rise up
    centre_share : float          share of the box, along z, whose density is used

    Notes
    -----
    The central part, under a window with a soft edge, is moved along the helix as far as the box
    reaches, and the sum is divided by that of the windows.
    """
    n = len(data)
    z = np.arange(n) - n // 2
    edge = max(2.0, 0.05 * n)
    inside = np.clip((centre_share * n / 2 + edge / 2 - np.abs(z)) / edge, 0.0, 1.0)
    window = (0.5 - 0.5 * np.cos(np.pi * inside)).astype(np.float32)
    reach = int(np.ceil(n / abs(rise_px)))
    total, weight = np.zeros(data.shape), np.zeros(n)
    central = data * window[:, None, None]
    for j in range(-reach, reach + 1):
        own = np.interp(z - j * rise_px, z, window, left=0.0, right=0.0)
        if own.max() > 1e-3:
            angle = np.radians(j * twist_deg)
            R = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0],
                          [0, 0, 1.0]])
            moved = move_map(central, RigidMove(R, np.array([0, 0, j * rise_px])), plans)
            total += moved * (own > 1e-3)[:, None, None]
            weight += own
    return (total / np.maximum(weight, 1e-2)[:, None, None]).astype(np.float32)


def move_poses(R_p2t: Floats, offset_A: Floats, move: RigidMove, voxel_A: float
               ) -> tuple[Floats, Floats]:
    """Orientations (n, 3, 3) and offsets (n, 3) [Å] of particles whose map has moved."""
    turned = R_p2t @ move.R.T
    return turned, offset_A - turned @ (move.t_px * voxel_A)


def centre_of_mass(data: Map) -> Floats:
    """Centre of mass (3,) xyz [voxels from the centre voxel] of what is positive."""
    weight = np.maximum(data.astype(np.float64), 0.0)
    total = weight.sum()
    if total <= 0:
        raise ValueError("nothing of the map is positive")
    centre = []
    for axis in (2, 1, 0):
        n = data.shape[axis]
        profile = weight.sum(axis=tuple(a for a in range(3) if a != axis))
        centre.append(profile @ (np.arange(n) - n // 2) / total)
    return np.array(centre)
