"""What a search maximises: a likelihood, or a correlation with other weights on the shells.

All scores are those of weighted samples, data d = a X / sigma^2 and weight w = a^2 / sigma^2:

* `loglik`: Gaussian likelihood with the noise of each tilt, grey scale fitted;
* `ncc`: the same as normalised correlation, cross / sqrt(power norm);
* `cc`: constrained correlation as in PEET: only what the particle has measured counts, and
  every sample of the band counts alike, whatever its signal-to-noise ratio;
* `fsc`: the correlation of `ncc` with the reference filtered by the FSC of the half maps,
  which is the best linear estimate of the structure from one half map (Wiener).

With the grey scale fitted, log L = cross |cross| / power, which ranks poses as cross / sqrt(power)
does: so one search serves all, on samples multiplied by a curve over shells.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.reference import shell_means
from sta_mpi.kernels.half_filter import multiply_pairs
from sta_mpi.signal.radial import RadialGrid, radial_grid

Floats = NDArray[np.float64]
Samples = TypeVar("Samples", TiltSamples, BoxSamples)


def flat_gain(samples: TiltSamples | BoxSamples, reference_power: Floats) -> Floats:
    """Curve (n//2+1,) that makes every sample of the band count alike.

    Parameters
    ----------
    reference_power : (n//2+1,)    mean |V|^2 per shell of the reference

    Notes
    -----
    The expected power of a shell is its number of samples times <w> |V|^2; the gain is its
    inverse, so that power becomes the number of samples. Shells without signal get 0.
    """
    weight = samples.weight_rft.astype(np.float64)
    if isinstance(samples, TiltSamples):
        weight = weight.mean(axis=0)
    expected = shell_means(weight) * reference_power
    least = 1e-6 * expected[1:].max(initial=0.0)
    return np.divide(1.0, expected, out=np.zeros_like(expected), where=expected > max(least, 0.0))


def with_gain(samples: Samples, gain: Floats) -> Samples:
    """Samples multiplied, data and weight alike, by a curve over shells (n//2+1,)."""
    curve = _grid_of(samples).spread_shells(gain)
    data, weight = np.empty_like(samples.data_rft), np.empty_like(samples.weight_rft)
    pairs = samples.data_rft, samples.weight_rft, data, weight
    given, own, out, out_weight = (a.reshape(-1, curve.size) for a in pairs)
    multiply_pairs(given, own, curve.reshape(-1), out, out_weight)
    return samples._replace(data_rft=data, weight_rft=weight)


def without_wedge(samples: Samples) -> Samples:
    """Samples whose weight is the mean of its shell: a search that knows of no missing wedge.

    The power of a reference is then that of all orientations, and its product with the data decides
    (PEET's flgWedgeWeight = 0 and CCMode = 0).
    """
    weight = samples.weight_rft.astype(np.float64)
    mean = shell_means(weight if isinstance(samples, BoxSamples) else weight.mean(axis=0))
    return samples._replace(weight_rft=np.broadcast_to(
        _grid_of(samples).spread_shells(mean), weight.shape).copy())


def _grid_of(samples: TiltSamples | BoxSamples) -> RadialGrid:
    """Of one tilt, or of the box."""
    shape = samples.data_rft.shape
    return radial_grid(shape if isinstance(samples, BoxSamples) else shape[1:])


def wiener_from_half_fsc(fsc: Floats) -> Floats:
    """Filter of a half map that makes it the best estimate of the structure: its FSC, 0..1.

    The first crossing of zero ends it: what lies beyond is noise that happens to agree. 1 where
    there is no FSC (NaN).
    """
    curve = np.clip(np.nan_to_num(fsc, nan=1.0), 0.0, 1.0)
    below = np.flatnonzero(curve <= 0)
    below = below[below > 0]
    if len(below):
        curve[below[0]:] = 0.0
    return np.asarray(curve)
