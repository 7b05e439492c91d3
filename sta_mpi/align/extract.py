"""Pseudo-subtomograms: centred patches of a particle as 2D stack, and merged in a 3D box.

For tilt f with image transform X (protein bright, the particle at the origin), transfer
a = s D CTF and noise power P, on a window with room for the delocalisation of the CTF:

    stack    x_f = crop(circle F^-1[ a X / sqrt(P) ])
    box      D = sum_f slices of F[crop(circle F^-1[ a X / P ])],   W = sum_f slices of a^2 / P
    raw      x_f = crop(F^-1[ X ])

P is 1 unless images are whitened; the box then holds what maximum likelihood asks for (RELION
multiplies data and weight by 1 / sqrt(P) once each). The grey scale is that of the images' binned
pixels, and D = W V for the map V on the absolute scale of `average`. Steps and the circle
follow RELION's extraction; nothing here knows of files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.cut import cut_patches, is_visible
from sta_mpi.align.transfer import TransferModel, Weighting
from sta_mpi.data import TiltSeries
from sta_mpi.errors import DataError, ParticleError
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.signal.fft import FftPlans, crop_rft2, shift_phases
from sta_mpi.signal.masks import apply_mask, soft_circle, soft_sphere

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Transform = NDArray[np.complex64]


@dataclass(frozen=True)
class CutFrame:
    """Sizes of extraction.

    Parameters
    ----------
    box_px : int       edge of what is written [binned px]; RELION's crop size
    window_px : int    edge of the window before the CTF is multiplied; RELION's box size
    binning : int      unbinned pixels a binned pixel
    voxel_A : float    binned pixel
    taper_px : float   soft edge of the circle, inside the box
    """

    box_px: int
    window_px: int
    binning: int
    voxel_A: float
    taper_px: float = 5.0


@dataclass(frozen=True)
class CutOptions:
    """What is done to the patches.

    Parameters
    ----------
    weighting : Weighting or None   parts of the transfer to multiply by; None: raw patches
    whiten : bool                   weight by the noise spectra
    circle : bool                   soft circle, mean of the outside removed
    normalise : bool                tilt images of mean 0 and standard deviation 1 beforehand
    invert : bool                   protein bright
    """

    weighting: Weighting | None
    whiten: bool = False
    circle: bool = True
    normalise: bool = False
    invert: bool = True


@dataclass(frozen=True)
class Box:
    """A 3D pseudo-subtomogram.

    Parameters
    ----------
    data : (n, n, n) float32               D in real space, centre n // 2, tapered to a sphere
    data_rft : (n, n, n//2+1) complex64    D as it was summed
    weight_rft, multiplicity_rft : (n, n, n//2+1) float32    W, and how many samples a voxel saw
    """

    data: Images
    data_rft: Transform
    weight_rft: Images
    multiplicity_rft: Images


class ParticleCutter:
    """Cuts the particles of one tilt series.

    Parameters
    ----------
    series : TiltSeries
    mean, sd : (n_tilts,) float64            of each image
    noise : (n_tilts, n_shells) float64      noise power of the image scaled to sd 1, from 0 to
                                             Nyquist of the unbinned image
    """

    def __init__(self, series: TiltSeries, mean: Floats, sd: Floats, noise: Floats,
                 frame: CutFrame, options: CutOptions, plans: FftPlans) -> None:
        self.series, self.frame, self.options, self.plans = series, frame, options, plans
        self._mean = mean
        flat = (sd <= 0) & options.normalise
        if flat.any():
            raise DataError(f"tilt series {series.name}, tilt {np.flatnonzero(flat)[0] + 1}: all "
                            "pixels are equal. Exclude this tilt.")
        self._gain = 1.0 / (sd if options.normalise else np.ones_like(sd))
        power = np.ones((len(sd), 2)) if not options.whiten else \
            binned_noise(noise * (sd * self._gain)[:, None] ** 2, frame)
        self._model = TransferModel(series, power, frame.voxel_A,
                                    options.weighting or Weighting(False, False, False))
        self._odd = None if options.weighting is None else \
            self._model.odd_phases(frame.window_px)
        self._circle = soft_circle(
            frame.box_px, frame.box_px / 2 - frame.taper_px, frame.taper_px)

    def stack(self, images: Sequence[NDArray], xyz_A: Floats, tilts: NDArray[np.intp],
              name: str, motion_A: Floats | None = None) -> Images:
        """Patches (m, n, n) of `tilts` around xyz_A (3,) [Å from the tomogram centre].

        Parameters
        ----------
        images : n_tilts arrays (h, w)    dark protein, as they are on disk
        motion_A : (>= n_tilts, 3)        where the particle has moved at each tilt
        """
        spectra = self._spectra(images, xyz_A, tilts, name, motion_A)
        if self.options.whiten:
            spectra *= np.sqrt(self._model.inverse_noise(self.frame.window_px, tilts))
        return self._finished(spectra)

    def box(self, images: Sequence[NDArray], xyz_A: Floats, R_box2t: Floats,
            tilts: NDArray[np.intp], name: str, motion_A: Floats | None = None) -> Box:
        """The patches merged in a box of axes R_box2t (3, 3)."""
        n = self.frame.box_px
        spectra = self._spectra(images, xyz_A, tilts, name, motion_A)
        if self.options.whiten:
            spectra *= self._model.inverse_noise(self.frame.window_px, tilts)
        data = self.plans.rfft2(self._finished(spectra))
        axes = np.ascontiguousarray((self.series.rotation[tilts] @ R_box2t)[:, :2])
        sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
        insert_slices(sums, data, self._model.weight(n, xyz_A, tilts), axes, float(n // 2 - 1))
        spectrum = (sums[..., 0] + 1j * sums[..., 1]).astype(np.complex64)
        volume = _tapered(self.plans.irfft3(spectrum), self.frame.taper_px)
        return Box(volume, spectrum, sums[..., 2].copy(), sums[..., 3].copy())

    def _spectra(self, images: Sequence[NDArray], xyz_A: Floats, tilts: NDArray[np.intp],
                 name: str, motion_A: Floats | None) -> Transform:
        """Centred transforms (m, w, w//2+1) of the patches, times the transfer."""
        frame = self.frame
        position = self.series.position_px(xyz_A)[tilts]
        if motion_A is not None:
            moved = np.einsum("fij,fj->fi", self.series.rotation[tilts], motion_A[tilts])
            position = position + moved[:, :2] / self.series.pixel_A
        patches, rest = cut_patches([images[i] for i in tilts], position,
                                    frame.window_px * frame.binning)
        bad = ~np.isfinite(patches.sum(axis=(1, 2), dtype=np.float64))
        if bad.any():
            tilt = int(tilts[np.flatnonzero(bad)[0]])
            raise ParticleError(
                f"tilt series {self.series.name}, tilt {tilt + 1} of {self.series.n_tilts}, "
                f"particle {name}: the image holds NaN or Inf pixels. Mend or exclude this tilt.")
        sign = -1.0 if self.options.invert else 1.0
        patches -= self._mean[tilts, None, None].astype(np.float32)
        patches *= (sign * self._gain[tilts] / frame.binning).astype(np.float32)[:, None, None]
        spectra = self.plans.rfft2(patches)
        if frame.binning > 1:
            spectra = crop_rft2(spectra, frame.window_px)
        for spectrum, remainder in zip(spectra, rest, strict=True):
            spectrum *= shift_phases(frame.window_px, -remainder / frame.binning)
        if self.options.weighting is not None:
            spectra *= self._model.transfer(frame.window_px, xyz_A, tilts)
        if self._odd is not None:
            spectra *= self._odd
        return spectra

    def _finished(self, spectra: Transform) -> Images:
        """Real-space patches with their circle, cropped to the box."""
        patches = self.plans.irfft2(spectra, self.frame.window_px)
        # a copy: what lies outside of the box is looked at below
        box = self.frame.box_px
        start = self.frame.window_px // 2 - box // 2
        out = patches[:, start : start + box, start : start + box].copy()
        if not self.options.circle:
            return out
        # the circle lies within the box, so what is outside of it is the window less the inside
        outside = patches[0].size - float(self._circle.sum(dtype=np.float64))
        for patch, whole in zip(out, patches, strict=True):
            inside = float(np.sum(patch * self._circle, dtype=np.float64))
            patch -= np.float32((float(whole.sum(dtype=np.float64)) - inside) / outside)
            patch *= self._circle
        return out


def wiener_divided(box: Box, snr: float, taper_px: float, plans: FftPlans) -> Images:
    """The subtomogram D / (W + 1 / SNR) in real space, (n, n, n), freed of the gridding window.

    Parameters
    ----------
    snr : float    of one tilt image at CTF 1; W counts tilts
    """
    spectrum = np.asarray(box.data_rft / (box.weight_rft + np.float32(1.0 / snr)), np.complex64)
    return _tapered(correct_gridding(plans.irfft3(spectrum)), taper_px)


def _tapered(volume: Images, taper_px: float) -> Images:
    n = len(volume)
    return apply_mask(volume, soft_sphere(n, n / 2 - taper_px, taper_px))


def visible_tilts(series: TiltSeries, xyz_A: Floats, frame: CutFrame,
                  max_dose_e_per_A2: float | None) -> NDArray[np.bool_]:
    """Whether each tilt image holds the whole box of each particle, within a dose.

    Parameters
    ----------
    xyz_A : (n, 3)

    Returns
    -------
    (n, n_tilts) bool
    """
    if series.image_size_px is None:
        raise ValueError(f"tilt series {series.name}: image size unknown")
    seen = is_visible(series.position_px(xyz_A), series.image_size_px,
                      frame.box_px * frame.binning / 2)
    if max_dose_e_per_A2 is not None:
        seen = seen & (series.pre_dose_e_per_A2 <= max_dose_e_per_A2)
    return seen


def binned_noise(noise: Floats, frame: CutFrame) -> Floats:
    """Noise per shell of the window from unbinned spectra (m, n_shells).

    Binned images are means over binning^2 pixels, so the power falls by that.
    """
    n_shells = noise.shape[1]
    wanted = np.linspace(0, (n_shells - 1) / frame.binning, frame.window_px // 2 + 1)
    own = [np.interp(wanted, np.arange(n_shells), row) for row in noise]
    return np.stack(own) / frame.binning**2
