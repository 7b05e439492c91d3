"""Vectors over the independent Fourier voxels of a band, and the maps that they stand for."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.voxel_band import MergedBand, VoxelBand, merge_band

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


def particle_band(samples: TiltSamples | BoxSamples, R_p2t: Floats, band: VoxelBand) -> MergedBand:
    """Data and weights of a particle at the origin, merged in its own axes."""
    if isinstance(samples, BoxSamples):
        return merge_band(
            BoxSamples(samples.data_rft, samples.weight_rft, R_p2t.T @ samples.R_box2t), band)
    return merge_band(TiltSamples(samples.data_rft, samples.weight_rft,
                                  samples.rotation @ R_p2t, samples.tilts), band)


def map_of_band(vector: Complexes, band: VoxelBand) -> NDArray[np.float32]:
    """The map (n, n, n) whose transform is `vector` (k,) on the band and 0 elsewhere."""
    n = band.box_px
    x, y, z = np.rint(band.K_xyz.T).astype(np.intp)
    full = np.zeros((n, n, n // 2 + 1), np.complex128)
    full[z % n, y % n, x] = vector
    on_plane = x == 0
    full[-z[on_plane] % n, -y[on_plane] % n, 0] = vector[on_plane].conj()
    return np.fft.fftshift(irfftn(full, s=(n, n, n)) * n).astype(np.float32)


def band_of_map(data: NDArray[np.floating], band: VoxelBand) -> Complexes:
    """The transform (k,) of a map (n, n, n) on the band."""
    n = band.box_px
    x, y, z = np.rint(band.K_xyz.T).astype(np.intp)
    spectrum = rfftn(np.fft.ifftshift(data.astype(np.float64))) / n
    return np.asarray(spectrum[z % n, y % n, x])


def masked_band(vector: Complexes, mask: NDArray[np.float32], band: VoxelBand) -> Complexes:
    """The vector of the map times a mask."""
    return band_of_map(map_of_band(vector, band) * mask, band)
