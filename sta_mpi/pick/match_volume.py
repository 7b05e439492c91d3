"""Template matching: a tomogram made ready for correlation.

The volume is low- and high-passed and cut to the band in Fourier space, so that its voxels are as
large as the low-pass allows; gold beads and empty borders are masked; the noise spectrum N(s) is
measured in shells. With the band B(s),

    g = F B^2 / N               what turned templates are correlated with
    f = F B / sqrt(N)           the whitened tomogram, whose local standard deviation sigma(x) in a
                                sphere of the template normalises the score

where F is the transform of the masked volume. For a spherical mask sigma does not depend on the
orientation: one convolution a tomogram.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from sta_mpi.signal.filters import raised_cosine_highpass, raised_cosine_lowpass

Real = NDArray[np.float32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CLIP_SIGMAS = 6.0
"""Densities beyond are cut to this: what the bead mask has left of beads and streaks."""

COMMON_SHARE, OVER_COMMON = 0.005, 2.5
"""Beads are denser than this times what the densest 1/200 of the volume has."""

N_SHELLS = 48
MAD_TO_SD = 1.4826
SAMPLING = 2.4
"""Voxels of the search a low-pass cutoff: the finest detail is sampled this often."""


@dataclass(frozen=True)
class MatchVolume:
    """A tomogram on the grid of a search.

    Parameters
    ----------
    filtered : (nz, ny, nx) float32    g
    local_sd : (nz, ny, nx) float32    sigma
    allowed : (nz, ny, nx) bool        where a particle may be: off beads, borders and edges
    band_passed : (nz, ny, nx) float32   in units of its standard deviation, protein bright
    voxel_zyx_A : (3,) float64
    noise_power : (N_SHELLS + 1,) float64   N, mean 1 over the band, of shells of `shell_per_A`
    shell_per_A : float
    masked_share : float               share of the volume that the bead mask covers
    """

    filtered: Real
    local_sd: Real
    allowed: Flags
    band_passed: Real
    voxel_zyx_A: Floats
    noise_power: Floats
    shell_per_A: float
    masked_share: float


@dataclass(frozen=True)
class MatchFilter:
    """Band and masks of a search.

    Parameters
    ----------
    lowpass_A, highpass_A : float    cutoffs
    mask_diameter_A : float          sphere of the template
    edge_A : float                   no particles nearer than this to a border of the volume
    bead_sigmas : float              voxels this many standard deviations off are beads; 0: none
    whiten : bool                    divide by the measured noise spectrum
    """

    lowpass_A: float
    highpass_A: float
    mask_diameter_A: float
    edge_A: float
    bead_sigmas: float = 8.0
    whiten: bool = True

    def band(self, s_per_A: NDArray[np.floating]) -> Floats:
        """B(s), 0 to 1."""
        low = raised_cosine_lowpass(s_per_A, 1.0 / self.lowpass_A, 0.2 / self.lowpass_A)
        return np.asarray(low * raised_cosine_highpass(
            s_per_A, 1.0 / self.highpass_A, 1.0 / self.highpass_A))


def search_shape(shape: tuple[int, int, int], voxel_A: float, lowpass_A: float
                 ) -> tuple[int, int, int]:
    """Size zyx of a volume cut to the band: even, never larger than it was."""
    factor = min(1.0, voxel_A * SAMPLING / lowpass_A)
    nz, ny, nx = (min(n, 2 * int(np.ceil(0.5 * n * factor))) for n in shape)
    return nz, ny, nx


def prepare_volume(data: Real, voxel_A: float, rule: MatchFilter) -> MatchVolume:
    """Filter, mask and normalise a tomogram.

    Parameters
    ----------
    data : (nz, ny, nx) float32   protein bright
    voxel_A : float
    """
    shape = search_shape((data.shape[0], data.shape[1], data.shape[2]), voxel_A, rule.lowpass_A)
    voxels = np.array(data.shape) * voxel_A / np.array(shape)
    s_per_A = frequencies(shape, voxels)
    band = rule.band(s_per_A).astype(np.float32)
    cut = _cut(data, shape, band)
    bead = bead_mask(cut, rule.bead_sigmas)
    sd = MAD_TO_SD * float(np.median(np.abs(cut[~bead]))) if not bead.all() else 1.0
    limit = max(CLIP_SIGMAS * sd, float(np.quantile(np.abs(cut), 1.0 - COMMON_SHARE)))
    cut = np.where(bead, 0, np.clip(cut, -limit, limit) / max(sd, 1e-30))
    cut = cut.astype(np.float32)
    F = scipy.fft.rfftn(cut) * (band > 0)
    shell = 1.0 / (rule.lowpass_A / 1.1 * N_SHELLS)
    power = shell_power(F, s_per_A, shell, band) if rule.whiten else np.ones(N_SHELLS + 1)
    noise = on_frequencies(power, s_per_A, shell)
    # the volume is band-passed once already: B of `cut` counts as one of the two factors of g
    whitened = scipy.fft.irfftn(F / np.sqrt(noise), s=shape).astype(np.float32)
    filtered = scipy.fft.irfftn(F * band / noise, s=shape).astype(np.float32)
    radius = 0.5 * rule.mask_diameter_A / voxels
    local = local_sd(whitened, ~bead, radius)
    mean_band = float(np.mean(rule.band(s_per_A) ** 2))
    return MatchVolume(
        filtered, (local / np.sqrt(mean_band)).astype(np.float32),
        _allowed(bead, rule.edge_A / voxels, radius), cut, voxels, power, shell,
        float(bead.mean()))


def frequencies(shape: tuple[int, int, int], voxel_zyx_A: Floats) -> Real:
    """|s| [1/Å] on the half transform of a volume."""
    z = np.fft.fftfreq(shape[0], voxel_zyx_A[0])[:, None, None]
    y = np.fft.fftfreq(shape[1], voxel_zyx_A[1])[None, :, None]
    x = np.fft.rfftfreq(shape[2], voxel_zyx_A[2])
    return np.sqrt(z**2 + y**2 + x**2).astype(np.float32)


def _cut(data: Real, shape: tuple[int, int, int], band: Real) -> Real:
    """The volume filtered and cut to a smaller grid in Fourier space."""
    F = scipy.fft.rfftn(data - np.float32(np.median(data)))
    half = shape[2] // 2 + 1
    rows = [np.r_[0:(m + 1) // 2, n - m // 2:n] for n, m in zip(F.shape[:2], shape[:2],
                                                              strict=True)]
    cut = F[np.ix_(rows[0], rows[1], np.arange(half))] * band
    return np.asarray(scipy.fft.irfftn(cut, s=shape), np.float32)


def bead_mask(band_passed: Real, sigmas: float, grow_px: int = 2) -> Flags:
    """Voxels of gold, of its halo and of empty borders: far off the rest of the volume.

    They are rare: a density is no bead unless it is well above that of `COMMON_SHARE` of the
    volume, so that particles with much signal are not taken for gold.
    """
    if sigmas <= 0:
        return np.zeros(band_passed.shape, bool)
    size = np.abs(band_passed)
    common = float(np.quantile(size, 1.0 - COMMON_SHARE))
    far = size > max(sigmas * MAD_TO_SD * float(np.median(size)), OVER_COMMON * common)
    return np.asarray(ndimage.binary_dilation(far, iterations=grow_px))


def shell_power(F: NDArray[np.complexfloating], s_per_A: Real, shell_per_A: float, band: Real
                ) -> Floats:
    """Power in shells where the band passes, mean 1 over them; outside the nearest is taken."""
    index = np.minimum(s_per_A / shell_per_A, N_SHELLS).astype(np.intp)
    inside = band > 0.1
    flat = np.where(inside, F.real**2 + F.imag**2, 0).ravel()
    weight = np.where(inside, band.astype(np.float64) ** 2, 0).ravel()
    total = np.bincount(index.ravel(), flat, N_SHELLS + 1)
    count = np.bincount(index.ravel(), weight, N_SHELLS + 1)
    known = np.flatnonzero((count > 0) & (total > 0))
    if len(known) == 0:
        return np.ones(N_SHELLS + 1)
    power = np.interp(np.arange(N_SHELLS + 1), known, total[known] / count[known])
    return np.asarray(power / power[known].mean())


def on_frequencies(power: Floats, s_per_A: Real, shell_per_A: float) -> Real:
    """Power at frequencies, linear between the middles of shells."""
    place = s_per_A.ravel() / shell_per_A - 0.5
    return np.interp(place, np.arange(N_SHELLS + 1), power).reshape(s_per_A.shape).astype(
        np.float32)


def local_sd(whitened: Real, known: Flags, radius_zyx_px: Floats) -> Real:
    """Standard deviation in a sphere about every voxel, of the voxels that are not masked."""
    shape = whitened.shape
    axes = np.meshgrid(*(np.fft.fftfreq(n, 1.0 / n) / r for n, r in
                         zip(shape, radius_zyx_px, strict=True)), indexing="ij", sparse=True)
    sphere = (sum(a**2 for a in axes) <= 1.0).astype(np.float32)
    S = scipy.fft.rfftn(sphere)
    kept = known.astype(np.float32)
    squares = scipy.fft.irfftn(scipy.fft.rfftn(whitened**2 * kept) * S, s=shape)
    count = scipy.fft.irfftn(scipy.fft.rfftn(kept) * S, s=shape)
    variance = np.maximum(squares, 0) / np.maximum(count, 0.2 * float(sphere.sum()))
    floor = 0.25 * float(np.median(variance[known])) if known.any() else 1.0
    return np.sqrt(np.maximum(variance, max(floor, 1e-30))).astype(np.float32)


def _allowed(bead: Flags, edge_px: Floats, radius_zyx_px: Floats) -> Flags:
    allowed = ~bead
    if bead.any():
        allowed = ndimage.distance_transform_edt(~bead, sampling=1.0 / radius_zyx_px) > 1.0
    inner = np.zeros(bead.shape, bool)
    margin = [min(int(np.ceil(e)), n // 2) for e, n in zip(edge_px, bead.shape, strict=True)]
    inner[tuple(slice(m, n - m) for m, n in zip(margin, bead.shape, strict=True))] = True
    return np.asarray(allowed & inner)
