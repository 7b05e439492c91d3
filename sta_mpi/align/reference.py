"""The reference of a search: a masked, low-passed map as a padded transform to gather from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import (
    GatherVolume,
    packed_shape,
    packed_volume,
    padded_edge,
    prepare_gather,
)
from sta_mpi.signal.fft import FftPlans, radius_rft
from sta_mpi.signal.filters import radial_map

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """A map ready for gathering.

    Parameters
    ----------
    volume : GatherVolume          padded transform, scaled so that a slice equals the
                                   orthonormal transform of the map's projection in its own box
    box_px : int                   edge of the map
    shell_power : (n//2+1,)        mean |V|^2 per shell
    """

    volume: GatherVolume
    box_px: int
    shell_power: Floats


def prepare_reference(
    data: NDArray[np.float32], mask: NDArray[np.float32] | None, lowpass_px: float,
    plans: FftPlans, pad: float = 2.0, shell_filter: Floats | None = None,
) -> Reference:
    """Mask, filter, undo the interpolation's window, pad and transform a map.

    Parameters
    ----------
    data : (n, n, n) float32    protein bright
    mask : (n, n, n) float32 or None   0..1; the outside is replaced by its mean
    lowpass_px : float          Fourier index where a raised-cosine edge of 2 indices begins
    shell_filter : (n//2+1,) or None   factors of the shells (Wiener filter); None: 1
    """
    n = len(data)
    if mask is not None:
        outside = float(np.average(data, weights=1.0 - mask)) if (mask < 1).any() else 0.0
        data = (data - np.float32(outside)) * mask
    spectrum = plans.rfft3(np.ascontiguousarray(data, np.float32))
    radius = radius_rft((n, n, n // 2 + 1))
    edge = np.clip((radius - lowpass_px) / 2.0, 0.0, 1.0)
    spectrum *= (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32)
    if shell_filter is not None:
        curve = np.interp(radius, np.arange(n // 2 + 1), shell_filter)
        spectrum *= curve.astype(np.float32)
    power = shell_means(np.abs(spectrum).astype(np.float64) ** 2)
    return Reference(prepare_gather(spectrum, plans, pad, _band(n, lowpass_px)), n, power)


def reference_shape(n: int, lowpass_px: float, pad: float = 2.0) -> tuple[int, int, int]:
    """Shape of the transform of a reference that `prepare_reference` makes of n^3 voxels."""
    return packed_shape(padded_edge(n, pad), n, _band(n, lowpass_px))


def placed_reference(data: NDArray[np.complex64], shell_power: Floats, n: int, lowpass_px: float,
                     pad: float = 2.0) -> Reference:
    """The reference that `prepare_reference` made with these sizes, its numbers lying elsewhere."""
    volume = packed_volume(data, padded_edge(n, pad), n, _band(n, lowpass_px))
    return Reference(volume, n, shell_power)


def _band(n: int, lowpass_px: float) -> float:
    """Largest |k| of a reference: where the edge of its low-pass ends."""
    return min(float(n // 2), lowpass_px + 2.0)


def filtered_map(data: NDArray[np.float32], mask: NDArray[np.float32] | None, shell_filter: Floats
                 ) -> NDArray[np.float32]:
    """A map (n, n, n) masked as a reference is, then filtered by factors of shells (n//2+1,)."""
    if mask is not None:
        outside = float(np.average(data, weights=1.0 - mask)) if (mask < 1).any() else 0.0
        data = (data - np.float32(outside)) * mask
    return radial_map(data, shell_filter)


def shell_means(values: Floats) -> Floats:
    """Mean per rounded shell, (n//2+1,), of an array (..., n, n//2+1) over a half transform.

    Corners beyond Nyquist are left out.
    """
    n = values.shape[-2]
    shells = np.rint(radius_rft(values.shape)).astype(np.intp).ravel()
    inside = shells <= n // 2
    count = np.bincount(shells[inside], minlength=n // 2 + 1)
    total = np.bincount(shells[inside], values.ravel()[inside], minlength=n // 2 + 1)
    return np.asarray(total / np.maximum(count, 1))
