"""Optics of a microscope session: what the CTF needs besides defocus."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


def _no_coefficients() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True)
class Optics:
    """Constants of one optics group.

    Parameters
    ----------
    voltage_kV : float
    cs_mm : float                 spherical aberration [mm]
    amp_contrast : float          amplitude contrast fraction, 0..1
    name : str                    optics group name
    even_zernike, odd_zernike : (n,) float64
        Aberration coefficients [rad] on the un-normalised Zernike basis in 1/Å
        that RELION uses; empty for none.
    """

    voltage_kV: float
    cs_mm: float
    amp_contrast: float
    name: str = "opticsGroup1"
    even_zernike: NDArray[np.float64] = field(default_factory=_no_coefficients)
    odd_zernike: NDArray[np.float64] = field(default_factory=_no_coefficients)

    @cached_property
    def wavelength_A(self) -> float:
        """Relativistic electron wavelength [Å], with RELION's constants."""
        volt = self.voltage_kV * 1e3
        return float(12.2643247 / np.sqrt(volt * (1.0 + 0.978466e-6 * volt)))
