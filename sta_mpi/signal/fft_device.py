"""Fourier transforms of whole stacks at once, through the FFT of an array module (cupy).

The conventions are those of `signal.fft`: real-space arrays have their origin at n // 2, half
transforms at index 0; 2D transforms are orthonormal, V = rfftn(ifftshift(v)) / n in 3D. The bits
are not: cuFFT rounds in its own way, and its plans may depend on the size of the batch.
"""

from types import ModuleType
from typing import Any


class DeviceFft:
    """The transforms of `FftPlans` on the device of an array module.

    Parameters
    ----------
    xp : module   numpy or cupy; see `kernels.array_module`

    Notes
    -----
    Arguments may be arrays of numpy (they are copied to the device) or of `xp`; results are
    arrays of `xp`, float32 or complex64.
    """

    def __init__(self, xp: ModuleType) -> None:
        self.xp: Any = xp

    def rfft2(self, stack: Any) -> Any:
        """Orthonormal half transform (..., h, w // 2 + 1) of (..., h, w) images."""
        images = self.xp.asarray(stack, self.xp.float32)
        shifted = self.xp.fft.ifftshift(images, axes=(-2, -1))
        return self._single(self.xp.fft.rfft2(shifted, norm="ortho"), "complex64")

    def irfft2(self, rft: Any, width: int | None = None) -> Any:
        """Images (..., h, w) of half transforms; `width` is w where it differs from h."""
        half = self.xp.asarray(rft, self.xp.complex64)
        h = half.shape[-2]
        w = _checked_width(half.shape, h if width is None else width)
        images = self.xp.fft.irfft2(half, s=(h, w), norm="ortho")
        return self._single(self.xp.fft.fftshift(images, axes=(-2, -1)), "float32")

    def rfft3(self, volume: Any) -> Any:
        """V = rfftn(ifftshift(volume)) / n of a cubic (n, n, n) volume: (n, n, n//2+1)."""
        real = self.xp.asarray(volume, self.xp.float32)
        if real.ndim != 3 or len(set(real.shape)) != 1:
            raise ValueError(f"3D transforms need a cubic box, got {real.shape} (z, y, x)")
        half = self.xp.fft.rfftn(self.xp.fft.ifftshift(real))
        return self._single(half, "complex64") * self.xp.float32(1.0 / len(real))

    def irfft3(self, rft: Any) -> Any:
        """The (n, n, n) volume of V (n, n, n//2+1); inverse of `rfft3`."""
        half = self.xp.asarray(rft, self.xp.complex64)
        n = _checked_width(half.shape, len(half))
        if half.shape[:2] != (n, n):
            raise ValueError(f"3D transforms need a cubic box, got {half.shape} (z, y, half x)")
        real = self.xp.fft.fftshift(self.xp.fft.irfftn(half, s=(n, n, n), axes=(0, 1, 2)))
        return self._single(real, "float32") * self.xp.float32(n)

    def _single(self, array: Any, dtype: str) -> Any:
        """Single precision, where the module computed in double."""
        return array.astype(dtype, copy=False)


def _checked_width(shape: tuple[int, ...], width: int) -> int:
    if shape[-1] != width // 2 + 1:
        raise ValueError(
            f"half transform {shape} does not belong to images {width} px wide: its last axis "
            f"must be {width // 2 + 1}")
    return width
