"""Particles from formulas of their own: nothing here is shared with the package under test.

Object: Gaussian blobs in particle axes (px), blob j with mass m_j, centre c_j, width g_j. With
the particle turned by R and moved by t, blob j lies at x = R c_j + t in the tomogram, and a
tilt by angle a about the stage axis y, seen with the tilt axis turned by angle r, puts it at

    X' = x cos a + z sin a,   Y' = y          X = X' cos r - Y' sin r,   Y = X' sin r + Y' cos r

The integral of the object along the beam is a sum of 2D Gaussians there, whose transform is
known: no slice of a volume, no interpolation, float64 throughout. The contrast transfer of a
wave of wavelength L is sin(pi L (dz s^2 - Cs L^2 s^4 / 2) + asin(Q)) (underfocus dz > 0).

Noise is drawn in real space, coloured in Fourier space, with a known power per tilt and
frequency. Images are n x n, transforms orthonormal with the origin at index 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

PIXEL_A = 4.0
LAMBDA_A = 0.0196874
"""Wavelength at 300 kV: h / sqrt(2 m e U (1 + e U / 2 m c^2))."""
CS_A, AMPLITUDE = 2.7e7, 0.07
AXIS_DEG = 85.0


@dataclass(frozen=True)
class Blobs:
    """An object: centres (b, 3) [px], widths (b,) [px], masses (b,)."""

    centre: Floats
    width: Floats
    mass: Floats

    def volume(self, n: int) -> NDArray[np.float32]:
        """The object on an (n, n, n) grid [z, y, x], band-limited like its images."""
        k = np.fft.fftfreq(n, 1 / n)
        axes = [np.exp(-2 * (np.pi * np.outer(self.width, k) / n) ** 2
                       - 2j * np.pi * np.outer(c, k) / n) for c in self.centre.T[::-1]]
        axes[0] *= self.mass[:, None]
        planes = np.stack([(axes[1] * axes[0][:, i, None]).T @ axes[2] for i in range(n)])
        planes[n // 2], planes[:, n // 2], planes[:, :, n // 2] = 0, 0, 0
        return np.fft.fftshift(np.fft.ifftn(planes).real).astype(np.float32)

    def mirrored(self) -> "Blobs":
        """The other hand."""
        return Blobs(self.centre * [1, 1, -1], self.width, self.mass)


def lumpy_object(radius_px: float, detail_px: float, n_blobs: int = 120, seed: int = 3) -> Blobs:
    """A compact asymmetric object: blobs in three unequal lobes that hold no mirror plane."""
    rng = np.random.default_rng(seed)
    lobe_at = radius_px * np.array([[0.40, 0.05, -0.30], [-0.32, 0.38, 0.15], [0.02, -0.40, 0.45]])
    lobe_size = radius_px * np.array([0.42, 0.34, 0.26])
    lobe = rng.choice(3, n_blobs, p=[0.5, 0.3, 0.2])
    ball = rng.normal(size=(n_blobs, 3))
    ball *= (rng.random(n_blobs) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None]
    centre = lobe_at[lobe] + lobe_size[lobe, None] * ball
    width = detail_px * rng.uniform(1.0, 1.4, n_blobs)
    mass = rng.uniform(0.5, 1.5, n_blobs) * width**3
    return Blobs(centre - mass @ centre / mass.sum(), width, mass)


@dataclass(frozen=True)
class Tilts:
    """How a particle is seen: tilt angles (m,) [deg], transfer and noise power (m, n, n//2+1)."""

    angle_deg: Floats
    transfer: Floats
    noise: Floats

    @property
    def rotation(self) -> Floats:
        """(m, 3, 3) tomogram axes to image axes and beam, from the formulas above."""
        a, r = np.radians(self.angle_deg), np.radians(AXIS_DEG)
        ca, sa, cr, sr, o = np.cos(a), np.sin(a), np.cos(r), np.sin(r), np.zeros(len(a))
        rows = [[ca * cr, o - sr, sa * cr], [ca * sr, o + cr, sa * sr], [-sa, o, ca]]
        return np.moveaxis(np.array(rows), 2, 0)


def draw_tilts(rng: np.random.Generator, n: int, noise_sd: float, n_tilts: int = 41,
               with_ctf: bool = True, colour: float = 2.0) -> Tilts:
    """41 tilts within 60 degrees; defocus 2 to 4 um that drifts; cosine scale; coloured noise."""
    angle = np.linspace(-60, 60, n_tilts)
    ky, kx = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
    k = np.hypot(kx, ky)
    transfer = np.ones((n_tilts, *k.shape))
    if with_ctf:
        defocus = rng.uniform(2e4, 4e4) + 400 * rng.normal(size=n_tilts)
        astigmatism, axis = 500.0, rng.uniform(0, np.pi)
        s2 = (k / (n * PIXEL_A)) ** 2
        for f in range(n_tilts):
            dz = defocus[f] + 0.5 * astigmatism * np.cos(2 * (np.arctan2(ky, kx) - axis))
            phase = np.pi * LAMBDA_A * (dz * s2 - 0.5 * CS_A * LAMBDA_A**2 * s2**2)
            transfer[f] = np.sin(phase + np.arcsin(AMPLITUDE)) * np.cos(np.radians(angle[f]))
    shape = (1 + colour * np.exp(-k / (n / 16))) / (1 + 0.2 * colour)
    power = noise_sd**2 * shape * (1 + 0.1 * np.sin(np.arange(n_tilts)))[:, None, None]
    return Tilts(angle, transfer, power)


def project(blobs: Blobs, tilts: Tilts, R: Floats, shift: Floats, n: int) -> Complex:
    """Noise-free transforms (m, n, n//2+1) before contrast transfer."""
    x, y, z = (blobs.centre @ R.T + shift).T
    ky, kx = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    r = np.radians(AXIS_DEG)
    damp_x = np.exp(-2 * (np.pi * np.outer(blobs.width, kx) / n) ** 2)
    damp_y = np.exp(-2 * (np.pi * np.outer(blobs.width, ky) / n) ** 2)
    damp_y *= blobs.mass[:, None] / n
    out = np.empty((len(tilts.angle_deg), n, n // 2 + 1), complex)
    for f, a in enumerate(np.radians(tilts.angle_deg)):
        across = x * np.cos(a) + z * np.sin(a)
        X, Y = across * np.cos(r) - y * np.sin(r), across * np.sin(r) + y * np.cos(r)
        waves_x = damp_x * np.exp(-2j * np.pi / n * np.outer(X, kx))
        waves_y = damp_y * np.exp(-2j * np.pi / n * np.outer(Y, ky))
        out[f] = waves_y.T @ waves_x
    return out


def draw_noise(rng: np.random.Generator, tilts: Tilts, n: int) -> Complex:
    """Transforms (m, n, n//2+1) of noise with the power of the tilts."""
    white = np.fft.rfft2(rng.normal(size=(len(tilts.angle_deg), n, n)), norm="ortho")
    return white * np.sqrt(tilts.noise)


def weighted(images: Complex, tilts: Tilts) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """What an alignment is given: a X / sigma^2 and a^2 / sigma^2."""
    return ((tilts.transfer * images / tilts.noise).astype(np.complex64),
            (tilts.transfer**2 / tilts.noise).astype(np.float32))


def moved(R: Floats, shift: Floats, step: Floats) -> tuple[Floats, Floats]:
    """A pose turned about the particle's own axes by step[:3] [rad] and moved by step[3:] [px]."""
    return R @ Rotation.from_rotvec(step[:3]).as_matrix(), shift + step[3:]


def pose_error(found_R: Floats, found_shift: Floats, R: Floats, shift: Floats) -> Floats:
    """(6,) rotation vector [rad] and shift [px] from the truth to what was found."""
    turn = Rotation.from_matrix(R.T @ found_R).as_rotvec()
    return np.concatenate([turn, found_shift - shift])


def half_disc(n: int, r_max: float) -> NDArray[np.bool_]:
    """One of each pair of Friedel mates with 0 < |k| <= r_max, on (n, n//2+1)."""
    ky, kx = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
    return ((kx > 0) | (ky > 0)) & (kx**2 + ky**2 <= r_max**2)


def fisher_information(blobs: Blobs, tilts: Tilts, R: Floats, shift: Floats, n: int,
                       radii: list[float]) -> list[Floats]:
    """(6, 6) information of a pose in discs of these radii, by central differences.

    Complex noise of power s^2 on one of each pair of mates: 2 / s^2 Re sum conj(dX_i) dX_j.
    """
    derivatives = []
    for j in range(6):
        step = np.zeros(6)
        step[j] = 1e-3
        above, below = (project(blobs, tilts, *moved(R, shift, sign * step), n)
                        for sign in (1, -1))
        derivatives.append(tilts.transfer / np.sqrt(tilts.noise) * (above - below) / (2 * step[j]))
    found = []
    for r in radii:
        A = np.stack([d[:, half_disc(n, r)].ravel() for d in derivatives])
        found.append(2 * (A.conj() @ A.T).real)
    return found


def mean_sample_snr(blobs: Blobs, tilts: Tilts, R: Floats, n: int, r_max: float) -> float:
    """Mean over samples of the disc of |a V|^2 / sigma^2."""
    V = project(blobs, tilts, R, np.zeros(3), n)
    return float(np.mean((np.abs(tilts.transfer * V) ** 2 / tilts.noise)[:, half_disc(n, r_max)]))
