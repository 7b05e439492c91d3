"""A phantom given as a map: views by trilinear lookup in its padded, gridding-corrected transform.

Less exact than Gaussian blobs (see `views_rft`), but takes any density: an EMDB map, or the
map of an atomic model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2, rfftn

from sta_mpi.data import Volume
from sta_mpi.kernels.gather import GatherVolume, gather_slices, pack_volume
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.simulate.phantom import ComplexImages, Floats

SIGNIFICANT = 0.01
"""Density relative to the highest that still counts for the radius of a map."""


@dataclass(frozen=True)
class GridPhantom:
    """A cubic map and its transform, ready for views at the map's own voxel size.

    Parameters
    ----------
    volume : Volume             density, centre on voxel n // 2
    packed : GatherVolume       padded transform
    radius_A : float            of the sphere that holds the density
    """

    volume: Volume
    packed: GatherVolume
    radius_A: float

    @classmethod
    def of_map(cls, volume: Volume, pad: int = 2) -> "GridPhantom":
        """Prepare a map; what lies outside the sphere of its box is cut, as views cannot see it."""
        n = volume.box_px
        inside = (_radius_px(n) <= n / 2 - 1)
        data = np.where(inside, volume.data, 0).astype(np.float32)
        padded = np.zeros((n * pad,) * 3, np.float32)
        start = n * pad // 2 - n // 2
        box = slice(start, start + n)
        padded[box, box, box] = correct_gridding(data, float(pad))
        transform = rfftn(np.fft.ifftshift(padded), overwrite_x=True)
        transform /= np.float32(n)
        reach = _radius_px(n)[np.abs(data) > SIGNIFICANT * np.abs(data).max()].max(initial=1)
        return cls(Volume(data, volume.voxel_A), pack_volume(transform, n),
                   float((reach + 1) * volume.voxel_A))

    def views_rft(self, M: Floats, n: int, pixel_A: float) -> ComplexImages:
        """Transforms of projections on n × n images of the map's own pixel; see `Phantom`.

        Frequencies beyond the map's Nyquist sphere are 0. Trilinear lookup with padding 2
        leaves an error of about 1 % of the signal.
        """
        if abs(pixel_A - self.volume.voxel_A) > 1e-3 * pixel_A:
            raise ValueError(
                f"the map has {self.volume.voxel_A:.4f} Å a voxel, the images {pixel_A:.4f} Å: "
                "resample the map first")
        box = self.volume.box_px
        views = np.empty((len(M), n, n // 2 + 1), np.complex64)
        for i, turn in enumerate(M):
            axes = np.ascontiguousarray(turn[None, :2])
            view = gather_slices(self.packed, axes, box, box // 2)[0]
            image = np.fft.fftshift(irfft2(view, s=(box, box), norm="ortho"))
            views[i] = rfft2(np.fft.ifftshift(recentred(image, (n, n))), norm="ortho")
        return views

    def truth_map(self, n: int, voxel_A: float) -> NDArray[np.float32]:
        """The map on another grid; see `Phantom`."""
        return resampled(self.volume, n, voxel_A).data


def recentred(array: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Crop or zero-pad so that centre element n // 2 of each axis stays the centre."""
    out = np.zeros(shape, array.dtype)
    source, target = [], []
    for old, new in zip(array.shape, shape, strict=True):
        first = old // 2 - new // 2
        source.append(slice(max(0, first), min(old, first + new)))
        target.append(slice(max(0, -first), max(0, -first) + source[-1].stop - source[-1].start))
    out[tuple(target)] = array[tuple(source)]
    return out


def resampled(volume: Volume, n: int, voxel_A: float) -> Volume:
    """The map on an n^3 grid of another voxel size, exact for band-limited maps.

    The Fourier transform of the samples is evaluated at the frequencies of the new grid, one
    axis after the other, and cut at the lower of both Nyquist frequencies.
    """
    if abs(voxel_A - volume.voxel_A) < 1e-6 * voxel_A:
        return Volume(recentred(volume.data, (n, n, n)), voxel_A)
    data: NDArray = volume.data.astype(np.complex64)
    for axis in range(3):
        old = data.shape[axis]
        x_A = (np.arange(old) - old // 2) * volume.voxel_A
        k = np.arange(-((n - 1) // 2), (n - 1) // 2 + 1)
        s = k / (n * voxel_A)
        s = s[np.abs(s) < 0.5 / volume.voxel_A]
        new_A = (np.arange(n) - n // 2) * voxel_A
        forward = np.exp(-2j * np.pi * s[:, None] * x_A) * (volume.voxel_A / (n * voxel_A))
        both = (np.exp(2j * np.pi * new_A[:, None] * s) @ forward).astype(np.complex64)
        data = np.moveaxis(np.tensordot(both, data, axes=(1, axis)), 0, axis)
    return Volume(np.ascontiguousarray(data.real, np.float32), voxel_A)


def _radius_px(n: int) -> Floats:
    axis = (np.arange(n) - n // 2) ** 2
    return np.asarray(np.sqrt(axis[:, None, None] + axis[:, None] + axis))
