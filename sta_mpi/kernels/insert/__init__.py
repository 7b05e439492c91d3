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

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.insert import cpu
from sta_mpi.kernels.insert.device_sums import DeviceSums
from sta_mpi.kernels.insert.planes import InsertPlanes, planes_of_box, planes_of_slices
from sta_mpi.kernels.options import check_device

__all__ = ["DeviceSums", "insert_box", "insert_slices"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Floats = NDArray[np.float64]


def insert_slices(acc: Real | DeviceSums, data: Complex, weight: Real, slice_axes: Floats,
                  r_max_px: float, pad: float = 1.0, device: str = "cpu",
                  limits_px: Floats | None = None) -> None:
    """Add central slices to Fourier sums, in place.

    Parameters
    ----------
    acc : (n_acc, n_acc, n_acc//2+1, 4) float32   real, imaginary, weight, multiplicity; modified;
        or DeviceSums                             the same on a GPU, where they stay
    data : (m, n, n//2+1) complex64               half transforms, already weighted
    weight : (m, n, n//2+1) float32
    slice_axes : (m, 2, 3) float64                u, v: image axes x, y in the axes of the sums
    r_max_px : float                              samples beyond are left out [index units]
    pad : float                                   index units of the sums per index unit of data
    device : "cpu" or "gpu"                       `DeviceSums` keeps the sums on the GPU
    limits_px : (m,) float64 or None              and so are those beyond the limit of each slice
    """
    if isinstance(acc, DeviceSums):
        acc.insert_slices(data, weight, slice_axes, r_max_px, pad, limits_px)
        return
    n = _checked_edge(acc)
    _insert(acc, planes_of_slices(n, data, weight, slice_axes, r_max_px, pad, limits_px), device)


def insert_box(acc: Real | DeviceSums, data_rft: Complex, weight: Real, R: Floats,
               r_max_px: float, pad: float = 1.0, device: str = "cpu") -> None:
    """Add a box of Fourier samples, turned, to Fourier sums, in place: k goes to R @ k.

    Parameters
    ----------
    acc, r_max_px, pad, device : as for `insert_slices`
    data_rft : (n, n, n//2+1) complex64   half transform, already weighted
    weight : (n, n, n//2+1) float32
    R : (3, 3) float64                    box axes to the axes of the sums, on xyz columns
    """
    if isinstance(acc, DeviceSums):
        acc.insert_box(data_rft, weight, R, r_max_px, pad)
        return
    n = _checked_edge(acc)
    _insert(acc, planes_of_box(n, data_rft, weight, R, r_max_px, pad), device)


def _checked_edge(acc: Real) -> int:
    n = len(acc)
    if acc.shape != (n, n, n // 2 + 1, 4) or n < 2:
        raise ValueError(f"sums have shape {acc.shape}, expected (n, n, n//2+1, 4), n from 2")
    if acc.dtype != np.float32 or not acc.flags.c_contiguous:
        raise ValueError(f"sums are {acc.dtype}, expected C-ordered float32")
    return n


def _insert(acc: Real, planes: InsertPlanes, device: str) -> None:
    if check_device(device):
        largest = max(np.abs(x).max(initial=0.0) for x in (
            planes.data.view(np.float32), planes.weight))
        on_device = DeviceSums(len(acc), float(largest) or 1.0, max(1, len(planes.data)),
                               planes.pad)
        on_device.insert(planes, len(planes.data))
        acc += on_device.total()
    else:
        cpu.insert(acc.reshape(-1), len(acc), planes.data, planes.weight, planes.pad, planes.axes,
                   planes.kz, planes.r2)
