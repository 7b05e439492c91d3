"""What is inserted into what: planes of samples and the size of the sums, checked once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.planes import box_planes, limited_slices

Floats = NDArray[np.float64]


class InsertPlanes(NamedTuple):
    """Planes of Fourier samples, ready for a kernel.

    Parameters
    ----------
    data : (m, n, n//2+1) complex64     half transforms, already weighted
    weight : (m, n, n//2+1) float32
    axes : (m, 3, 3), kz : (m,) float64   see `kernels.planes`
    r2 : (m,) float64                     largest k^2 of each plane [index units^2]
    pad : float                           index units of the sums per index unit of data
    """

    data: NDArray[np.complex64]
    weight: NDArray[np.float32]
    axes: Floats
    kz: Floats
    r2: Floats
    pad: float


def planes_of_slices(n_sums: int, data: NDArray[np.complex64], weight: NDArray[np.float32],
                     slice_axes: Floats, r_max_px: float, pad: float,
                     limits_px: Floats | None = None) -> InsertPlanes:
    """Central slices for sums of edge `n_sums`; ValueError where shapes or sizes do not fit."""
    return _checked(n_sums, data, weight, *limited_slices(slice_axes, r_max_px, limits_px), pad)


def planes_of_box(n_sums: int, data_rft: NDArray[np.complex64], weight: NDArray[np.float32],
                  R: Floats, r_max_px: float, pad: float) -> InsertPlanes:
    """A turned box for sums of edge `n_sums`; ValueError where shapes or sizes do not fit."""
    n = data_rft.shape[1]
    return _checked(n_sums, data_rft, weight, *box_planes(R, n), np.full(n, float(r_max_px) ** 2),
                    float(r_max_px), pad)


def _checked(n_sums: int, data: NDArray[np.complex64], weight: NDArray[np.float32],
             axes: Floats, kz: Floats, r2: Floats, highest_px: float, pad: float) -> InsertPlanes:
    n = data.shape[1]
    if data.shape != (len(axes), n, n // 2 + 1) or weight.shape != data.shape:
        raise ValueError(
            f"data {data.shape} and weight {weight.shape}, expected both ({len(axes)}, n, n//2+1)")
    if not (0.0 <= highest_px <= n // 2 and highest_px * pad <= n_sums // 2):
        raise ValueError(
            f"r_max_px is {highest_px:g} with pad {pad}: it must be from 0 to {n // 2} (data of "
            f"{n} px) and {n_sums // 2 / pad:g} (sums of {n_sums})")
    return InsertPlanes(np.ascontiguousarray(data, np.complex64),
                        np.ascontiguousarray(weight, np.float32), axes, kz, r2, float(pad))

