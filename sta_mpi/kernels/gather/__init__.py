"""Gather: central slices (or a turned box) of a 3D transform, by trilinear interpolation.

Frequency (kx, ky) of slice f lies at kx u_f + ky v_f of the volume, with u_f, v_f the first
two rows of the matrix that takes the volume's axes to the image's. Frequencies are in index
units of the box, so images may be smaller than the volume's box (Fourier-cropped). Beyond
`r_max_px`, and at the Nyquist frequency of an even n, which has no definite sign, the
result is zero. Transforms are Hermitian; the other half is read as the conjugate.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import cpu
from sta_mpi.kernels.gather.volume import (
    GatherVolume,
    pack_volume,
    packed_shape,
    packed_volume,
    padded_edge,
    prepare_gather,
)
from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.planes import box_planes, slice_planes

__all__ = ["GatherVolume", "gather_box", "gather_slices", "pack_volume", "packed_shape",
           "packed_volume", "padded_edge", "prepare_gather"]

Complex = NDArray[np.complex64]


def gather_slices(volume: GatherVolume, slice_axes: NDArray[np.float64], n: int,
                  r_max_px: float, out: Complex | None = None, device: str = "cpu") -> Complex:
    """Central slices of a volume, as half transforms of n x n images.

    Parameters
    ----------
    volume : GatherVolume               from `prepare_gather` or `pack_volume`
    slice_axes : (m, 2, 3) float64      u, v: image axes x, y in volume axes (xyz)
    n : int                             image size [px], at most the volume's box
    r_max_px : float                    largest |k| in index units, at most n // 2
    out : (m, n, n//2+1) complex64      written when given
    device : "cpu" or "gpu"

    Returns
    -------
    (m, n, n//2+1) complex64

    Examples
    --------
    >>> import numpy as np
    >>> rft = np.ones((4, 4, 3), np.complex64)      # a point at the centre
    >>> volume = pack_volume(rft, 4, 1)
    >>> gather_slices(volume, np.eye(3)[None, :2], 4, 1)[0].real
    array([[1., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    axes, kz = slice_planes(slice_axes)
    return _gather(volume, axes, kz, n, r_max_px, out, device)


def gather_box(volume: GatherVolume, R: NDArray[np.float64], n: int, r_max_px: float,
               out: Complex | None = None, device: str = "cpu",
               planes: slice = slice(None)) -> Complex:
    """The transform of a turned volume on a box of n: frequency k is read at R @ k.

    Parameters
    ----------
    volume : GatherVolume
    R : (3, 3) float64   box axes to volume axes, acting on xyz columns
    n, r_max_px, out, device : as for `gather_slices`
    planes : slice       z planes wanted, all by default

    Returns
    -------
    (n, n, n//2+1) complex64, or the planes asked for
    """
    axes, kz = box_planes(R, n)
    return _gather(volume, axes[planes], kz[planes], n, r_max_px, out, device)


def _gather(volume: GatherVolume, axes: NDArray[np.float64], kz: NDArray[np.float64], n: int,
            r_max_px: float, out: Complex | None, device: str) -> Complex:
    if not 0 <= r_max_px <= min(n // 2, volume.r_max_px):
        raise ValueError(
            f"r_max_px is {r_max_px}, but images of {n} px end at {n // 2} and the volume was "
            f"packed up to {volume.r_max_px} (index units)")
    shape = (len(axes), n, n // 2 + 1)
    if out is None:
        out = np.empty(shape, np.complex64)
    elif out.shape != shape or out.dtype != np.complex64 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, expected C-ordered complex64 {shape}")
    if check_device(device):
        from sta_mpi.kernels.gather import cuda

        cuda.gather(volume, axes, kz, float(r_max_px) ** 2, out)
    else:
        cpu.gather(volume.floats, volume.row, volume.plane, volume.reach, volume.scale,
                   axes, kz, float(r_max_px) ** 2, out)
    return out
