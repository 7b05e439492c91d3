"""The exhaustive oracle: all rotations of a list times all shifts of a list.

For candidate rotation R and shift t (tomogram axes) of one particle, over the tilts f and
the independent half plane of frequencies in a band,

    cross(R, t) = Re sum conj(V_f(k; R)) data_f(k) exp(+2 pi i k . t_f / n)
    power(R)    = sum weight_f(k) |V_f(k; R)|^2
    norm        = sum |data_f(k)|^2 / weight_f(k)

    ncc    = cross / sqrt(power norm)               weighted normalised correlation
    loglik = 2 s cross - s^2 power                  Gaussian log-likelihood, up to a constant

with s the grey scale of the reference. Cross terms of all rotations and shifts are one
matrix product. Nothing is pruned or interpolated: this is the slow, obviously right
reference for every faster search.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reference import Reference
from sta_mpi.kernels.gather import gather_slices

Floats = NDArray[np.float64]

_SLICE_BYTES = 96 << 20
"""Memory that the gathered slices of a batch of rotations may take."""


@dataclass(frozen=True)
class Band:
    """Frequencies used by a search, as Fourier indices of the box: r_min <= |k| <= r_max."""

    r_min: float
    r_max: float


@dataclass(frozen=True)
class BandSamples:
    """Samples of one particle in a band, flat over tilts and frequencies.

    Parameters
    ----------
    data, weight : (m, p) complex64, float32
    k_xy : (p, 2) float64      frequency of each sample [index of the box]
    rotation : (m, 3, 3)       tomogram axes to image axes
    crop_px : int              edge of the small grid the samples were taken from
    """

    data: NDArray[np.complex64]
    weight: NDArray[np.float32]
    k_xy: Floats
    rotation: Floats
    crop_px: int
    index: NDArray[np.intp]

    @property
    def norm(self) -> float:
        """Sum of |data|^2 / weight where there is weight."""
        seen = self.weight > 1e-12 * max(float(self.weight.max(initial=0.0)), 1e-30)
        power = np.abs(self.data[seen]).astype(np.float64) ** 2
        return float(np.sum(power / self.weight[seen]))


def take_band(samples: TiltSamples, band: Band) -> BandSamples:
    """Pick the independent half plane of a band from samples (m, n, n//2+1)."""
    n = samples.data_rft.shape[1]
    r = int(np.ceil(band.r_max)) + 1
    crop = min(2 * r, n)
    ky = np.fft.fftfreq(crop) * crop
    kx = np.arange(crop // 2 + 1)
    radius = np.hypot(ky[:, None], kx)
    own = (kx > 0) | (ky[:, None] > 0)
    inside = own & (radius >= band.r_min) & (radius <= band.r_max) & (radius > 0)
    index = np.flatnonzero(inside)
    rows = np.r_[0 : (crop + 1) // 2, n - crop // 2 : n]
    columns = slice(0, crop // 2 + 1)
    m = len(samples.data_rft)
    data = samples.data_rft[:, rows, columns].reshape(m, -1)[:, index]
    weight = samples.weight_rft[:, rows, columns].reshape(m, -1)[:, index]
    grid = np.stack(np.broadcast_arrays(kx[None, :], ky[:, None]), -1).reshape(-1, 2)
    return BandSamples(data, weight, grid[index].astype(float), samples.rotation, crop, index)


def shift_phase_matrix(band: BandSamples, shifts_px: Floats, box_px: int
                       ) -> NDArray[np.float32]:
    """Matrix that turns conj(V) data into cross terms of all shifts.

    Parameters
    ----------
    shifts_px : (S, 3) float64    tomogram axes

    Returns
    -------
    (2 m p, S) float32: cos rows for the real parts, then minus sin rows for the imaginary ones
    """
    shift_xy = np.einsum("fij,sj->fsi", band.rotation[:, :2], shifts_px)
    phase = np.einsum("pi,fsi->fps", band.k_xy, shift_xy) * (2 * np.pi / box_px)
    phase = phase.reshape(-1, len(shifts_px))
    return np.concatenate([np.cos(phase), -np.sin(phase)]).astype(np.float32)


@dataclass(frozen=True)
class Scores:
    """Scores of all candidates of one particle.

    Parameters
    ----------
    cross : (K, S) float64    rotations times shifts
    power : (K,) float64
    norm : float
    """

    cross: Floats
    power: Floats
    norm: float

    def ncc(self) -> Floats:
        """(K, S) weighted normalised correlation; 0 where the reference is empty."""
        scale = np.sqrt(np.maximum(self.power * self.norm, 0.0))[:, None]
        return np.divide(self.cross, scale, out=np.zeros_like(self.cross), where=scale > 0)

    def loglik(self, grey_scale: float) -> Floats:
        """(K, S) Gaussian log-likelihood up to a constant of the particle."""
        return 2 * grey_scale * self.cross - grey_scale**2 * self.power[:, None]


def score_candidates(band: BandSamples, phases: NDArray[np.float32], reference: Reference,
                     R_p2t: Floats) -> Scores:
    """Score rotations (K, 3, 3) times the shifts of `phases`."""
    m, p = band.data.shape
    n_rotations = len(R_p2t)
    cross = np.empty((n_rotations, phases.shape[1]))
    power = np.empty(n_rotations)
    batch = max(1, _SLICE_BYTES // (8 * m * band.crop_px * (band.crop_px // 2 + 1)))
    for start in range(0, n_rotations, batch):
        stop = min(start + batch, n_rotations)
        slices = _band_slices(band, reference, R_p2t[start:stop])
        power[start:stop] = np.einsum(
            "kfp,kfp,fp->k", slices.conj(), slices, band.weight, dtype=np.complex128,
            optimize=False).real
        product = (slices.conj() * band.data).reshape(stop - start, m * p)
        cross[start:stop] = np.concatenate([product.real, product.imag], axis=1) @ phases
    return Scores(cross, power, band.norm)


def _band_slices(band: BandSamples, reference: Reference, R_p2t: Floats
                 ) -> NDArray[np.complex64]:
    """Reference slices of rotations (K, 3, 3) on the band: (K, m, p)."""
    axes = (band.rotation[None] @ R_p2t[:, None])[..., :2, :]
    k, m = axes.shape[:2]
    r_max = float(np.hypot(*band.k_xy.T).max())
    slices = gather_slices(
        reference.volume, np.ascontiguousarray(axes.reshape(k * m, 2, 3)), band.crop_px, r_max)
    return slices.reshape(k, m, -1)[:, :, band.index]


@dataclass(frozen=True)
class Prior:
    """Gaussian priors on the way from the input pose; None: flat."""

    angle_deg: float | None = None
    shift_A: float | None = None

    def log_angle(self, angle_deg: Floats) -> Floats:
        """Log prior of rotations by these angles from the input orientation."""
        if self.angle_deg is None:
            return np.zeros_like(angle_deg)
        return -0.5 * (angle_deg / self.angle_deg) ** 2

    def log_shift(self, shift_A: Floats) -> Floats:
        """Log prior of distances from the input position."""
        if self.shift_A is None:
            return np.zeros_like(shift_A)
        return -0.5 * (shift_A / self.shift_A) ** 2


@dataclass(frozen=True)
class Best:
    """The winning candidate of one particle."""

    i_rotation: int
    i_shift: int
    ncc: float
    loglik: float
    start_loglik: float
    cross: float
    power: float


def pick_best(scores: Scores, grey_scale: float, use_loglik: bool, log_prior: Floats) -> Best:
    """The candidate with the best score; ties go to the first in the lists.

    Parameters
    ----------
    log_prior : (K, S) float64    added to the log-likelihood; ignored for ncc
    """
    loglik = scores.loglik(grey_scale) + log_prior
    ncc = scores.ncc()
    ranked = loglik if use_loglik else ncc
    i, j = np.unravel_index(int(np.argmax(ranked)), ranked.shape)
    return Best(int(i), int(j), float(ncc[i, j]), float(loglik[i, j]), float(loglik[0, 0]),
                float(scores.cross[i, j]), float(scores.power[i]))
