"""Which turns about an axis leave a map unchanged: the angular orders that carry signal.

About an axis a map is a sum of angular orders, f(rho, z, phi) = sum_m a_m(rho, z) exp(i m phi). A
map with C_n has only the orders m = 0, n, 2n, ... So n is the greatest common divisor of orders
m > 0 that carry signal and hold nearly all of it. Signal in other orders lowers n, no n is
favoured, and a map that is round about the axis has no order at all instead of the highest one
tried. A little is allowed in orders that are no multiples of n (mostly m = 1: neighbours that
differ, a gradient of the background), but not in those of a divisor: where the orders of C3 hold
clearly more than those of C6, it is C3.

Whether an order carries signal is read from two half maps: noise of independent halves does not
correlate, so the cross power S_m = sum rho Re(a_m b_m*) is the signal's.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from sta_mpi.geometry.rotations import rotation_from_vector

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

LARGEST_ORDER = 12
LEAST_CORRELATION = 0.5
"""Of the halves in an order that carries signal: as much signal as noise in each."""
LEAST_POWER = 0.1
"""Power of an order that carries signal, over that of the strongest."""
LEAST_OF_ROUND = 1e-3
"""And over that of order 0."""
LEAST_EXPLAINED, LEAST_EXPLAINED_BY_2 = 0.7, 0.85
"""Share of the power of the orders m > 0 that multiples of n must hold. Along the best axis of a
map without symmetry even orders hold up to 0.76, multiples of 3 up to 0.45 (measured)."""
MOST_LEFT = 0.1
"""Share that strong orders of a divisor of n may hold beyond those of n. Weak ones do not count:
missing wedges that are not all filled leave some power in all even orders."""


@dataclass(frozen=True)
class AngularOrders:
    """Signal by angular order.

    Parameters
    ----------
    power : (M+1,) float64          cross power S_m of the halves, m = 0 ... M
    correlation : (M+1,) float64    S_m over the geometric mean of the halves' own powers
    """

    power: Floats
    correlation: Floats

    def carries(self) -> NDArray[np.intp]:
        """Orders m > 0 that carry signal."""
        power = np.maximum(self.power, 0.0).copy()
        least = LEAST_OF_ROUND * power[0]
        power[0] = 0.0
        least = max(least, LEAST_POWER * float(power.max(initial=0.0)))
        strong = (self.correlation >= LEAST_CORRELATION) & (power >= least)
        return np.flatnonzero(strong & (power > 0))

    def explained(self, n: int) -> float:
        """Share of the power of all orders m > 0 that lies in multiples of n.

        Of signed cross powers, so that noise adds nothing on average.
        """
        power = self.power[1:]
        return float(power[n - 1 :: n].sum() / max(float(power.sum()), 1e-30))

    def fold(self) -> int:
        """n of C_n: 1 for none, 0 where the map is round about the axis."""
        orders = [int(m) for m in self.carries()]
        if not orders:
            return 0
        for n in range(LARGEST_ORDER, 1, -1):
            own = [m for m in orders if m % n == 0]
            if own and math.gcd(*own) == n and self._holds(n):
                return n
        return 1

    def _holds(self, n: int) -> bool:
        """Whether multiples of n hold enough, and strong orders of its divisors no more."""
        if self.explained(n) < (LEAST_EXPLAINED_BY_2 if n == 2 else LEAST_EXPLAINED):
            return False
        total = float(self.power[1:].sum())
        for d in (d for d in range(2, n) if n % d == 0):
            more = [m for m in self.carries() if m % d == 0 and m % n]
            if float(self.power[more].sum()) > MOST_LEFT * total:
                return False
        return True


def angular_orders(half1: Map, half2: Map, mask: Map, axis: Floats, centre_px: Floats
                   ) -> AngularOrders:
    """Signal of two half maps by angular order about an axis.

    Parameters
    ----------
    half1, half2, mask : (n, n, n)    low-passed maps; the mask is put on them
    axis : (3,) unit vector xyz
    centre_px : (3,)                  a point of the axis [voxels from the centre voxel]
    """
    n = len(half1)
    radius = np.arange(1.0, n // 2 - 1)
    height = np.arange(-(n // 2) + 1.0, n // 2 - 1)
    n_turns = 4 * (2 * LARGEST_ORDER)
    phi = 2 * np.pi * np.arange(n_turns) / n_turns
    z, rho, angle = np.meshgrid(height, radius, phi, indexing="ij")
    local = np.stack([rho * np.cos(angle), rho * np.sin(angle), z]).reshape(3, -1)
    where = _frame(axis) @ local + np.asarray(centre_px)[:, None] + n // 2
    shape = len(height), len(radius), n_turns

    def orders(data: Map) -> NDArray[np.complex128]:
        values = map_coordinates(data * mask, where[::-1], order=1, mode="constant")
        return np.fft.rfft(values.reshape(shape), axis=2)[..., : 2 * LARGEST_ORDER + 1]

    a, b = orders(half1), orders(half2)
    weight = radius[None, :, None]
    cross = np.sum(weight * (a * b.conj()).real, axis=(0, 1))
    own = np.sqrt(np.sum(weight * np.abs(a) ** 2, axis=(0, 1))
                  * np.sum(weight * np.abs(b) ** 2, axis=(0, 1)))
    return AngularOrders(cross, cross / np.maximum(own, 1e-30))


def _frame(axis: Floats) -> Floats:
    """The shortest turn of z to `axis`, (3, 3)."""
    z = np.array([0.0, 0.0, 1.0])
    turn = np.cross(z, axis)
    sine = float(np.linalg.norm(turn))
    if sine < 1e-9:
        return np.eye(3) if axis[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return rotation_from_vector(turn / sine * np.arctan2(sine, float(axis[2])))
