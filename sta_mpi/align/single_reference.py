"""One particle as a first reference."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.reference import shell_means
from sta_mpi.signal.fft import FftPlans, radius_rft

Floats = NDArray[np.float64]

LITTLE = 0.2
"""Weight, as a share of its shell's mean, that is added before dividing: directions that the
particle was not measured in stay empty instead of becoming noise."""


def particle_map(samples: BoxSamples, R_p2t: Floats, plans: FftPlans) -> NDArray[np.float32]:
    """The map D / (W + LITTLE <W>_shell) of a box (n, n, n), turned into the particle's axes.

    Parameters
    ----------
    samples : BoxSamples     the particle at the origin
    R_p2t : (3, 3)           its orientation
    """
    weight = samples.weight_rft
    n = len(weight)
    radius = radius_rft(weight.shape)
    least = LITTLE * np.interp(radius, np.arange(n // 2 + 1),
                               shell_means(weight.astype(np.float64)))
    bottom = weight + least
    spectrum = np.divide(samples.data_rft, bottom, out=np.zeros_like(samples.data_rft),
                         where=(bottom > 0) & (radius <= n // 2))
    volume = plans.irfft3(spectrum)
    # a point x of the reference lies at R x in the tomogram, R_box2t^T R x in the box; as zyx
    turn = (samples.R_box2t.T @ R_p2t)[::-1, ::-1]
    centre = np.full(3, float(n // 2))
    turned = ndimage.affine_transform(volume, turn, centre - turn @ centre, order=3)
    return np.ascontiguousarray(turned, np.float32)


def enlarged(data: NDArray[np.float32], size_px: int) -> NDArray[np.float32]:
    """A cubic map (g, g, g) on a finer grid of the same width (size_px >= g), by zero-padding its
    transform; centre voxels stay centres."""
    g = len(data)
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(data)))
    padded = np.zeros((size_px,) * 3, np.complex128)
    start = size_px // 2 - g // 2
    own = slice(start, start + g)
    padded[own, own, own] = spectrum
    if g % 2 == 0 and size_px > g:
        # the frequency -g/2 stands for its mate as well: a real map has half of each
        for axis in range(3):
            face: list[slice | int] = [slice(None)] * 3
            face[axis] = start
            padded[tuple(face)] = 0
    fine = np.fft.ifftn(np.fft.ifftshift(padded)).real * (size_px / g) ** 3
    return np.ascontiguousarray(np.fft.fftshift(fine), np.float32)
