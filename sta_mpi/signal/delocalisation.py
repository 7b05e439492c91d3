"""What a masked patch keeps of the oscillation of CTF^2 after the CTF has spread its content.

Data are multiplied by the CTF and cut to a circle of radius R. About a frequency k,
CTF^2 = (1 - cos 2 gamma) / 2 oscillates like a wave of "frequency"

    x(k) = 2 lambda dz k - 2 Cs lambda^3 k^3        [Å]

which is the distance to which the multiplied image of a point is spread in real space. Masking
multiplies the wave by a share A, and leaves the mean 1/2 as it is:

    noise in the data       its power is CTF^2 convolved with the power spectrum of the circle:
                            A is the overlap of two such circles at the distance x
    image of the particle   each of its points keeps what falls into the circle: A is the overlap
                            of the circle with the particle's own, of radius R / 2, at x

so that A CTF^2 + (1 - A) / 2 is never zero, and 1/2 where the box is smaller than the spread.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PARTICLE_SHARE = 0.5
"""Radius of a particle over that of the circle that masks its patches. Boxes are chosen so."""


def circle_overlap(distance: ArrayLike, radius_a: float, radius_b: float) -> Floats:
    """Area that two circles at a distance share, over that of the smaller one.

    Notes
    -----
    The lens of two circles: two segments, minus the kite that both sectors count.

    Examples
    --------
    >>> circle_overlap([0.0, 5.0, 12.0], 5.0, 5.0).round(3)
    array([1.   , 0.391, 0.   ])
    >>> circle_overlap([1.9, 4.0, 6.1], 4.0, 2.0).round(3)
    array([1.   , 0.447, 0.   ])
    """
    a, b = max(radius_a, radius_b), min(radius_a, radius_b)
    d = np.clip(np.abs(np.asarray(distance, np.float64)), max(a - b, 1e-9 * a), a + b)
    of_b = np.arccos(np.clip((d * d + b * b - a * a) / (2 * d * b), -1.0, 1.0))
    of_a = np.arccos(np.clip((d * d + a * a - b * b) / (2 * d * a), -1.0, 1.0))
    kite = (a + b - d) * (d + b - a) * (d + a - b) * (d + a + b)
    lens = b * b * of_b + a * a * of_a - 0.5 * np.sqrt(np.maximum(kite, 0.0))
    return np.asarray(lens / (np.pi * b * b))


@dataclass(frozen=True)
class KeptShares:
    """Shares A of the oscillation of CTF^2, for the noise in masked data and for the particle."""

    noise: Floats
    particle: Floats


def oscillation_kept(k_per_A: ArrayLike, defocus_A: float, wavelength_A: float, cs_mm: float,
                     diameter_A: float) -> KeptShares:
    """Shares of the oscillation of CTF^2 that are left in data masked by a circle.

    Parameters
    ----------
    k_per_A : (...) float      frequencies [1/Å]
    defocus_A : float          mean of both defoci, underfocus positive
    diameter_A : float         of the circle, to the middle of its soft edge
    """
    k = np.asarray(k_per_A, np.float64)
    spread_A = 2 * wavelength_A * defocus_A * k - 2 * cs_mm * 1e7 * wavelength_A**3 * k**3
    radius_A = diameter_A / 2
    return KeptShares(circle_overlap(spread_A, radius_A, radius_A),
                      circle_overlap(spread_A, radius_A, PARTICLE_SHARE * radius_A))
