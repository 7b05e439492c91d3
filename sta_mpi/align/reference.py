"""The reference of a search: a masked, low-passed map as a padded transform to gather from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume, prepare_gather
from sta_mpi.signal.fft import FftPlans, radius_rft


@dataclass(frozen=True)
class Reference:
    """A map ready for gathering.

    Parameters
    ----------
    volume : GatherVolume   padded transform, scaled so that a slice equals the orthonormal
                            transform of the map's projection in its own box
    box_px : int            edge of the map
    """

    volume: GatherVolume
    box_px: int


def prepare_reference(
    data: NDArray[np.float32], mask: NDArray[np.float32] | None, lowpass_px: float,
    plans: FftPlans, pad: float = 2.0,
) -> Reference:
    """Mask, low-pass, undo the interpolation's window, pad and transform a map.

    Parameters
    ----------
    data : (n, n, n) float32    protein bright
    mask : (n, n, n) float32 or None   0..1; the outside is replaced by its mean
    lowpass_px : float          Fourier index where a raised-cosine edge of 2 indices begins
    """
    n = len(data)
    if mask is not None:
        outside = float(np.average(data, weights=1.0 - mask)) if (mask < 1).any() else 0.0
        data = (data - np.float32(outside)) * mask
    spectrum = plans.rfft3(np.ascontiguousarray(data, np.float32))
    edge = np.clip((radius_rft((n, n, n // 2 + 1)) - lowpass_px) / 2.0, 0.0, 1.0)
    spectrum *= (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32)
    r_max = min(float(n // 2), lowpass_px + 2.0)
    return Reference(prepare_gather(spectrum, plans, pad, r_max), n)
