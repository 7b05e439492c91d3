"""FSC by direction: shells cut into cones, and how much the resolution differs between them.

A cone holds the samples within an angle of an axis, on both sides (Friedel). Its FSC is that of
the shell sums over the cone alone (Tan et al. 2017, Nat. Methods 14, 793; Diebolder et al. 2015,
J. Struct. Biol. 192, 155). Samples are first added up in HEALPix pixels of the sphere, shell by
shell, so any number of cones costs one pass over the transforms.

Anisotropy comes from preferred orientations and the missing wedge: a map can have a good
overall FSC and still be smeared along one axis.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.geometry.sampling import healpix_directions
from sta_mpi.signal.fsc import resolution_A

Map = NDArray[np.float32]
Floats = NDArray[np.float64]

PIXEL_ORDER = 4
"""Pixels of 3.7 degrees, in which samples are added up."""
CONE_ORDER = 3
"""Cone axes every 7.3 degrees."""
_CHUNK = 1 << 20
"""Samples that are sorted into pixels at once."""


@dataclass(frozen=True)
class DirectionalFsc:
    """FSC of two half maps in cones.

    Parameters
    ----------
    axes_xyz : (m, 3) float64       unit vectors of the cone axes, z >= 0
    curves : (m, n//2+1) float64
    resolution_A : (m,) float64     where a curve, smoothed over neighbouring shells, falls below
                                    the threshold; between shells
    cone_deg : float                half opening angle
    threshold : float
    """

    axes_xyz: Floats
    curves: Floats
    resolution_A: Floats
    cone_deg: float
    threshold: float

    @property
    def best(self) -> int:
        """Index of the axis of the best resolution."""
        return int(np.argmin(self.resolution_A))

    @property
    def worst(self) -> int:
        """Index of the axis of the worst resolution."""
        return int(np.argmax(self.resolution_A))

    @property
    def best_A(self) -> float:
        """Resolution that a twentieth of the directions beats."""
        return float(1.0 / np.quantile(1.0 / self.resolution_A, 0.95))

    @property
    def worst_A(self) -> float:
        """Resolution that a twentieth of the directions does not reach; inf without any."""
        s = float(np.quantile(1.0 / self.resolution_A, 0.05))
        return 1.0 / s if s > 0 else float("inf")

    @property
    def anisotropy(self) -> float:
        """`worst_A` over `best_A`; 1 is isotropic. Noise alone gives 1.1 to 1.3 in small boxes."""
        return self.worst_A / self.best_A


def directional_fsc(map1: Map, map2: Map, mask: Map, voxel_A: float, *,
                    randomised: Floats | None = None, from_shell: int | None = None,
                    cone_deg: float = 20.0, threshold: float = 0.143) -> DirectionalFsc:
    """FSC in cones around axes that cover the half sphere evenly.

    Parameters
    ----------
    map1, map2, mask : (n, n, n) float32
    voxel_A : float
    randomised : (n//2+1,) or None   FSC of the phase-randomised maps under this mask; with
                                     `from_shell` each cone is corrected by it
    cone_deg : float                 half opening angle of a cone
    threshold : float

    Notes
    -----
    The correction for the mask is that of the whole shell: what a mask correlates hardly depends on
    direction unless the mask is very flat. Low shells have few samples in a cone.
    """
    sums = _pixel_sums(map1 * mask, map2 * mask)
    axes = _cone_axes()
    pixels = _unit_vectors(healpix_directions(PIXEL_ORDER))
    inside = (np.abs(axes @ pixels.T) >= np.cos(np.radians(cone_deg))).astype(np.float64)
    cross, power1, power2 = (inside @ part for part in sums)
    norm = np.sqrt(power1 * power2)
    curves = np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0.0)
    curves[:, 0] = 1.0
    if randomised is not None and from_shell is not None:
        start = from_shell + 2
        n = np.minimum(np.asarray(randomised, np.float64)[start:], 0.999)
        curves[:, start:] = (curves[:, start:] - n) / (1.0 - n)
    curves = _fill_empty(curves, norm > 0.0)
    found = [resolution_A(c, voxel_A, map1.shape[0], threshold, "interpolated")
             for c in _smooth(curves)]
    return DirectionalFsc(axes, curves, np.array(found), cone_deg, threshold)


def _pixel_sums(map1: Map, map2: Map) -> tuple[Floats, Floats, Floats]:
    """Re(F1 conj F2), |F1|^2, |F2|^2 added up in pixels and shells, each (n_pixels, n//2+1).

    A few planes at a time, so that a large box needs little more than its transforms.
    """
    f1, f2 = (np.asarray(scipy.fft.rfftn(m, workers=1), np.complex64) for m in (map1, map2))
    n = map1.shape[0]
    n_shells = n // 2 + 1
    pixels = _unit_vectors(healpix_directions(PIXEL_ORDER))
    tree = cKDTree(pixels)
    frequency = np.fft.fftfreq(n, 1.0 / n)
    sums = np.zeros((3, len(pixels) * n_shells))
    step = max(1, _CHUNK // (n * n_shells))
    for z0 in range(0, n, step):
        planes = slice(z0, z0 + step)
        kz, ky, kx = np.meshgrid(frequency[planes], frequency, np.arange(float(n_shells)),
                                 indexing="ij")
        k = np.stack([kx, ky, kz], axis=-1)
        shell = np.floor(np.linalg.norm(k, axis=-1) + 0.5).astype(np.intp)
        used = (shell > 0) & (shell < n_shells)
        if not used.any():
            continue
        k, shell = k[used], shell[used]
        place = tree.query(k / np.linalg.norm(k, axis=1, keepdims=True))[1] * n_shells + shell
        # samples with 0 < kx < n/2 stand for their Friedel mates as well
        times = np.where((k[:, 0] == 0) | (2 * k[:, 0] == n), 1.0, 2.0)
        a, b = f1[planes][used], f2[planes][used]
        for total, term in zip(sums, (a.real * b.real + a.imag * b.imag, np.abs(a) ** 2,
                                      np.abs(b) ** 2), strict=True):
            total += np.bincount(place, times * term, len(total))
    cross, power1, power2 = sums.reshape(3, len(pixels), n_shells)
    return cross, power1, power2


def _fill_empty(curves: Floats, has_samples: NDArray[np.bool_]) -> Floats:
    """Give cones without a sample in a (low) shell the mean of the other cones there."""
    empty = ~has_samples
    empty[:, 0] = False
    mean = np.where(empty, 0.0, curves).sum(axis=0) / np.maximum((~empty).sum(axis=0), 1)
    return np.where(empty, mean, curves)


def _smooth(curves: Floats) -> Floats:
    """(1, 2, 1)/4 over neighbouring shells from shell 1 on: a cone has few samples a shell."""
    body = np.concatenate([curves[:, 1:2], curves[:, 1:], curves[:, -1:]], axis=1)
    smooth = 0.25 * body[:, :-2] + 0.5 * body[:, 1:-1] + 0.25 * body[:, 2:]
    return np.concatenate([curves[:, :1], smooth], axis=1)


def _cone_axes() -> Floats:
    directions = healpix_directions(CONE_ORDER)
    return _unit_vectors(directions[directions[:, 1] <= 90.0 + 1e-9])


def _unit_vectors(rot_tilt_deg: Floats) -> Floats:
    rot, tilt = np.radians(np.asarray(rot_tilt_deg, np.float64)).T
    return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=1)
