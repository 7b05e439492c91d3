"""From pixels to weighted Fourier samples, for the three kinds of particle images.

Tilt images: cut, transform, multiply by a / sigma^2, mask in real space, transform again: that
is what is kept (docs/decisions/0101), and samples are weighed when they are asked for. RELION
pseudo-subtomograms are already multiplied; only the noise and the refined offset are applied.
Observers are made once a tilt series and keep what all of its particles share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.cut import is_visible
from sta_mpi.align.observation import (
    LOW_PX,
    LOW_REACH_PX,
    BoxSamples,
    Share,
    TiltSamples,
    shares,
)
from sta_mpi.align.transfer import TransferModel, Weighting
from sta_mpi.align.volume_weights import on_finer_grid
from sta_mpi.data import TiltSeries
from sta_mpi.errors import DataError, ParticleError
from sta_mpi.kernels.half_filter import filter_and_shift
from sta_mpi.kernels.windows import fill_masked, fill_window
from sta_mpi.signal.fft import (
    BoxTransforms,
    FftPlans,
    Window,
    shift_phases_3d,
    shift_slices,
)
from sta_mpi.signal.finer import finer_rft2
from sta_mpi.signal.masks import soft_circle, soft_sphere

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Transforms = NDArray[np.complex64]


@dataclass(frozen=True)
class Frame:
    """Sizes that all observations of a job share.

    Parameters
    ----------
    box_px : int       edge n of the maps [binned px]
    cut_px : int       edge of the largest patches [binned px], room for the CTF's delocalisation
    binning : int      unbinned pixels a binned pixel
    voxel_A : float    binned pixel
    edge_px : float    width of the soft edge of the circle put on patches
    """

    box_px: int
    cut_px: int
    binning: int
    voxel_A: float
    edge_px: float = 5.0

    @property
    def circle_A(self) -> float:
        """Diameter of that circle, to the middle of its edge."""
        return (self.box_px - self.edge_px) * self.voxel_A


@dataclass(frozen=True)
class TiltObservation:
    """Transforms of one particle's weighted, masked patches and where they came from.

    Parameters
    ----------
    transforms : (m, b, b//2+1) complex64    of the patches of the box b
    """

    model: TransferModel
    plans: FftPlans
    transforms: Transforms
    xyz_A: Floats
    tilts: NDArray[np.intp]

    @cached_property
    def rotation(self) -> Floats:
        """(m, 3, 3) tomogram axes to image axes and beam, of its tilts."""
        return self.model.series.rotation[self.tilts]

    def samples(self, size_px: int, r_max_px: float = np.inf) -> TiltSamples:
        """The transforms, or those of patches padded to `size_px`, paired with their weights.

        Beyond `r_max_px` [index units] they may be 0.
        """
        return self._weighted(self.model, self._finer(size_px), r_max_px)

    def samples_to_insert(self, n_sums: int) -> TiltSamples:
        """Samples of the patches padded to sums of edge `n_sums`; 0 where none is inserted."""
        return self._weighted(self.model, self._finer(n_sums), n_sums // 2, is_inserted=True)

    def samples_with_low(self, n_sums: int) -> TiltSamples:
        """Samples of the box with those of low frequencies at half the spacing, to be inserted.

        Each has its share (`observation.shares`) in sums of edge `n_sums`; they are 0 where none
        is inserted.
        """
        n = self.transforms.shape[1]
        share, share_of_low = shares(n, n_sums)
        low = finer_rft2(self.plans, self.transforms, 2 * LOW_PX, LOW_PX)
        coarse = self._weighted(self.model.coarser(n / LOW_PX), low, LOW_REACH_PX, share_of_low,
                                is_inserted=True)
        return self._weighted(self.model, self.transforms, n // 2, share, is_inserted=True,
                              low=coarse)

    def _finer(self, size_px: int) -> Transforms:
        if size_px == self.transforms.shape[1]:
            return self.transforms
        return finer_rft2(self.plans, self.transforms, size_px)

    def _weighted(self, model: TransferModel, transforms: Transforms, r_max_px: float,
                  share: Share | None = None, is_inserted: bool = False,
                  low: TiltSamples | None = None) -> TiltSamples:
        limits_px = model.dose_limits_px(transforms.shape[1])
        data, weight = model.weigh(transforms, self.xyz_A, self.tilts, share, r_max_px,
                                   limits_px if is_inserted else None)
        return TiltSamples(data, weight, self.rotation, self.tilts, low,
                           None if limits_px is None else limits_px[self.tilts])


@dataclass(frozen=True)
class BoxObservation:
    """One particle's merged samples; `plans` bring them to finer grids."""

    merged: BoxSamples
    plans: FftPlans | None = None

    def samples(self, size_px: int, r_max_px: float = np.inf) -> BoxSamples:
        """The samples of the box, or of the box padded with zeros to `size_px`.

        All of them, whatever `r_max_px` is. Weights are interpolated: they are smooth on the scale
        of a voxel of the box's transform.
        """
        n = len(self.merged.data_rft)
        if n == size_px:
            return self.merged
        if size_px < n or self.plans is None:
            raise ValueError(f"box samples have {n} px, not {size_px}")
        padded = centre_crop_or_pad_3d(self.plans.irfft3(self.merged.data_rft), size_px)
        return BoxSamples(self.plans.rfft3(padded),
                          on_finer_grid(self.merged.weight_rft, size_px), self.merged.R_box2t)

    def samples_to_insert(self, n_sums: int) -> BoxSamples:
        """The samples of the box padded to sums of edge `n_sums`."""
        return self.samples(n_sums)


class SeriesObserver:
    """Cuts and weights the particles of one tilt series.

    Parameters
    ----------
    series : TiltSeries
    mean, sd : (n_tilts,) float64             of each image before it was binned
    noise : (n_tilts, n_shells) float64       noise power a shell of the image scaled to
                                              sd 1, from 0 to Nyquist of the unbinned image
    edges_px : (n_tilts,) int or None         edge of the window of each tilt, from the box to
                                              frame.cut_px [binned px]; None: frame.cut_px
    """

    def __init__(self, series: TiltSeries, mean: Floats, sd: Floats, noise: Floats,
                 frame: Frame, weighting: Weighting, plans: FftPlans,
                 edges_px: NDArray[np.intp] | None = None) -> None:
        if (sd <= 0).any():
            tilt = int(np.flatnonzero(sd <= 0)[0])
            raise DataError(f"tilt series {series.name}, tilt {tilt + 1}: all pixels are equal. "
                            "Exclude this tilt.")
        self.series, self.mean, self.sd = series, mean, sd
        self.frame, self.plans = frame, plans
        self.model = TransferModel(series, _binned_spectra(noise, frame), frame.voxel_A, weighting,
                                   frame.circle_A)
        self._circle = np.fft.ifftshift(soft_circle(
            frame.box_px, frame.box_px / 2 - frame.edge_px, frame.edge_px))
        self._edges_px = (np.full(series.n_tilts, frame.cut_px) if edges_px is None
                          else edges_px)
        self._odd = {edge: self.model.odd_phases(edge) for edge in set(self._edges_px.tolist())}

    def visible_tilts(self, xyz_A: Floats) -> NDArray[np.intp]:
        """Tilts whose image holds the particle's whole box."""
        assert self.series.image_size_px is not None
        margin = self.frame.box_px * self.frame.binning / 2
        seen = is_visible(self.series.position_px(xyz_A), self.series.image_size_px, margin)
        return np.flatnonzero(seen)

    def observe(self, images: Sequence[NDArray], xyz_A: Floats, tilts: NDArray[np.intp],
                name: str, motion_A: Floats | None = None) -> TiltObservation:
        """Weight the patches of `tilts` around position xyz_A (3,) [Å].

        `images` are those of all tilts, (h, w) each, at the binning of the frame, dark protein,
        any grey scale; `motion_A` (>= n_tilts, 3) is where the particle has moved at each tilt.
        """
        frame = self.frame
        position = self.series.position_px(xyz_A)[tilts]
        if motion_A is not None:
            moved = np.einsum("fij,fj->fi", self.series.rotation[tilts], motion_A[tilts])
            position = position + moved[:, :2] / self.series.pixel_A
        position = position / frame.binning
        rounded = np.floor(position + 0.5).astype(np.int64)
        edges_px = self._edges_px[tilts]
        # one tilt after the other in the buffers of the transforms: no stack leaves the cache
        patch = self.plans.box((frame.box_px,) * 2)
        transforms = np.empty((len(tilts), *patch.half.shape), np.complex64)
        filters = self.model.filters(edges_px, xyz_A, tilts)
        windows = {edge: self.plans.window(Window(edge, frame.box_px))
                   for edge in set(edges_px.tolist())}
        for i, (tilt, edge, factor) in enumerate(zip(tilts.tolist(), edges_px.tolist(), filters,
                                                     strict=True)):
            box = windows[edge]
            fill_window(images[tilt], *rounded[i], np.float32(self.mean[tilt]), box.real)
            self._to_patch(box, rounded[i] - position[i], factor, tilt, patch.real)
            patch.to_half()
            transforms[i] = patch.half
        self._check(transforms, tilts, name)
        return TiltObservation(self.model, self.plans, transforms, xyz_A, tilts)

    def _to_patch(self, box: BoxTransforms, shift_px: Floats, factor: Images, tilt: int,
                  patch: Images) -> None:
        """Fill the patch of the box with the window in `box`, moved, filtered and masked."""
        edge = len(box.real)
        box.to_half()
        # minus: protein is dark on disk, bright inside; both transforms are to be orthonormal
        filter_and_shift(box.half, factor, shift_px,
                         -1.0 / (self.sd[tilt] * edge**2 * self.frame.box_px))
        odd = self._odd[edge]
        if odd is not None:
            box.half *= odd
        box.to_real()
        fill_masked(box.real, self._circle, patch)

    def _check(self, transforms: Transforms, tilts: NDArray[np.intp], name: str) -> None:
        # one pixel that is no number leaves none in all of a transform
        is_bad = ~np.isfinite(transforms[:, 0, 0])
        if is_bad.any():
            raise ParticleError(
                f"tilt series {self.series.name}, tilt {tilts[is_bad][0] + 1} of "
                f"{self.series.n_tilts}, particle {name}: the image holds NaN or Inf pixels. "
                "Mend or exclude this tilt.")


class StackObserver:
    """Weights RELION 2D stacks: CTF-premultiplied images, one a visible tilt.

    Parameters
    ----------
    noise : (n_tilts, n_shells) float64   noise power of the images before multiplication
    is_premultiplied : bool               False for raw stacks: they are multiplied here
    """

    def __init__(self, series: TiltSeries, noise: Floats, frame: Frame, weighting: Weighting,
                 plans: FftPlans, is_premultiplied: bool = True) -> None:
        self.series, self.frame, self.plans = series, frame, plans
        self.is_premultiplied = is_premultiplied
        self.model = TransferModel(series, noise, frame.voxel_A, weighting, frame.circle_A)
        self._circle = soft_circle(
            frame.box_px, frame.box_px / 2 - frame.edge_px, frame.edge_px)

    def observe(self, stack: Images, xyz_A: Floats, offset_A: Floats, tilts: NDArray[np.intp],
                name: str) -> TiltObservation:
        """Centre a stack (m, n, n) cut at xyz_A on the refined position xyz_A + offset_A."""
        if len(stack) != len(tilts):
            raise ParticleError(
                f"particle {name}: its stack holds {len(stack)} images, but it is seen on "
                f"{len(tilts)} tilts. Extract it again.")
        if not np.isfinite(stack.sum(dtype=np.float64)):
            raise ParticleError(f"particle {name}: its stack holds NaN or Inf pixels. "
                                "Extract it again.")
        box, at_A = self.frame.box_px, xyz_A + offset_A
        spectra = self.plans.rfft2(np.ascontiguousarray(stack, np.float32))
        spectra = shift_slices(spectra, self.series.rotation[tilts], offset_A,
                               -1.0 / self.frame.voxel_A)
        if not self.is_premultiplied:
            spectra *= self.model.transfer(box, at_A, tilts)
        spectra *= self.model.inverse_noise(box, tilts)
        masked = self.plans.irfft2(spectra, box)
        masked *= self._circle
        return TiltObservation(self.model, self.plans, self.plans.rfft2(masked), at_A, tilts)


def observe_box(data: Images, weight_rft: Images, R_box2t: Floats, offset_A: Floats,
                voxel_A: float, noise_power: float, plans: FftPlans, name: str) -> BoxSamples:
    """Weight a RELION 3D pseudo-subtomogram and centre it on its refined position.

    Parameters
    ----------
    data : (n, n, n) float32            sum over tilts of CTF times data, real space
    weight_rft : (n, n, n//2+1) float32   sum of CTF^2
    offset_A : (3,) float64             refined offset, tomogram axes
    """
    n = len(data)
    spectrum = plans.rfft3(data, mask=box_mask(n), factor=1.0 / noise_power)
    if not (np.isfinite(spectrum[0, 0, 0]) and np.isfinite(weight_rft.sum())):
        raise ParticleError(f"particle {name}: its box holds NaN or Inf. Extract it again.")
    if offset_A.any():
        spectrum *= shift_phases_3d(n, -(R_box2t.T @ offset_A) / voxel_A)
    return BoxSamples(spectrum, weight_rft * np.float32(1.0 / noise_power), R_box2t)


@lru_cache(maxsize=2)
def box_mask(n: int) -> Images:
    """Sphere that boxes are multiplied by; made once, as it costs more than the transform."""
    mask = soft_sphere(n, n / 2 - 5.0, 5.0)
    mask.flags.writeable = False
    return mask


def _binned_spectra(noise: Floats, frame: Frame) -> Floats:
    """Noise per shell of the cut grid [grey level of binned images] from unbinned spectra.

    The spectra run to the unbinned Nyquist; the binned grid holds the first 1/binning of it,
    and binned images are means over binning^2 pixels, so the power falls by binning^2.
    """
    n_shells = noise.shape[1]
    wanted = np.linspace(0, (n_shells - 1) / frame.binning, frame.cut_px // 2 + 1)
    shells = np.arange(n_shells)
    return np.stack([np.interp(wanted, shells, row) for row in noise]) / frame.binning**2


def centre_crop_or_pad_3d(volume: Images, size_px: int) -> Images:
    """Crop or zero-pad a cubic volume (n, n, n) about the centre voxel n // 2."""
    n = len(volume)
    new, old = max(size_px // 2 - n // 2, 0), max(n // 2 - size_px // 2, 0)
    length = min(n, size_px)
    out = np.zeros((size_px,) * 3, volume.dtype)
    inner, outer = slice(new, new + length), slice(old, old + length)
    out[inner, inner, inner] = volume[outer, outer, outer]
    return out
