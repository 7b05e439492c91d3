"""A plain weighted back-projection by numpy and scipy, for tests: nothing of the program's own."""

from pathlib import Path

import mrcfile
import numpy as np
from scipy.ndimage import map_coordinates


def ramp(images, P):
    """Images (m, h, w), zero mean, ramp-filtered across the tilt axis, the image of y in each."""
    h, w = images.shape[1:]
    ky, kx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    out = np.empty(images.shape, np.float32)
    for image, p, new in zip(images, P, out, strict=True):
        across = np.abs(kx * p[1, 1] - ky * p[0, 1])
        new[...] = np.fft.irfft2(np.fft.rfft2(image - image.mean()) * np.maximum(across, 0.2 / w),
                                 (h, w))
    return out


def back_project(images, P, pixel_A, size_xyz, voxel_A):
    """Volume (z, y, x) of tilt images (m, h, w) with P (m, 3, 4), about y, ramp-filtered."""
    h, w = images.shape[1:]
    axes = [(np.arange(n) - n / 2) * voxel_A for n in size_xyz]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    volume = np.zeros(z.shape, np.float32)
    filtered = ramp(images, P)
    for image, p in zip(filtered, P, strict=True):
        at_x = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / pixel_A + w // 2
        at_y = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / pixel_A + h // 2
        volume += map_coordinates(image.astype(np.float32), [at_y, at_x], order=1, mode="nearest")
    return volume


def write_volume(path: Path, volume, voxel_A):
    """Write an MRC volume with its voxel size."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.asarray(volume, np.float32))
        file.voxel_size = voxel_A
        file.set_volume()
