"""Half maps with the same contrast everywhere, so that a lattice shows its symmetry.

Around a unit of a lattice that has edges and holes, neighbours are there in part: the average
fades to the side where they are missing, and particles that lie near an edge turn alike. What is
left of the symmetry is the pattern, not its strength.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Map = NDArray[np.float32]

LEAST_SD = 0.15
"""Contrast below this share of the strongest is left as weak as it is."""


def evened(halves: Sequence[Map], sigma_px: float) -> list[Map]:
    """Half maps (n, n, n) less their local mean, over the local standard deviation of both.

    Parameters
    ----------
    sigma_px : float    of the Gaussian that says what is local
    """
    mean = np.mean(np.asarray(halves), axis=0)
    variance = gaussian_filter((mean - gaussian_filter(mean, sigma_px)) ** 2, sigma_px)
    sd = np.sqrt(np.maximum(variance, 0.0))
    sd = np.maximum(sd, max(LEAST_SD * float(sd.max()), 1e-30))
    return [((half - gaussian_filter(half, sigma_px)) / sd).astype(np.float32)
            for half in halves]
