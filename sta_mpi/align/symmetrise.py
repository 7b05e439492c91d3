"""Average Fourier sums over the operators of a point group, and over the steps of a helix.

A map with symmetry operators S (particle axes) satisfies V(k) = V(S k), so numerator and
denominator are both replaced by their mean over S k. A helix along z that turns by R_j and rises
by z_j in j steps satisfies V(k) = exp(2 pi i k_z z_j / n) V(R_j k); the phase goes to the
numerator alone. Sums are read by trilinear interpolation, as RELION does (its B.2 step 1), once
and on the finished sums.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.expand import helical_turns
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.kernels.symmetrise import mean_over_turns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Helix:
    """A helix along z.

    Parameters
    ----------
    n_units : int         subunits that a particle stands for, around its own one
    rise_px : float       rise of one subunit along z [binned px]
    twist_deg : float     turn of one subunit about z
    """

    n_units: int
    rise_px: float
    twist_deg: float


def symmetrise_sums(sums: NDArray[np.floating], symmetry: str, planes: slice = slice(None),
                    helix: Helix | None = None) -> Floats:
    """Mean of Fourier sums over a point group and a helix.

    Parameters
    ----------
    sums : (n, n, n//2+1, 4) float32 or float64    re, im, weight, multiplicity
    symmetry : str                      "C6", "D2", ...
    planes : slice                      z planes wanted, all by default: ranks share the work
    helix : Helix or None

    Returns
    -------
    (n, n, n//2+1, 3) float64, or the planes asked for: real, imaginary, weight; zero beyond index
    n//2 - 1
    """
    n = len(sums)
    group = symmetry_matrices(symmetry)
    turns, rises_px = helical_turns(1, 0.0, 0.0) if helix is None else helical_turns(
        helix.n_units, helix.twist_deg, helix.rise_px)
    phases = np.exp(2j * np.pi * rises_px[:, None] * np.fft.fftfreq(n))
    operators = (turns[:, None] @ group).reshape(-1, 3, 3)
    return mean_over_turns(sums, operators, np.repeat(phases, len(group), axis=0), planes)
