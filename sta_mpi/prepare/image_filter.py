"""Tilt images filtered for back-projection.

The volume is V(x) = sum over tilts of h_f * g_f at the place where x projects, with the filter

    ramp:    H_f(k) = dtheta_f |k . e_f|                   e_f across the tilt axis
    exact:   H_f(k) = (1 / D) / sum_g t(D |k_f(k) . b_g|)  t(x) = max(0, 1 - x)

k in cycles a voxel, dtheta_f the angle [rad] that tilt f stands for, k_f(k) the frequency of the
volume that k of tilt f samples, b_g the beam of tilt g, D the depth of the volume [voxels]. The
ramp is the inversion formula of a single-axis series; the exact filter (Harauz and van Heel,
Optik 73, 146, 1986, with a triangle for the sinc) counts the central slabs, 1 / D thick, that
share a frequency, so it holds for any set of directions. Both give the density on the grey scale
of the images: summed along a beam, voxels give back the image. Above a cutoff both fall off by a
Gaussian, as IMOD's radial filter does. CTF and dose are those of the tomogram's centre. What
bilinear interpolation between samples takes away, sinc^2 of kx and ky, is put back.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.prepare.tomogram_grid import (
    ImageGrid,
    angular_widths_deg,
    tilt_angles_deg,
    tilt_axis,
)
from sta_mpi.signal.ctf import ctf_coefficients, ctf_images
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.fft import FftPlans, crop_rft2
from sta_mpi.signal.filters import raised_cosine_lowpass

Real = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FilterOptions:
    """How images are filtered.

    Parameters
    ----------
    weighting : "ramp" or "exact"
    cutoff, falloff : float        of the Gaussian end of the radial filter [cycles a voxel];
                                   falloff 0: a hard end
    lowpass_A : float or None      further low-pass, raised cosine
    ctf : "none", "flip" (signs corrected) or "multiply" (by the CTF)
    dose : bool                    damp by the dose before each tilt
    tilt_weights : "none", "cos" (of the tilt) or "scale" (rlnCtfScalefactor)
    normalise : bool               divide each image by its standard deviation
    invert : bool                  protein bright instead of dark, as on raw images
    """

    weighting: Literal["ramp", "exact"] = "ramp"
    cutoff: float = 0.35
    falloff: float = 0.05
    lowpass_A: float | None = None
    ctf: Literal["none", "flip", "multiply"] = "none"
    dose: bool = True
    tilt_weights: Literal["none", "cos", "scale"] = "none"
    normalise: bool = False
    invert: bool = False


class ImageFilter:
    """Filters the images of one tilt series.

    Parameters
    ----------
    series : TiltSeries
    grid : ImageGrid
    depth_px : float        thickness of the volume [voxels], for the exact weighting
    """

    def __init__(self, series: TiltSeries, grid: ImageGrid, depth_px: float,
                 options: FilterOptions, plans: FftPlans) -> None:
        self.series, self.grid, self.options = series, grid, options
        self._depth, self._plans = depth_px, plans
        tilt_deg = tilt_angles_deg(series.rotation)
        self._width_rad = np.radians(angular_widths_deg(tilt_deg))
        self.weights = _tilt_weights(series, tilt_deg, self._width_rad, options.tilt_weights)
        n = grid.sampled_px
        self._kx = np.arange(n // 2 + 1) / n * grid.samples_per_voxel
        self._ky = np.fft.fftfreq(n)[:, None] * grid.samples_per_voxel

    def filtered(self, i_tilt: int, image: NDArray, out: Real) -> int:
        """Filter a raw image (h, w) into `out` (size_px); returns pixels that were not finite.

        Such pixels count as the mean of the others.
        """
        square, n_bad = padded_square(image, self.grid, self.options.normalise)
        rft = crop_rft2(self._plans.rfft2(square), self.grid.sampled_px)
        rft *= self.transfer(i_tilt)
        whole = self._plans.irfft2(rft, self.grid.sampled_px)
        (x, y), (width, height) = self.grid.first, self.grid.size_px
        out[...] = whole[y : y + height, x : x + width]
        return n_bad

    def transfer(self, i_tilt: int) -> Real:
        """Everything the transform of a tilt is multiplied by, (n, n//2+1) float32.

        The grey scale of cropping orthonormal transforms is in it.
        """
        grid, options, ts = self.grid, self.options, self.series
        k = np.hypot(self._kx, self._ky)
        transfer = self._ramp(i_tilt) if options.weighting == "ramp" else self._exact(i_tilt)
        transfer *= radial_falloff(k, options.cutoff, options.falloff)
        s_per_A = k / (grid.binning * ts.pixel_A)
        if options.lowpass_A is not None:
            transfer *= raised_cosine_lowpass(s_per_A, 1 / options.lowpass_A,
                                              0.1 / options.lowpass_A)
        if options.dose:
            transfer *= dose_damping(ts.pre_dose_e_per_A2[i_tilt], s_per_A,
                                     ts.b_factor_per_dose_A2, ts.ctf_b_factor_A2[i_tilt])
        per_voxel = grid.samples_per_voxel
        transfer /= (np.sinc(self._kx / per_voxel) * np.sinc(self._ky / per_voxel)) ** 2
        sign = -1.0 if options.invert else 1.0
        transfer *= sign * self.weights[i_tilt] / grid.step_px
        return np.asarray(self._with_ctf(i_tilt, transfer), np.float32)

    def _ramp(self, i_tilt: int) -> Floats:
        """dtheta |k across the tilt axis|; at zero a quarter of the first step."""
        along = self.series.rotation[i_tilt, :2] @ tilt_axis(self.series.rotation)
        length = np.linalg.norm(along)
        if self.series.n_tilts == 1 or length < 1e-3:
            across = np.hypot(self._kx, self._ky)
        else:
            across = np.abs(self._kx * along[1] - self._ky * along[0]) / length
        step = self.grid.samples_per_voxel / self.grid.sampled_px
        return np.asarray(self._width_rad[i_tilt] * np.maximum(across, 0.25 * step))

    def _exact(self, i_tilt: int) -> Floats:
        """One over depth and the number of slabs at each frequency."""
        rotation = self.series.rotation
        u, v = rotation[i_tilt, 0], rotation[i_tilt, 1]
        shared = np.zeros((len(self._ky), len(self._kx)))
        for beam in rotation[:, 2]:
            distance = np.abs(self._kx * (u @ beam) + self._ky * (v @ beam))
            shared += np.maximum(0.0, 1.0 - self._depth * distance)
        return np.asarray(1.0 / (self._depth * np.maximum(shared, 1.0)))

    def _with_ctf(self, i_tilt: int, transfer: Floats) -> Floats:
        if self.options.ctf == "none":
            return transfer
        grid, ts = self.grid, self.series
        parameters = ctf_coefficients(ts.select_tilts(np.array([i_tilt])), np.zeros(3))
        ctf = ctf_images(parameters, grid.sampled_px, ts.pixel_A * grid.step_px)[0]
        return transfer * (np.sign(ctf) if self.options.ctf == "flip" else ctf)


def radial_falloff(k: Floats, cutoff: float, falloff: float) -> Floats:
    """1 up to the cutoff, beyond it a Gaussian of standard deviation `falloff`; 0 if that is 0."""
    beyond = np.maximum(k - cutoff, 0.0)
    if falloff <= 0:
        return np.asarray(beyond == 0, np.float64)
    return np.asarray(np.exp(-0.5 * (beyond / falloff) ** 2))


def padded_square(image: NDArray, grid: ImageGrid, normalise: bool) -> tuple[Real, int]:
    """An image less its mean in the middle of its square, and its number of bad pixels.

    Beyond its edges it goes on with the values of the edge, which fall to 0 as a cosine.
    """
    width, height = grid.image_px
    n = grid.padded_px
    pixels = np.array(image, np.float32)
    finite = np.isfinite(pixels)
    n_bad = int(pixels.size - finite.sum())
    good = pixels[finite] if n_bad else pixels
    mean = float(good.mean(dtype=np.float64)) if good.size else 0.0
    pixels -= np.float32(mean)
    if n_bad:
        pixels[~finite] = 0
    if normalise:
        sd = float(good.std(dtype=np.float64)) if good.size else 0.0
        pixels *= np.float32(1.0 / sd if sd > 0 else 0.0)
    before = (n // 2 - height // 2, n // 2 - width // 2)
    after = (n - height - before[0], n - width - before[1])
    square = np.pad(pixels, tuple(zip(before, after, strict=True)), mode="edge")
    square *= _edge(n, before[0], after[0])[:, None]
    square *= _edge(n, before[1], after[1])
    return square, n_bad


def _edge(n: int, before: int, after: int) -> Real:
    """1 on the image, a cosine to 0 at the ends of the square, (n,) float32."""
    factor = np.ones(n)
    if before:
        factor[:before] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(before) + 0.5) / before)
    if after:
        factor[n - after:] = 0.5 + 0.5 * np.cos(np.pi * (np.arange(after) + 0.5) / after)
    return factor.astype(np.float32)


def _tilt_weights(series: TiltSeries, tilt_deg: Floats, width: Floats, kind: str) -> Floats:
    """Weights of tilts (n,) with a mean of 1 over the tilt range."""
    if kind == "none":
        return np.ones(series.n_tilts)
    weights = np.cos(np.radians(tilt_deg)) if kind == "cos" else series.ctf_scale
    weights = np.maximum(np.abs(weights), 0.0)
    mean = float((weights * width).sum() / width.sum())
    return np.asarray(weights / mean if mean > 0 else np.ones(series.n_tilts))
