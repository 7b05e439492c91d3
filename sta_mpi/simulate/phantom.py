"""Phantoms made of three-dimensional Gaussian blobs, whose Fourier transform is analytic.

    rho(x) = sum_j m_j (2 pi sigma_j^2)^(-3/2) exp(-|x - c_j|^2 / (2 sigma_j^2))
    F(s)   = sum_j m_j exp(-2 pi^2 sigma_j^2 |s|^2) exp(-2 pi i s.c_j)

A projection is the same sum over the *rotated* blob centres, so a view needs no
interpolation and does not use the central-slice theorem of the reconstruction code.

Conventions: coordinates xyz in Å from the phantom's centre, which lies on voxel n // 2 of a
sampled map; voxel values are density; a projection is the sum of voxels along the beam and
its transform is orthonormal with the origin at index 0.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn

Floats = NDArray[np.float64]
ComplexImages = NDArray[np.complex64]


class Phantom(Protocol):
    """What the simulator needs of an object."""

    @property
    def radius_A(self) -> float:
        """Radius of the sphere about the centre that holds the object [Å]."""

    def views_rft(self, M: Floats, n: int, pixel_A: float) -> ComplexImages:
        """Orthonormal transforms (m, n, n//2+1) of the projections in orientations M (m, 3, 3)."""

    def truth_map(self, n: int, voxel_A: float) -> NDArray[np.float32]:
        """The object as an (n, n, n) map, band-limited like its views."""


@dataclass(frozen=True)
class GaussianPhantom:
    """A sum of isotropic Gaussian blobs.

    Parameters
    ----------
    centre_A : (b, 3) float64   blob centres, xyz [Å]
    sigma_A : (b,) float64      blob widths [Å]
    mass : (b,) float64         integral of each blob [density × Å^3]
    """

    centre_A: Floats
    sigma_A: Floats
    mass: Floats

    def __post_init__(self) -> None:
        n = len(self.mass)
        if self.centre_A.shape != (n, 3) or self.sigma_A.shape != (n,):
            raise ValueError(
                f"centres {self.centre_A.shape} and widths {self.sigma_A.shape} for {n} blobs")

    @property
    def radius_A(self) -> float:
        """Radius that holds every blob to three standard deviations [Å]."""
        return float(np.max(np.linalg.norm(self.centre_A, axis=1) + 3.0 * self.sigma_A))

    def views_rft(self, M: Floats, n: int, pixel_A: float) -> ComplexImages:
        """Transforms of projections, exact at every frequency; see `Phantom`.

        The Nyquist row and column of an even n, which a real image cannot hold in full, are 0.
        Cost: b n^2 / 2 complex multiply-adds a view.
        """
        kx, ky = _axis_frequencies(n)
        views = np.empty((len(M), n, n // 2 + 1), np.complex64)
        for i, turn in enumerate(M):
            in_image_A = self.centre_A @ turn[:2].T
            factor_x = _blob_factors(kx, in_image_A[:, 0], self.sigma_A, n * pixel_A)
            factor_y = _blob_factors(ky, in_image_A[:, 1], self.sigma_A, n * pixel_A)
            factor_y *= self.mass[:, None] / (n * pixel_A**3)
            views[i] = factor_y.astype(np.complex64).T @ factor_x.astype(np.complex64)
        return _without_nyquist(views, n)

    def density_map(self, n: int, voxel_A: float) -> NDArray[np.float32]:
        """The real-space formula at the voxel centres of an (n, n, n) map [z, y, x].

        Differs from `truth_map` where blobs are narrower than about one voxel (aliasing).
        """
        axis_A = np.asarray((np.arange(n) - n // 2) * voxel_A, np.float64)
        factors = [_gauss(axis_A, self.centre_A[:, a], self.sigma_A) for a in (2, 1, 0)]
        factors[0] *= self.mass[:, None]
        return _sum_of_products(*factors).astype(np.float32)

    def truth_map(self, n: int, voxel_A: float) -> NDArray[np.float32]:
        """Inverse transform of F sampled on the frequencies of an (n, n, n) map; see `Phantom`."""
        kx, ky = _axis_frequencies(n)
        wide = n * voxel_A
        fx = _blob_factors(kx, self.centre_A[:, 0], self.sigma_A, wide)
        fy = _blob_factors(ky, self.centre_A[:, 1], self.sigma_A, wide)
        fz = _blob_factors(ky, self.centre_A[:, 2], self.sigma_A, wide)
        fz *= self.mass[:, None] / voxel_A**3
        spectrum = _without_nyquist(_sum_of_products(fz, fy, fx), n)
        if n % 2 == 0:
            spectrum[n // 2] = 0
        return np.fft.fftshift(irfftn(spectrum, s=(n, n, n))).astype(np.float32)


@dataclass(frozen=True)
class SpherePhantom:
    """A uniform ball, such as a gold bead: F(s) = 3 V rho (sin x - x cos x) / x^3, x = 2 pi R s.

    Parameters
    ----------
    ball_radius_A : float
    density : float       relative to the phantoms' protein, about 1
    soft_A : float        standard deviation of the Gaussian that rounds the edge [Å]
    """

    ball_radius_A: float
    density: float
    soft_A: float = 2.0

    @property
    def radius_A(self) -> float:
        """Radius of the ball with its soft edge [Å]."""
        return self.ball_radius_A + 3.0 * self.soft_A

    def views_rft(self, M: Floats, n: int, pixel_A: float) -> ComplexImages:
        """The same view for every orientation; see `Phantom`."""
        kx, ky = _axis_frequencies(n)
        s = np.hypot(ky[:, None], kx[None, :]) / (n * pixel_A)
        view = (self._transform(s) / (n * pixel_A**3)).astype(np.complex64)
        return np.repeat(_without_nyquist(view[None], n), len(M), axis=0)

    def truth_map(self, n: int, voxel_A: float) -> NDArray[np.float32]:
        """The ball as a band-limited map; see `Phantom`."""
        kx, ky = _axis_frequencies(n)
        s = np.sqrt(ky[:, None, None]**2 + ky[:, None]**2 + kx**2) / (n * voxel_A)
        spectrum = _without_nyquist((self._transform(s) / voxel_A**3).astype(complex), n)
        if n % 2 == 0:
            spectrum[n // 2] = 0
        return np.fft.fftshift(irfftn(spectrum, s=(n, n, n))).astype(np.float32)

    def _transform(self, s_per_A: Floats) -> Floats:
        x = np.maximum(2 * np.pi * self.ball_radius_A * s_per_A, 1e-3)
        volume = 4 / 3 * np.pi * self.ball_radius_A**3
        ball = 3 * volume * self.density * (np.sin(x) - x * np.cos(x)) / x**3
        return np.asarray(ball * np.exp(-2 * (np.pi * self.soft_A * s_per_A) ** 2))


def _axis_frequencies(n: int) -> tuple[Floats, Floats]:
    """Index frequencies of the half axis (0 .. n//2) and of a full axis in fft order."""
    return np.arange(n // 2 + 1, dtype=float), np.asarray(np.fft.fftfreq(n, 1.0 / n), np.float64)


def _blob_factors(k: Floats, at_A: Floats, sigma_A: Floats, wide_A: float) -> NDArray:
    """One axis of every blob's transform at frequencies k / wide_A: (b, len(k)) complex128."""
    s = k[None, :] / wide_A
    return np.exp(-2.0 * (np.pi * sigma_A[:, None] * s) ** 2 - 2j * np.pi * s * at_A[:, None])


def _gauss(axis_A: Floats, at_A: Floats, sigma_A: Floats) -> Floats:
    """One axis of every blob in real space: (b, len(axis))."""
    t = (axis_A[None, :] - at_A[:, None]) / sigma_A[:, None]
    return np.asarray(np.exp(-0.5 * t * t) / (np.sqrt(2 * np.pi) * sigma_A[:, None]))


def _sum_of_products(fz: NDArray, fy: NDArray, fx: NDArray) -> NDArray:
    """sum_j fz[j, z] fy[j, y] fx[j, x] as one matrix product a plane."""
    planes = np.empty((fz.shape[1], fy.shape[1], fx.shape[1]), fx.dtype)
    for z in range(fz.shape[1]):
        planes[z] = (fy * fz[:, z, None]).T @ fx
    return planes


def _without_nyquist(transforms: NDArray, n: int) -> NDArray:
    """Zero the y and x Nyquist lines of (..., n, n//2+1) half transforms of even n."""
    if n % 2 == 0:
        transforms[..., n // 2] = 0
        transforms[..., n // 2, :] = 0
    return transforms
