"""Frequencies, shells, shift phases and cropping of half transforms (origin at index 0).

Frequencies are in index units of the box (cycles per box edge). Cropping and padding keep
the values of the transform: with the scaling of `signal.fft` a central slice of a cropped
volume is then the cropped slice. At the Nyquist frequency of an even box, which stands for
+n/2 and -n/2 at once, padding puts half of it on each side and cropping adds the two sides,
so that a real signal stays real, and padding and cropping back changes nothing.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.half_filter import axis_phases, move_slices, resize_stack

Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]


def frequency_grid_rft2(n: int) -> tuple[Floats, Floats]:
    """(ky (n, 1), kx (1, n//2+1)) of a half transform of an n x n image, in index units.

    The Nyquist frequency of an even n is -n/2 along y and +n/2 along x.
    """
    ky = np.fft.fftfreq(n, 1.0 / n)[:, None]
    kx = np.arange(n // 2 + 1, dtype=float)[None, :]
    return np.asarray(ky), kx


def radius_rft(shape: tuple[int, ...]) -> Floats:
    """|k| in index units for a half transform of that shape, (n, n//2+1) or (n, n, n//2+1)."""
    n = shape[0]
    if shape[-1] != n // 2 + 1 or len(set(shape[:-1])) != 1:
        raise ValueError(f"{shape} is not the half transform of a square image or cubic volume")
    full = np.fft.fftfreq(n, 1.0 / n) ** 2
    k2 = np.arange(n // 2 + 1, dtype=float) ** 2
    for _ in shape[:-1]:
        k2 = full.reshape(-1, *([1] * k2.ndim)) + k2
    return np.sqrt(k2)


def shell_index_rft(shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Nearest integer of |k| for a half transform of that shape (corners exceed n // 2)."""
    return np.floor(radius_rft(shape) + 0.5).astype(np.int32)


def shift_phases(n: int, shift_xy_px: Floats) -> Complex:
    """Factors that move the content of an n x n image by +shift.

    Parameters
    ----------
    n : int
    shift_xy_px : (..., 2) float64   x then y

    Returns
    -------
    (..., n, n//2+1) complex64   exp(-2 pi i (kx tx + ky ty) / n); at the Nyquist frequency of
    an even n the mean of both signs, so that a real image stays real
    """
    shift = np.asarray(shift_xy_px, float)
    phase_y = _both_signs(_axis_phases(shift[..., 1], n), n)
    phase_x = _axis_phases(shift[..., 0], n)
    return (phase_y[..., :, None] * phase_x[..., None, :]).astype(np.complex64)


def shift_slices(stack: Complex, rotation: Floats, shift_xyz: Floats, factor: float) -> Complex:
    """Half transforms (m, n, n//2+1) of tilt images whose content is moved with a particle.

    Parameters
    ----------
    stack : (m, n, n//2+1) complex64, C order
    rotation : (m, 3, 3) float64    tomogram axes to image axes, of every image
    shift_xyz : (3,) float64        of the particle, tomogram axes
    factor : float                  pixels that a unit of the shift is
    """
    n = stack.shape[1]
    if stack.shape != (len(rotation), n, n // 2 + 1) or rotation.shape[1:] != (3, 3):
        raise ValueError(f"stack has shape {stack.shape} and rotation {rotation.shape}, expected "
                         "(m, n, n//2+1) and (m, 3, 3)")
    out = np.empty(stack.shape, np.complex64)
    move_slices(stack, rotation, shift_xyz, float(factor), out)
    return out


def shift_phases_3d(n: int, shift_xyz_px: Floats) -> Complex:
    """Factors (n, n, n//2+1) that move the content of an n^3 volume by +shift (xyz)."""
    x, y, z = np.asarray(shift_xyz_px, float)
    of_z, of_y, of_x = axis_phases(np.array([z, y, x]), n)
    phase_zy = _both_signs(of_z, n)[:, None] * _both_signs(of_y, n)
    return (phase_zy[:, :, None] * of_x).astype(np.complex64)


def _axis_phases(shift: Floats, n: int) -> NDArray[np.complex128]:
    """`kernels.half_filter.axis_phases` (..., n//2+1) of shifts (...)."""
    phase: NDArray[np.complex128] = axis_phases(np.ascontiguousarray(shift).reshape(-1), n)
    return phase.reshape(*shift.shape, n // 2 + 1)


def _both_signs(phase: NDArray[np.complex128], n: int) -> NDArray[np.complex128]:
    """Phases (..., n) of all frequencies, in FFT order, from those (..., n//2+1) from 0 on."""
    return np.concatenate([phase[..., : (n + 1) // 2],
                           phase[..., n // 2 : 0 : -1].conj()], axis=-1)


def crop_rft2(rft: Complex, n_new: int) -> Complex:
    """Half transforms (..., n, n//2+1) of images cropped or padded to n_new, values kept."""
    _check_resized(rft, n_new)
    out = np.empty((*rft.shape[:-2], n_new, n_new // 2 + 1), np.complex64)
    resize_stack(rft.reshape(-1, *rft.shape[-2:]), np.float32(1.0),
                 out.reshape(-1, *out.shape[-2:]))
    return out


def crop_rft3(rft: Complex, n_new: int) -> Complex:
    """Half transform (n, n, n//2+1) of a volume cropped or padded to n_new, values kept."""
    _check_resized(rft, n_new)
    n = len(rft)
    if n_new == n:
        return rft.copy()
    rft = rft[..., : n_new // 2 + 1]
    for axis in (0, 1):
        rft = np.moveaxis(_resize_full(np.moveaxis(rft, axis, 0), n_new), 0, axis)
    return np.ascontiguousarray(_resize_half(rft, n, n_new, (0, 1)))


def _check_resized(rft: Complex, n_new: int) -> None:
    n = rft.shape[-2]
    if rft.shape[-1] != n // 2 + 1 or n_new < 1:
        raise ValueError(f"cannot resize the half transform {rft.shape} to {n_new} px")


def _resize_full(rft: Complex, n_new: int) -> Complex:
    """Resize axis 0, which holds all frequencies in fft order."""
    n = len(rft)
    small = min(n, n_new)
    out = np.zeros((n_new, *rft.shape[1:]), rft.dtype)
    n_positive, n_negative = (small + 1) // 2, (small - 1) // 2
    out[:n_positive] = rft[:n_positive]
    if n_negative:
        out[-n_negative:] = rft[-n_negative:]
    if small % 2 == 0:
        h = small // 2
        if n_new < n:
            out[h] = rft[h] + rft[-h]
        else:
            out[h] = 0.5 * rft[h]
            out[-h] = 0.5 * rft[h]
    return out


def _resize_half(rft: Complex, n: int, n_new: int, full_axes: tuple[int, ...]) -> Complex:
    """Resize the last axis, which holds kx >= 0."""
    small = min(n, n_new)
    out = np.zeros((*rft.shape[:-1], n_new // 2 + 1), rft.dtype)
    out[..., : (small + 1) // 2] = rft[..., : (small + 1) // 2]
    if small % 2 == 0:
        h = small // 2
        column = rft[..., h : h + 1]
        if n_new < n:
            mate = np.roll(np.flip(column, full_axes), 1, full_axes).conj()
            out[..., h : h + 1] = column + mate
        else:
            out[..., h : h + 1] = 0.5 * column
    return out
