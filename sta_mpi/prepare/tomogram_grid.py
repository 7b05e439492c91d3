"""The grids of a back-projection: how tilt images are sampled, and where voxels fall on them.

A tilt image is put into a square with its centre pixel (w // 2, h // 2) at the square's centre,
transformed, cropped to the band of samples somewhat finer than a voxel, and transformed back.
Any binning will do, and the place of the samples follows from P alone:

    sample index = (P xyz)_A / (pixel_A step) + sampled_px // 2 - first

Voxel i of a volume binned by b lies at the unbinned coordinate b i from the corner of the
tomogram, RELION's rule, so that its centred coordinate is (b i - size / 2) pixel_A.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MARGIN = 0.05
"""Room at each edge of the image in its square, over its longest side."""

OVERSAMPLING = 1.5
"""Samples on the edge of a voxel, as far as the raw pixels allow. Bilinear interpolation between
them mixes in other frequencies: at the cutoff of 0.35 / voxel 9 % in amplitude, 29 % with 1."""


@dataclass(frozen=True)
class ImageGrid:
    """Sampling of the tilt images of one size at one binning.

    Parameters
    ----------
    image_px : (2,) int       width, height of the raw images
    padded_px : int           edge of the square they are put into, even
    sampled_px : int          edge of the square after cropping its transform, even
    binning : float           raw pixels a voxel
    """

    image_px: tuple[int, int]
    padded_px: int
    sampled_px: int
    binning: float

    @property
    def step_px(self) -> float:
        """Raw pixels from one sample to the next; at most `binning`."""
        return self.padded_px / self.sampled_px

    @property
    def samples_per_voxel(self) -> float:
        """Samples on the edge of a voxel, at least 1."""
        return self.binning / self.step_px

    @property
    def first(self) -> tuple[int, int]:
        """Sample (x, y) of the square that is kept first: the one at or before the first pixel."""
        x, y = (self.sampled_px // 2 - math.ceil((side // 2) / self.step_px)
                for side in self.image_px)
        return max(x, 0), max(y, 0)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of what is kept: the samples that the image covers."""
        width, height = (
            min(self.sampled_px // 2 + math.ceil((side - 1 - side // 2) / self.step_px) + 1,
                self.sampled_px) - first
            for side, first in zip(self.image_px, self.first, strict=True))
        return width, height


def make_image_grid(image_px: tuple[int, int], binning: float) -> ImageGrid:
    """Choose the squares of images (width, height) for voxels of `binning` raw pixels.

    >>> grid = make_image_grid((4000, 3000), 4.0)
    >>> grid.padded_px, grid.sampled_px, grid.size_px
    (4500, 1728, (1537, 1153))
    """
    padded = _even_fast(max(image_px) * (1.0 + 2.0 * MARGIN))
    sampled = _even_fast(padded / binning * OVERSAMPLING)
    return ImageGrid(image_px, padded, min(padded, sampled), binning)


def _even_fast(least: float) -> int:
    """The smallest even length from `least` on that FFTs like."""
    n = scipy.fft.next_fast_len(max(2, math.ceil(least)), real=True)
    while n % 2:
        n = scipy.fft.next_fast_len(n + 1, real=True)
    return int(n)


def voxel_matrices(P: ArrayLike, pixel_A: float, unbinned_size_px: tuple[int, int, int],
                   grid: ImageGrid) -> Floats:
    """Matrices from voxel index to sample index.

    Parameters
    ----------
    P : (n, 3, 4)                   projections of `TiltSeries`
    pixel_A : float                 raw pixel
    unbinned_size_px : (3,) int     x, y, z of the tomogram

    Returns
    -------
    (n, 2, 4) float64   (x, y, z, 1) of a voxel to x, y of the kept samples
    """
    projection = np.asarray(P, np.float64)
    axes = projection[:, :2, :3]
    matrices = np.empty((len(projection), 2, 4))
    matrices[:, :, :3] = axes * (grid.binning / grid.step_px)
    corner_px = axes @ (np.asarray(unbinned_size_px, np.float64) / 2.0)
    centre = grid.sampled_px // 2 - np.asarray(grid.first, np.float64)
    matrices[:, :, 3] = (projection[:, :2, 3] / pixel_A - corner_px) / grid.step_px + centre
    return matrices


def tilt_axis(rotation: ArrayLike) -> Floats:
    """The direction in the tomogram (3,) that all beams are most nearly perpendicular to.

    Parameters
    ----------
    rotation : (n, 3, 3)   tomogram axes to image axes and beam; the beam is row 2
    """
    beams = np.asarray(rotation, np.float64)[:, 2]
    return np.asarray(np.linalg.svd(beams, full_matrices=True)[2][2])


def tilt_angles_deg(rotation: ArrayLike) -> Floats:
    """Angle (n,) of each beam about the tilt axis, 0 for a beam along tomogram z [degrees]."""
    matrices = np.asarray(rotation, np.float64)
    axis = tilt_axis(matrices)
    up = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
    up /= np.linalg.norm(up) or 1.0
    across = np.cross(axis, up)
    beams = matrices[:, 2]
    return np.degrees(np.arctan2(beams @ across, beams @ up))


def angular_widths_deg(tilt_deg: ArrayLike) -> Floats:
    """Share of the tilt range that each tilt stands for [degrees]: half the way to either side.

    The first and last tilt reach as far outward as inward; tilts at one angle share its width;
    a single tilt stands for 180 degrees.

    >>> angular_widths_deg([0.0, 3.0, -3.0, 9.0]).tolist()
    [3.0, 4.5, 3.0, 6.0]
    """
    angle = np.asarray(tilt_deg, np.float64)
    known, index, count = np.unique(angle.round(6), return_inverse=True, return_counts=True)
    if len(known) == 1:
        return np.full(len(angle), 180.0 / len(angle))
    gaps = np.diff(known)
    width = 0.5 * (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]]))
    return np.asarray((width / count)[index])
