"""What a page shows of a tomogram: low-passed slices, and the power that the tilts leave."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Real = NDArray[np.float32]

HALF_AMPLITUDE = np.sqrt(2.0 * np.log(2.0)) / (2.0 * np.pi)
"""Standard deviation of the Gaussian blur that halves amplitudes at 1 / length, over length."""


def lowpassed_slice(planes: NDArray, voxel_A: float, lowpass_A: float) -> Real:
    """Mean of planes (m, h, w), blurred so that amplitudes at 1 / lowpass_A are halved."""
    mean = np.mean(planes, axis=0, dtype=np.float64)
    blurred = scipy.ndimage.gaussian_filter(mean, HALF_AMPLITUDE * lowpass_A / voxel_A)
    return np.asarray(blurred, np.float32)


def mean_power(planes: NDArray) -> Real:
    """Mean power of planes (m, h, w), frequency zero at [h // 2, w // 2]; edges are tapered."""
    m, h, w = planes.shape
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[1:-1]
    total = np.zeros((h, w))
    for plane in planes:
        values = plane.astype(np.float64)
        total += np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    return np.asarray(np.fft.fftshift(total) / m, np.float32)
