"""Insert: add slices (or a turned box) to running Fourier sums, by trilinear spreading.

The transpose of `kernels.gather`. Sums have four channels: real and imaginary part of the
data, weight, and the trilinear weights themselves (multiplicity: how many samples a voxel
has seen). They stand for a full Hermitian transform of which kx >= 0 is stored:

* a sample and its mate (conjugate, at minus the frequency) are both spread over the full
  transform; mates that fall on kx < 0 need no work, those that reach the planes kx = 0 (and
  kx = n/2 of even n), which hold both mates, are added there. So the sums are Hermitian after
  every call, no finishing step is needed, and partial sums may be added in any order;
* the column kx = 0 of an image already holds both mates of each sample, so its samples count
  half, and every sample of the full disc is counted once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.insert import cpu
from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.planes import box_planes, slice_planes

__all__ = ["insert_box", "insert_slices"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Floats = NDArray[np.float64]


def insert_slices(acc: Real, data: Complex, weight: Real, slice_axes: Floats, r_max_px: float,
                  pad: float = 1.0, device: str = "cpu") -> None:
    """Add central slices to Fourier sums, in place.

    Parameters
    ----------
    acc : (n_acc, n_acc, n_acc//2+1, 4) float32   real, imaginary, weight, multiplicity; modified
    data : (m, n, n//2+1) complex64               half transforms, already weighted
    weight : (m, n, n//2+1) float32
    slice_axes : (m, 2, 3) float64                u, v: image axes x, y in the axes of the sums
    r_max_px : float                              samples beyond are left out [index units]
    pad : float                                   index units of the sums per index unit of data
    device : "cpu" or "gpu"
    """
    axes, kz = slice_planes(slice_axes)
    _insert(acc, data, weight, axes, kz, r_max_px, pad, device)


def insert_box(acc: Real, data_rft: Complex, weight: Real, R: Floats, r_max_px: float,
               pad: float = 1.0, device: str = "cpu") -> None:
    """Add a box of Fourier samples, turned, to Fourier sums, in place: k goes to R @ k.

    Parameters
    ----------
    acc, r_max_px, pad, device : as for `insert_slices`
    data_rft : (n, n, n//2+1) complex64   half transform, already weighted
    weight : (n, n, n//2+1) float32
    R : (3, 3) float64                    box axes to the axes of the sums, on xyz columns
    """
    axes, kz = box_planes(R, data_rft.shape[1])
    _insert(acc, data_rft, weight, axes, kz, r_max_px, pad, device)


def _insert(acc: Real, data: Complex, weight: Real, axes: Floats, kz: Floats,
            r_max_px: float, pad: float, device: str) -> None:
    n_acc, n = acc.shape[0], data.shape[1]
    if acc.shape != (n_acc, n_acc, n_acc // 2 + 1, 4) or n_acc < 2:
        raise ValueError(f"sums have shape {acc.shape}, expected (n, n, n//2+1, 4), n from 2")
    if acc.dtype != np.float32 or not acc.flags.c_contiguous:
        raise ValueError(f"sums are {acc.dtype}, expected C-ordered float32")
    if data.shape != (len(axes), n, n // 2 + 1) or weight.shape != data.shape:
        raise ValueError(
            f"data {data.shape} and weight {weight.shape}, expected both ({len(axes)}, n, n//2+1)")
    if not (0 <= r_max_px <= n // 2 and r_max_px * pad <= n_acc // 2):
        raise ValueError(
            f"r_max_px is {r_max_px} with pad {pad}: it must not exceed {n // 2} (data of {n} px) "
            f"nor {n_acc // 2 / pad:g} (sums of {n_acc})")
    kernel: Any = cpu.insert
    if check_device(device):
        from sta_mpi.kernels.insert import cuda

        kernel = cuda.insert
    kernel(acc.reshape(-1), n_acc, np.ascontiguousarray(data, np.complex64),
           np.ascontiguousarray(weight, np.float32), float(pad), axes, kz, float(r_max_px) ** 2)
