"""Images and volumes whose values depend on the radius alone, from one value a distinct radius.

A half transform of n x n pixels has n^2 / 2 frequencies but an eighth as many lengths of them (a
volume far fewer): a curve is evaluated at each length once and looked up.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.float32]


@dataclass(frozen=True)
class RadialGrid:
    """The distinct lengths of the frequencies of a half transform, and where they are.

    Parameters
    ----------
    radii : (u,) float64    ascending, in index units
    place : shape of the half transform, int32    which of them each frequency has
    """

    radii: Floats
    place: NDArray[np.int32]

    def spread(self, values: NDArray[np.floating]) -> Images:
        """The half transform, float32, that has `values` (u,) at the radii."""
        return np.take(values.astype(np.float32), self.place)

    def spread_shells(self, curve: Floats) -> Images:
        """That of a curve over shells 0, 1, ..., linear between them and level beyond the last."""
        return self.spread(np.interp(self.radii, np.arange(len(curve)), curve))


@lru_cache(maxsize=8)
def radial_grid(shape: tuple[int, ...]) -> RadialGrid:
    """The radii of a half transform of that shape, (n, n//2+1) or (n, n, n//2+1).

    They are those of `radius_rft`, bit by bit. Kept for the last shapes; the arrays cannot be
    written to.
    """
    n = shape[0]
    if shape[-1] != n // 2 + 1 or len(set(shape[:-1])) != 1:
        raise ValueError(f"{shape} is not the half transform of a square image or cubic volume")
    full = np.rint(np.fft.fftfreq(n, 1.0 / n)).astype(np.int32) ** 2
    square = np.arange(n // 2 + 1, dtype=np.int32) ** 2
    for _ in shape[:-1]:
        square = full.reshape(-1, *([1] * square.ndim)) + square
    found = np.bincount(square.ravel()) > 0
    place = (np.cumsum(found, dtype=np.int32) - np.int32(1))[square]
    radii = np.sqrt(np.flatnonzero(found).astype(np.float64))
    place.flags.writeable = radii.flags.writeable = False
    return RadialGrid(radii, place)
