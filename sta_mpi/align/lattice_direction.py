"""Where the neighbours of a lattice lie in the XY plane of a reference.

Two ways: in the map, and among the particles themselves, whose places say it without a bias.
A reference cut from a lattice holds its neighbours. Its autocorrelation at in-plane shifts t,
divided by that of the mask (the overlap), peaks at the lattice's own vectors; the nearest of
them gives spacing and direction, modulo 360 / n for an n-fold axis along z.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

LEAST_OVERLAP = 0.15
"""Shifts that leave less than this of the mask over itself are not looked at."""
LEAST_CORRELATION = 0.3
"""A peak below this is no lattice."""
LEAST_CONTRAST = 0.1
"""And so is one that stands out from its ring by less."""
FEW, MOST_NEIGHBOURS = 200, 60
"""Distances of up to so many particles are all looked at; of more, those to the nearest ones."""
LEAST_PAIRS, LEAST_AGREEMENT = 12, 0.4
"""From where on neighbours of particles say what the direction is."""
NEARLY = 0.7
"""Peaks of this share of the highest one are peaks of the lattice as well."""
_STEP_DEG = 1.0


@dataclass(frozen=True)
class LatticeDirection:
    """The nearest neighbours.

    Parameters
    ----------
    angle_deg : float        direction from +x towards +y, 0 to 360 / n
    spacing_px : float
    correlation : float      of the map with itself shifted onto the neighbour
    contrast : float         the same, over the mean of the ring at that distance
    """

    angle_deg: float
    spacing_px: float
    correlation: float
    contrast: float

    @property
    def is_lattice(self) -> bool:
        """Whether the peak is one."""
        return self.correlation >= LEAST_CORRELATION and self.contrast >= LEAST_CONTRAST


def lattice_direction(data: Map, mask: Map, n_fold: int, spacing_px: float | None = None
                      ) -> LatticeDirection | None:
    """Direction to the nearest neighbours of an n-fold reference; None where nothing fits.

    Parameters
    ----------
    data, mask : (n, n, n)        low-passed, its axis along z
    n_fold : int
    spacing_px : float or None    known spacing; None: the nearest high peak beyond the centre's own
    """
    table, radii, angles = _polar(in_plane_correlation(data, mask), n_fold)
    rings = np.nanmean(table, axis=1)
    if spacing_px is None:
        valley = _first_valley(rings)
        wanted = np.isfinite(rings) & (np.arange(len(radii)) > valley)
    else:
        wanted = np.isfinite(rings) & (np.abs(radii - spacing_px) <= 0.2 * spacing_px)
    if not wanted.any():
        return None
    inside = np.where(wanted[:, None], np.nan_to_num(table, nan=-np.inf), -np.inf)
    i = _nearest_peak(inside.max(axis=1))
    j = int(inside[i].argmax())
    return LatticeDirection(_peak(table[i], angles, j, 360.0 / n_fold), float(radii[i]),
                            float(table[i, j]), float(table[i, j] - rings[i]))


@dataclass(frozen=True)
class NeighbourDirection:
    """What particles say of the direction to their neighbours.

    Parameters
    ----------
    angle_deg : float     mean direction in the particles' own axes, 0 to 360 / n
    agreement : float     length of the mean direction: 1 where all agree, 0 for none
    pairs : int
    """

    angle_deg: float
    agreement: float
    pairs: int

    @property
    def is_lattice(self) -> bool:
        """Whether enough neighbours agree."""
        return self.pairs >= LEAST_PAIRS and self.agreement >= LEAST_AGREEMENT


def neighbour_spacing_A(position_A: Floats, i_tomo: NDArray[np.int32], least_A: float
                        ) -> float | None:
    """Median distance to the nearest particle that is no nearer than `least_A`.

    Nearer ones are the same site, found twice. None where a particle is alone.
    """
    nearest = []
    for tomogram in np.unique(i_tomo):
        own = position_A[i_tomo == tomogram]
        distance = np.linalg.norm(own[:, None] - own[None], axis=2) if len(own) <= FEW else \
            cKDTree(own).query(own, k=MOST_NEIGHBOURS)[0]
        far = np.where(distance >= least_A, distance, np.inf).min(axis=1)
        nearest.append(far[np.isfinite(far)])
    every = np.concatenate(nearest)
    return float(np.median(every)) if len(every) else None


def neighbour_direction(position_A: Floats, R_p2t: Floats, i_tomo: NDArray[np.int32], n_fold: int,
                        spacing_A: float) -> NeighbourDirection:
    """Direction to the neighbours of particles, modulo 360 / n.

    Parameters
    ----------
    position_A, R_p2t, i_tomo : (n, 3), (n, 3, 3), (n,)
    n_fold : int
    spacing_A : float    pairs within 0.75 to 1.25 of it count
    """
    total, count = 0.0j, 0
    for tomogram in np.unique(i_tomo):
        rows = np.flatnonzero(i_tomo == tomogram)
        pairs = cKDTree(position_A[rows]).query_pairs(1.25 * spacing_A, output_type="ndarray")
        a, b = rows[np.concatenate([pairs, pairs[:, ::-1]])].T
        seen = np.einsum("nji,nj->ni", R_p2t[a], position_A[b] - position_A[a])
        flat = np.hypot(seen[:, 0], seen[:, 1])
        seen = seen[(flat > 0.75 * spacing_A) & (flat < 1.25 * spacing_A)]
        total += np.exp(1j * n_fold * np.arctan2(seen[:, 1], seen[:, 0])).sum()
        count += len(seen)
    angle_deg = np.degrees(np.angle(total)) / n_fold % (360.0 / n_fold)
    return NeighbourDirection(float(angle_deg), float(abs(total) / max(count, 1)), count)


def in_plane_correlation(data: Map, mask: Map) -> Floats:
    """(n, n) correlation of the map with itself at shifts (y, x) from the centre pixel.

    NaN where the masks hardly overlap.
    """
    n = len(data)
    inside = mask.astype(np.float64)
    centred = (data - np.average(data, weights=inside)) * inside
    size = (2 * n,) * 3

    def spectrum(values: Floats) -> NDArray[np.complex128]:
        return np.asarray(rfftn(values, size))

    def plane(product: NDArray[np.complex128]) -> Floats:
        whole = irfftn(product, size)[0]
        return np.fft.fftshift(whole)[n - n // 2 : n + n - n // 2, n - n // 2 : n + n - n // 2]

    m, f, f2 = spectrum(inside), spectrum(centred), spectrum(centred**2 / np.maximum(inside, 1e-6))
    overlap = plane(m * m.conj())
    cross = plane(f * f.conj())
    power = plane(f2 * m.conj()), plane(m * f2.conj())
    norm = np.sqrt(np.maximum(power[0] * power[1], 1e-30))
    return np.where(overlap > LEAST_OVERLAP * overlap.max(), cross / norm, np.nan)


def _polar(surface: Floats, n_fold: int) -> tuple[Floats, Floats, Floats]:
    """(table (radii, angles), radii [px], angles [deg]) averaged over the n-fold turns."""
    n = len(surface)
    radii = np.arange(2.0, n // 2 - 1, 0.5)
    angles = np.arange(0.0, 360.0 / n_fold - 1e-9, _STEP_DEG)
    turned = np.radians(angles[:, None] + 360.0 / n_fold * np.arange(n_fold))
    x = n // 2 + radii[:, None, None] * np.cos(turned)
    y = n // 2 + radii[:, None, None] * np.sin(turned)
    known = np.isfinite(surface)
    filled = np.where(known, surface, 0.0)
    values = map_coordinates(filled, [y, x], order=1)
    trusted = map_coordinates(known.astype(float), [y, x], order=1) > 0.99
    mean = np.where(trusted, values, np.nan)
    return np.where(trusted.all(axis=2), mean.mean(axis=2), np.nan), radii, angles


def _first_valley(rings: Floats) -> int:
    """Where the peak of no shift ends: the first ring from which the mean rises again."""
    for i in range(1, len(rings) - 1):
        if not np.isfinite(rings[i + 1]) or rings[i + 1] > rings[i]:
            return i
    return len(rings)


def _nearest_peak(tops: Floats) -> int:
    """The first ring whose top is a maximum nearly as high as the highest.

    All vectors of a lattice are as good as the nearest ones, and their sums are no neighbours.
    """
    enough = NEARLY * tops.max()
    for i in range(1, len(tops) - 1):
        if tops[i] >= enough and tops[i] >= tops[i - 1] and tops[i] >= tops[i + 1]:
            return i
    return int(tops.argmax())


def _peak(row: Floats, angles: Floats, j: int, period_deg: float) -> float:
    """Direction of a maximum by a parabola through three angles."""
    a, b, c = row[j - 1], row[j], row[(j + 1) % len(row)]
    curve = a - 2 * b + c
    move = 0.0 if not np.isfinite(curve) or curve >= 0 else float(np.clip(
        0.5 * (a - c) / curve, -0.5, 0.5))
    return float((angles[j] + move * _STEP_DEG) % period_deg)
