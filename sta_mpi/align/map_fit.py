"""Fitting one map to another: all rotations in a low band, the best ones refined.

Both maps are divided by the root of the rms amplitude of each shell: half way between what white
noise asks for (nothing) and what a signal without noise does (all of it). The score of a move is
the correlation of the two over the band,

    score(R, t) = Re sum conj(F(k)) exp(-2 pi i k.t / n) V(R^T k) / norm.

For one rotation the best shift is the peak of an inverse FFT. Bands are kept in small boxes
(Fourier crops): a frequency index means the same in all of them.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.optimize import minimize

from sta_mpi.align.move_map import RigidMove
from sta_mpi.align.reference import shell_means
from sta_mpi.geometry.rotations import angular_distance_deg, rotation_from_vector
from sta_mpi.geometry.sampling import healpix_rotations
from sta_mpi.kernels.gather import GatherVolume, gather_box, prepare_gather
from sta_mpi.signal.fft import FftPlans, crop_rft3, radius_rft, shift_phases_3d
from sta_mpi.signal.masks import apply_mask

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

COARSE_SHELL = 7.0
"""Highest frequency index of the global search: a grid of 15 degrees is fine enough for it."""

_OVERSAMPLE = 2
_REFINED = 8
"""Candidates of the global search that are refined."""


@dataclass(frozen=True)
class BandMap:
    """A map in a band of frequencies.

    Parameters
    ----------
    spectrum : (m, m, m//2+1) complex64   half whitened, zero outside of the band
    volume : GatherVolume                 the same, to be read at turned frequencies
    weight : (m, m, m//2+1) float64       samples that each entry stands for
    r_max : float                         frequency index
    px_per_own_px : float                 voxels of the full box a voxel of the small one
    """

    spectrum: NDArray[np.complex64]
    volume: GatherVolume
    weight: Floats
    r_max: float
    px_per_own_px: float

    @property
    def box_px(self) -> int:
        """Edge m of the small box."""
        return len(self.spectrum)

    def turned(self, R: Floats) -> NDArray[np.complex64]:
        """Transform of the map turned by R."""
        return gather_box(self.volume, np.ascontiguousarray(R.T), self.box_px, self.r_max)


def make_band(data: Map, mask: Map | None, r_min: float, r_max: float, plans: FftPlans) -> BandMap:
    """Mask a map (n, n, n), take its band of frequency indices r_min to r_max, half whiten."""
    n = len(data)
    r_max = min(r_max, n // 2 - 1.0)
    m = min(n - n % 2, 2 * (int(np.ceil(r_max)) + 2))
    masked = data if mask is None else apply_mask(data, mask)
    spectrum = crop_rft3(plans.rfft3(np.ascontiguousarray(masked, np.float32)), m)
    radius = radius_rft(spectrum.shape)
    power = shell_means(np.abs(spectrum).astype(np.float64) ** 2)
    divisor = np.maximum(power, 1e-30) ** 0.25
    spectrum /= np.interp(radius, np.arange(m // 2 + 1), divisor).astype(np.float32)
    inside = (radius >= r_min) & (radius <= r_max)
    spectrum *= inside
    weight = np.where(np.arange(m // 2 + 1) == 0, 1.0, 2.0) * inside
    volume = prepare_gather(np.asarray(spectrum, np.complex64), plans, 2.0, r_max)
    return BandMap(np.asarray(spectrum, np.complex64), volume, weight, r_max, n / m)


def correlation(fixed: BandMap, moving: BandMap, move: RigidMove) -> float:
    """Correlation over the band of `fixed` and of `moving` after a move."""
    turned = moving.turned(move.R)
    shifted = turned * shift_phases_3d(fixed.box_px, move.t_px / fixed.px_per_own_px)
    cross = float(np.sum(fixed.weight * (fixed.spectrum.conj() * shifted).real))
    return cross / _norm(fixed.spectrum, turned, fixed.weight)


def _norm(a: NDArray[np.complex64], b: NDArray[np.complex64], weight: Floats) -> float:
    power = [float(np.sum(weight * np.abs(v) ** 2)) for v in (a, b)]
    return float(np.sqrt(max(power[0] * power[1], 1e-60)))


def best_shift(fixed: BandMap, moving: BandMap, R: Floats, max_shift_px: float
               ) -> tuple[float, Floats]:
    """(score, shift (3,) px) of the best shift of a turned map."""
    turned = moving.turned(R)
    product = fixed.spectrum * turned.conj() * (fixed.weight > 0)
    m = fixed.box_px
    fine = _OVERSAMPLE * m
    surface = scipy.fft.irfftn(crop_rft3(product.astype(np.complex64), fine), s=(fine,) * 3)
    step_px = fixed.px_per_own_px / _OVERSAMPLE
    reach = np.fft.fftfreq(fine) * fine * step_px
    far = (reach[:, None, None] ** 2 + reach[:, None] ** 2 + reach**2) > max_shift_px**2
    surface[far] = -np.inf
    z, y, x = np.unravel_index(int(surface.argmax()), surface.shape)
    score = float(surface[z, y, x]) * fine**3 / _norm(fixed.spectrum, turned, fixed.weight)
    return score, np.array([reach[x], reach[y], reach[z]])


def refine_move(fixed: BandMap, moving: BandMap, start: RigidMove, first_step: float = 1.0
                ) -> tuple[RigidMove, float]:
    """Climb to the best move near a start; (move, score).

    Parameters
    ----------
    first_step : float    in units of 1 / r_max [rad] and of the shift that turns the phase of
                          r_max by one radian
    """
    r = fixed.r_max
    px = fixed.box_px * fixed.px_per_own_px / (2 * np.pi * r)

    def at(p: Floats) -> RigidMove:
        return RigidMove(start.R @ rotation_from_vector(p[:3] / r), start.t_px + p[3:] * px)

    simplex = np.vstack([np.zeros(6), first_step * np.eye(6)])
    found = minimize(lambda p: -correlation(fixed, moving, at(p)), np.zeros(6),
                     method="Nelder-Mead", options={
                         "initial_simplex": simplex, "xatol": 2e-3, "fatol": 1e-7,
                         "maxfev": 600})
    return at(found.x), float(-found.fun)


def fit_map(moving: Map, fixed: Map, mask: Map | None, r_max: float, max_shift_px: float,
            plans: FftPlans, is_global: bool = True) -> tuple[RigidMove, float]:
    """The move that brings `moving` onto `fixed`, and its score.

    Parameters
    ----------
    moving, fixed : (n, n, n) float32
    mask : (n, n, n) or None       put on the fixed map
    r_max : float                  highest frequency index used
    is_global : bool               all rotations; else only the neighbourhood of no move
    """
    coarse = min(COARSE_SHELL, r_max)
    bands = [(make_band(fixed, mask, 1.0, r, plans), make_band(moving, None, 1.0, r, plans))
             for r in band_edges(coarse, r_max)]
    a, b = bands[0]
    starts = [RigidMove(np.eye(3), np.zeros(3))]
    if is_global:
        starts = _global_starts(a, b, max_shift_px)
    else:
        starts = [RigidMove(np.eye(3), best_shift(a, b, np.eye(3), max_shift_px)[1])]
    move, score = max((refine_move(a, b, start) for start in starts), key=lambda found: found[1])
    for a, b in bands[1:]:
        move, score = refine_move(a, b, move, 0.5)
    return move, score


def band_edges(coarse: float, r_max: float) -> list[float]:
    """Highest shells of the bands that a fit goes through, each at most twice the one before."""
    edges = [min(coarse, r_max)]
    while edges[-1] < r_max:
        edges.append(min(2 * edges[-1], r_max))
    return edges


def _global_starts(fixed: BandMap, moving: BandMap, max_shift_px: float) -> list[RigidMove]:
    """The best rotations, each with its best shift, that are not neighbours of each other."""
    rotations = healpix_rotations(2)
    found = [best_shift(fixed, moving, R, max_shift_px) for R in rotations]
    kept: list[RigidMove] = []
    for i in np.argsort([-score for score, _ in found], kind="stable"):
        if all(angular_distance_deg(rotations[i], k.R) > 20.0 for k in kept):
            kept.append(RigidMove(rotations[i], found[i][1]))
        if len(kept) == _REFINED:
            break
    return kept
