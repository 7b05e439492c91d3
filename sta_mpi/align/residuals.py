"""How much noise a search meets: what a reference leaves of the images of a particle.

Noise measured in whole tilt images knows nothing of what surrounds a particle: its neighbours,
membranes and the solvent that it displaces add power at low frequencies which the reference
does not explain. As RELION does, the noise of a search is therefore taken from residuals

    r = d - s w V,        E |r|^2 = f w   where the noise is as the weights say

with the grey scale s that fits the particle best; f is the mean square of the circle or sphere
that the data are masked with. Data and weights are divided by sum |r|^2 / (f sum w) per shell.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import BandSamples, band_slices
from sta_mpi.align.reference import Reference

Floats = NDArray[np.float64]

LEAST_EXCESS, MOST_EXCESS = 0.1, 100.0
"""Limits of the factor by which noise may differ from what was measured."""


def residual_sums(band: BandSamples, reference: Reference, R_p2t: Floats, n_shells: int) -> Floats:
    """Per shell of a particle at its pose: sum |r|^2 and sum w, (2, n_shells).

    Parameters
    ----------
    band : BandSamples    of samples whose particle lies at the origin
    R_p2t : (3, 3)        its orientation
    """
    expected = band_slices(band, reference, R_p2t[None])[0]
    expected *= band.weight
    weight = band.weight.astype(np.float64)
    # where nothing is measured nothing is expected either
    power = np.divide(np.abs(expected) ** 2, weight, out=np.zeros_like(weight), where=weight > 0)
    cross, total = float(np.sum((expected.conj() * band.data).real)), float(power.sum())
    scale = max(cross / total, 0.0) if total > 0 else 0.0
    left = np.abs(band.data - np.float32(scale) * expected) ** 2
    shell = np.rint(np.linalg.norm(band.k, axis=1)).astype(np.intp)
    return np.stack([np.bincount(shell, values.sum(axis=0, dtype=np.float64), n_shells)[:n_shells]
                     for values in (left, weight)])


def noise_gain(left: Floats, weight: Floats, mask_share: float) -> Floats:
    """Factor of the data and weights of each shell (n_shells,): the inverse of its excess noise.

    Parameters
    ----------
    left, weight : (n_shells,)    sums over particles of `residual_sums`; empty shells get the
                                  factor of the nearest one that is not
    mask_share : float            mean square of the mask on the data
    """
    known = np.flatnonzero((left > 0) & (weight > 0))
    if len(known) == 0:
        return np.ones(len(left))
    excess = np.clip(left[known] / (mask_share * weight[known]), LEAST_EXCESS, MOST_EXCESS)
    return np.asarray(1.0 / np.interp(np.arange(len(left)), known, excess))
