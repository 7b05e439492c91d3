"""Electron optics of the simulator, from the physics of the wave and apart from `signal.ctf`.

A weak phase object seen with wave aberration chi and amplitude fraction Q gives a contrast
of -sin(chi + asin Q) in the recorded intensity: protein, which advances the phase, comes out
dark under underfocus. The functions here return +sin(chi + asin Q) and the image maker
applies the minus, so that both facts stay visible.

    chi(s, phi) = pi lambda d(phi) s^2 - (pi / 2) Cs lambda^3 s^4
    d(phi)      = (dU + dV) / 2 + (dU - dV) / 2 cos 2(phi - alpha)

with d > 0 for underfocus and phi the azimuth of the frequency (x towards y).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PLANCK_J_S = 6.62607015e-34
ELECTRON_KG = 9.1093837015e-31
CHARGE_C = 1.602176634e-19
LIGHT_M_S = 2.99792458e8


def wavelength_A(voltage_kV: float) -> float:
    """Relativistic de Broglie wavelength h / sqrt(2 m e V (1 + e V / 2 m c^2)) [Å]."""
    energy_J = CHARGE_C * voltage_kV * 1e3
    rest_J = ELECTRON_KG * LIGHT_M_S**2
    momentum = math.sqrt(2 * ELECTRON_KG * energy_J * (1 + energy_J / (2 * rest_J)))
    return PLANCK_J_S / momentum * 1e10


def transfer_phase(sx_per_A: Floats, sy_per_A: Floats, defocus_u_A: float, defocus_v_A: float,
                   astig_deg: float, *, voltage_kV: float, cs_mm: float, amp_contrast: float,
                   phase_shift_deg: float = 0.0) -> Floats:
    """chi + asin Q + phase shift [rad], whose sine is the contrast transfer.

    Parameters
    ----------
    sx_per_A, sy_per_A : broadcastable float64   frequency [1/Å]
    defocus_u_A, defocus_v_A : float             along `astig_deg` and across it, underfocus > 0
    astig_deg : float                            azimuth of defocus_u, x towards y
    phase_shift_deg : float                      of a phase plate
    """
    wavelength = wavelength_A(voltage_kV)
    s2 = sx_per_A**2 + sy_per_A**2
    azimuth = np.arctan2(sy_per_A, sx_per_A)
    defocus = (0.5 * (defocus_u_A + defocus_v_A)
               + 0.5 * (defocus_u_A - defocus_v_A) * np.cos(2 * (azimuth - np.radians(astig_deg))))
    chi = np.pi * wavelength * defocus * s2 - 0.5 * np.pi * cs_mm * 1e7 * wavelength**3 * s2**2
    return np.asarray(chi + math.asin(amp_contrast) + math.radians(phase_shift_deg))


def phase_per_defocus(sx_per_A: Floats, sy_per_A: Floats, voltage_kV: float) -> Floats:
    """Growth of chi with the defocus, pi lambda s^2 [rad/Å]."""
    return np.asarray(np.pi * wavelength_A(voltage_kV) * (sx_per_A**2 + sy_per_A**2))


def transfer(sx_per_A: Floats, sy_per_A: Floats, defocus_u_A: float, defocus_v_A: float,
             astig_deg: float, *, voltage_kV: float, cs_mm: float, amp_contrast: float,
             phase_shift_deg: float = 0.0) -> Floats:
    """Contrast transfer, positive at low frequency: the sine of `transfer_phase`."""
    return np.asarray(np.sin(transfer_phase(
        sx_per_A, sy_per_A, defocus_u_A, defocus_v_A, astig_deg, voltage_kV=voltage_kV,
        cs_mm=cs_mm, amp_contrast=amp_contrast, phase_shift_deg=phase_shift_deg)))


def dose_damping(s_per_A: Floats, pre_dose_e_per_A2: float,
                 b_factor_per_dose_A2: float = 0.0, b_factor_A2: float = 0.0) -> Floats:
    """Amplitude left after radiation damage, 1 at zero frequency.

    Parameters
    ----------
    s_per_A : float64                 |s|
    pre_dose_e_per_A2 : float         dose before the image
    b_factor_per_dose_A2 : float      > 0: exp(-B N s^2 / 4); 0: exp(-N / 2 Nc(s)) with the
                                      critical exposure Nc = 0.245 s^-1.665 + 2.81 of Grant and
                                      Grigorieff (2015)
    b_factor_A2 : float               exp(-B s^2 / 4) instead, where the dose is not known
                                      (negative)
    """
    if pre_dose_e_per_A2 < 0:
        return np.asarray(np.exp(-0.25 * b_factor_A2 * s_per_A**2))
    if b_factor_per_dose_A2 > 0:
        return np.asarray(np.exp(-0.25 * b_factor_per_dose_A2 * pre_dose_e_per_A2 * s_per_A**2))
    critical = 0.245 * np.maximum(s_per_A, 1e-9) ** -1.665 + 2.81
    return np.asarray(np.exp(-0.5 * pre_dose_e_per_A2 / critical))


def detector_mtf(s_per_pixel: Floats, at_nyquist: float) -> Floats:
    """Modulation transfer of a detector: a Gaussian that is `at_nyquist` at 0.5 / pixel."""
    return np.asarray(np.exp(math.log(at_nyquist) * (s_per_pixel / 0.5) ** 2))


def delocalisation_A(s_per_A: ArrayLike, defocus_A: float, voltage_kV: float, cs_mm: float
                     ) -> Floats:
    """How far contrast at frequency s spreads: |gradient of chi| / 2 pi [Å]."""
    wavelength, s = wavelength_A(voltage_kV), np.asarray(s_per_A, float)
    return np.abs(wavelength * defocus_A * s - cs_mm * 1e7 * wavelength**3 * s**3)
