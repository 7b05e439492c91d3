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
reference for every faster search. A box (pseudo-subtomogram) is scored like one tilt whose
frequencies have three components.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.reference import Reference
from sta_mpi.kernels.gather import gather_box, gather_slices
from sta_mpi.kernels.whitened import whitened_power

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
    data, weight : (m, p) complex64, float32   a box has m = 1
    k : (p, 2) or (p, 3) float64   frequency of each sample of a tilt, or of a box
    rotation : (m, 3, 3)           tomogram axes to image axes, or to those of the box
    crop_px : int                  edge of the small grid the samples were taken from
    index : (p,) int               their flat places in its half transform
    """

    data: NDArray[np.complex64]
    weight: NDArray[np.float32]
    k: Floats
    rotation: Floats
    crop_px: int
    index: NDArray[np.intp]

    @property
    def norm(self) -> float:
        """Sum of |data|^2 / weight, see `whitened_power`."""
        # compiled functions are compiled anew for every layout
        return float(whitened_power(*map(np.ascontiguousarray, (
            self.data.real, self.data.imag, self.weight))))


def take_band(samples: TiltSamples | BoxSamples, band: Band) -> BandSamples:
    """Pick the independent half of a band from slices (m, n, n//2+1) or a box (n, n, n//2+1)."""
    is_box = isinstance(samples, BoxSamples)
    n = samples.data_rft.shape[1]
    crop, k, index = _places(n, band, 3 if is_box else 2)
    rows = np.r_[0 : (crop + 1) // 2, n - crop // 2 : n]
    corner: Any = (rows[:, None], rows) if is_box else (slice(None), rows)
    corner = (*corner, slice(0, crop // 2 + 1))
    data = samples.data_rft[corner].reshape(samples.n_slices, -1)[:, index]
    weight = samples.weight_rft[corner].reshape(samples.n_slices, -1)[:, index]
    rotation = samples.R_box2t.T[None] if isinstance(samples, BoxSamples) else samples.rotation
    return BandSamples(data, weight, k, rotation, crop, index)


@lru_cache(maxsize=2)
def _places(n: int, band: Band, n_axes: int) -> tuple[int, Floats, NDArray[np.intp]]:
    """Edge of the grid cropped to a band, and frequencies and places there of its own half."""
    crop = min(2 * (int(np.ceil(band.r_max)) + 1), n)
    full = np.fft.fftfreq(crop, 1.0 / crop)
    axes = (*[full] * (n_axes - 1), np.arange(crop // 2 + 1))
    k = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1).reshape(-1, n_axes)
    radius = np.linalg.norm(k, axis=1)
    index = np.flatnonzero(
        _is_own(k) & (radius >= band.r_min) & (radius <= band.r_max) & (radius > 0))
    k = k[index]
    k.flags.writeable = index.flags.writeable = False   # all particles share them
    return crop, k, index


def _is_own(k: Floats) -> NDArray[np.bool_]:
    """Whether the first component of k (p, d) that is not 0 is positive: one of two mates."""
    first = np.take_along_axis(k, (k != 0).argmax(axis=1)[:, None], axis=1)
    return np.asarray(first[:, 0] > 0)


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
    shift = band.rotation[:, : band.k.shape[1]] @ shifts_px.T
    cycles = (band.k @ (shift / box_px)).reshape(-1, len(shifts_px))
    # whole turns are taken off in double; what is left is as exact in single precision
    cycles -= np.rint(cycles)
    phase = cycles.astype(np.float32)
    phase *= np.float32(2 * np.pi)
    return np.concatenate([np.cos(phase), np.sin(-phase)])


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
    n_planes = m if band.k.shape[1] == 2 else band.crop_px
    weight = band.weight.ravel().astype(np.float64)
    turned = _data_times(band.data, phases)
    batch = max(1, _SLICE_BYTES // (8 * n_planes * band.crop_px * (band.crop_px // 2 + 1)))
    for start in range(0, n_rotations, batch):
        stop = min(start + batch, n_rotations)
        slices = band_slices(band, reference, R_p2t[start:stop]).reshape(stop - start, m * p)
        power[start:stop] = (slices.real**2 + slices.imag**2) @ weight
        cross[start:stop] = slices.view(np.float32) @ turned
    return Scores(cross, power, band.norm)


def _data_times(data: NDArray[np.complex64], phases: NDArray[np.float32]) -> NDArray[np.float32]:
    """Matrix (2 m p, S) whose product with rows of Re V, Im V, Re V, ... is the cross term."""
    cosine, minus_sine = phases.reshape(2, data.size, -1)
    real, imaginary = data.real.reshape(-1, 1), data.imag.reshape(-1, 1)
    turned = np.empty((data.size, 2, phases.shape[1]), np.float32)
    turned[:, 0] = real * cosine + imaginary * minus_sine
    turned[:, 1] = imaginary * cosine - real * minus_sine
    return turned.reshape(2 * data.size, -1)


def band_slices(band: BandSamples, reference: Reference, R_p2t: Floats
                ) -> NDArray[np.complex64]:
    """Reference at the samples of a band, for rotations (K, 3, 3): (K, m, p)."""
    axes = band.rotation[None] @ R_p2t[:, None]
    k, m = axes.shape[:2]
    r_max = float(np.linalg.norm(band.k, axis=1).max())
    if band.k.shape[1] == 3:
        boxes = [gather_box(reference.volume, np.ascontiguousarray(A[0].T), band.crop_px, r_max)
                 for A in axes]
        return np.stack([box.reshape(1, -1)[:, band.index] for box in boxes])
    slices = gather_slices(reference.volume, np.ascontiguousarray(
        axes[..., :2, :].reshape(k * m, 2, 3)), band.crop_px, r_max)
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
    log_prior : (K, S) float64    added to the log-likelihood; for ncc only -inf counts, which
                                  excludes a candidate
    """
    loglik = scores.loglik(grey_scale) + log_prior
    ncc = scores.ncc()
    ranked = loglik if use_loglik else np.where(np.isneginf(log_prior), -np.inf, ncc)
    i, j = np.unravel_index(int(np.argmax(ranked)), ranked.shape)
    return Best(int(i), int(j), float(ncc[i, j]), float(loglik[i, j]), float(loglik[0, 0]),
                float(scores.cross[i, j]), float(scores.power[i]))
