"""Average Fourier sums over the operators of a point group.

A map with symmetry operators S (particle axes) satisfies V(k) = V(S k), so numerator and
denominator are both replaced by their mean over S k. The mean is read by trilinear
interpolation, as RELION does (its B.2 step 1), once on the finished sums.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.kernels.gather import gather_box, pack_volume

Floats = NDArray[np.float64]


def symmetrise_sums(sums: Floats, symmetry: str, planes: slice = slice(None)) -> Floats:
    """Mean of Fourier sums over a point group.

    Parameters
    ----------
    sums : (n, n, n//2+1, 4) float64    re, im, weight, multiplicity
    symmetry : str                      "C6", "D2", ...
    planes : slice                      z planes wanted, all by default: ranks share the work

    Returns
    -------
    (n, n, n//2+1, 4) float64, or the planes asked for; zero beyond index n//2 - 1
    """
    n = len(sums)
    r_max = n // 2 - 1
    num = pack_volume((sums[..., 0] + 1j * sums[..., 1]).astype(np.complex64), n, r_max)
    den = pack_volume(sums[..., 2].astype(np.complex64), n, r_max)
    seen = pack_volume(sums[..., 3].astype(np.complex64), n, r_max)
    operators = symmetry_matrices(symmetry)
    mean = np.zeros(sums[planes].shape)
    for operator in operators:
        turned = gather_box(num, operator, n, r_max, planes=planes)
        mean[..., 0] += turned.real
        mean[..., 1] += turned.imag
        mean[..., 2] += gather_box(den, operator, n, r_max, planes=planes).real
        mean[..., 3] += gather_box(seen, operator, n, r_max, planes=planes).real
    mean /= len(operators)
    return mean
