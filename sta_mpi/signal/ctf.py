"""Contrast transfer function of tilts at the depth of a particle.

    gamma(u) = pi lambda u^T D u + pi/2 Cs lambda^3 |u|^4 - atan(Q / sqrt(1 - Q^2))
               - phase shift + gamma_even(u),      D = R^T(alpha) diag(-dU, -dV) R(alpha)
    CTF(u)   = -sin gamma

with u in 1/Å, alpha the angle of defocus U, R(alpha) = ((cos, sin), (-sin, cos)). Underfocus
is positive; the CTF is positive at low frequency (bright protein). Formula and constants are
RELION's (src/ctf.cpp, src/ctf.h). Dose damping and the scale of a tilt are in `signal.dose`
and `TiltSeries.ctf_scale`; they multiply what is computed here.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.kernels.ctf import TiltPhases, ctf_image_stack
from sta_mpi.signal.zernike import even_phase_rad, odd_phase_rad

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CtfParameters:
    """CTF of m images of one optics group.

    Parameters
    ----------
    defocus_u_A, defocus_v_A : (m,) float64   underfocus positive, at the particle
    astig_deg : (m,) float64                  angle of defocus U
    phase_shift_deg : (m,) float64
    optics : Optics
    """

    defocus_u_A: Floats
    defocus_v_A: Floats
    astig_deg: Floats
    phase_shift_deg: Floats
    optics: Optics


def ctf_coefficients(ts: TiltSeries, xyz_A: Floats) -> CtfParameters:
    """CTF of all tilts for a particle at xyz_A (3,) [Å from the tomogram centre].

    Depth along the beam, times hand and slope of the series, is added to both defoci.
    """
    offset = ts.defocus_offset_A(np.asarray(xyz_A, float))
    return CtfParameters(ts.defocus_u_A + offset, ts.defocus_v_A + offset,
                         ts.astig_deg, ts.phase_shift_deg, ts.optics)


def phase_polynomial(parameters: CtfParameters, n: int, pixel_A: float) -> Floats:
    """(m, 5) coefficients of gamma / (2 pi) in index units of an image of n px of pixel_A.

    In the order of `kernels.ctf.ctf_image_stack`: kx^2, kx ky, ky^2, |k|^4, constant.
    """
    optics = parameters.optics
    wavelength = optics.wavelength_A
    step = 1.0 / (n * pixel_A)
    alpha = np.radians(parameters.astig_deg)
    c, s = np.cos(alpha), np.sin(alpha)
    u, v = parameters.defocus_u_A, parameters.defocus_v_A
    half = 0.5 * wavelength * step**2
    cs_A = optics.cs_mm * 1e7
    # arcsin(Q) is atan(Q / sqrt(1 - Q^2)), also at Q = 1
    constant = -np.arcsin(optics.amp_contrast) - np.radians(parameters.phase_shift_deg)
    return np.stack([
        -half * (u * c * c + v * s * s),
        -half * 2 * (u - v) * c * s,
        -half * (u * s * s + v * c * c),
        np.full_like(u, 0.25 * cs_A * wavelength**3 * step**4),
        constant / (2 * np.pi),
    ], axis=-1)


def tilt_phases(ts: TiltSeries, n: int, pixel_A: float) -> TiltPhases:
    """Phases of all tilts for particles anywhere in the tomogram, on images of n px of pixel_A.

    Depth changes both defoci by as much, and the coefficients of kx^2 and ky^2 with them.
    """
    coefficients, extra = phase_terms(ctf_coefficients(ts, np.zeros(3)), n, pixel_A)
    per_defocus_A = -0.5 * ts.optics.wavelength_A / (n * pixel_A) ** 2
    return TiltPhases(coefficients, per_defocus_A * ts.defocus_offset_A(np.eye(3)).T.copy(), extra)


def phase_terms(parameters: CtfParameters, n: int, pixel_A: float) -> tuple[Floats, Floats | None]:
    """`phase_polynomial` and the (n, n//2+1) cycles of the even aberrations, None without any."""
    zernike = parameters.optics.even_zernike
    extra = _even_cycles(tuple(zernike), n, pixel_A) if np.any(zernike) else None
    return phase_polynomial(parameters, n, pixel_A), extra


def ctf_images(parameters: CtfParameters, n: int, pixel_A: float,
               damping: NDArray[np.float32] | None = None,
               out: NDArray[np.float32] | None = None, device: str = "cpu"
               ) -> NDArray[np.float32]:
    """CTF on half transforms of n x n images, sign included, at least 1e-8 in magnitude.

    Parameters
    ----------
    parameters : CtfParameters                 m images
    n : int                                    image size [px]
    pixel_A : float
    damping : (m, n, n//2+1) float32 or None   factor, e.g. scale times dose damping
    out : (m, n, n//2+1) float32 or None       written when given
    device : "cpu" or "gpu"

    Returns
    -------
    (m, n, n//2+1) float32
    """
    polynomial, extra = phase_terms(parameters, n, pixel_A)
    return ctf_image_stack(polynomial, n, extra, damping, out, device)


def odd_aberration_factors(optics: Optics, n: int, pixel_A: float) -> NDArray[np.complex64] | None:
    """(n, n//2+1) exp(-i gamma_odd) that observed transforms are multiplied by; None for none."""
    if not np.any(optics.odd_zernike):
        return None
    phase = odd_phase_rad(optics.odd_zernike, *_frequencies(n, pixel_A))
    return np.exp(-1j * phase).astype(np.complex64)


@lru_cache(maxsize=4)
def _even_cycles(zernike: tuple[float, ...], n: int, pixel_A: float) -> Floats:
    """gamma_even / (2 pi) of a half transform: the same for all images of an optics group."""
    cycles = even_phase_rad(np.array(zernike), *_frequencies(n, pixel_A)) / (2 * np.pi)
    cycles.flags.writeable = False
    return np.asarray(cycles)


def _frequencies(n: int, pixel_A: float) -> tuple[Floats, Floats]:
    """(x, y) of a half transform in 1/Å, to be broadcast."""
    x = np.arange(n // 2 + 1)[None, :] / (n * pixel_A)
    y = np.fft.fftfreq(n, pixel_A)[:, None]
    return x, np.asarray(y)
