"""Fourier transforms: the one home of pyfftw, with reproducible plans.

Real-space arrays have their origin at the centre voxel n // 2; half transforms (`_rft`)
have it at index 0 and keep kx = 0 ... n // 2 of the last axis. Scaling:

    2D   X = rfft2(ifftshift(x)) / sqrt(h w)       orthonormal: noise of variance s2 has E|X|^2 = s2
    3D   V = rfftn(ifftshift(v)) / n               a central slice equals the 2D transform of the
                                                   projection (sum of voxels along the beam)

Two FFTW plans of one size round differently, so a plan is never left to chance: every image
is transformed alone, by the one plan of its size, on one thread, in one aligned buffer, and
plans are rebuilt from the same wisdom in every process.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TypeVar

import numpy as np
import pyfftw
from numpy.typing import NDArray

from sta_mpi.kernels.windows import fill_masked_box
from sta_mpi.signal.fourier_grid import (
    crop_rft2,
    crop_rft3,
    frequency_grid_rft2,
    radius_rft,
    shell_index_rft,
    shift_phases,
    shift_phases_3d,
    shift_slices,
)

__all__ = [
    "BoxTransforms",
    "FftPlans",
    "Padding",
    "Shape",
    "Window",
    "crop_rft2",
    "crop_rft3",
    "frequency_grid_rft2",
    "radius_rft",
    "shell_index_rft",
    "shift_phases",
    "shift_phases_3d",
    "shift_slices",
]

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Window:
    """Square images that are transformed whole, and of which the middle rows alone come back.

    Parameters
    ----------
    edge_px : int
    kept_px : int    rows about the centre that the way back makes, at most the edge
    """

    edge_px: int
    kept_px: int


@dataclass(frozen=True)
class Padding:
    """Square images whose half transforms become those of the images padded with zeros.

    Parameters
    ----------
    edge_px, padded_px : int
    """

    edge_px: int
    padded_px: int


Shape = tuple[int, ...] | Window | Padding
"""Real-space shape of a transform."""

Made = TypeVar("Made")

_EFFORT = {"estimate": "FFTW_ESTIMATE", "measure": "FFTW_MEASURE", "patient": "FFTW_PATIENT"}

LARGE = 1 << 23
"""Real-space size above which plans are always estimated: measuring takes 10 s and more,
and such transforms are done a few times a job. Those of volumes are not kept either."""

_CACHED_BYTES, _TOGETHER = 1 << 18, 8
"""Transforms of padded images that are made at once, and the most images."""


def _halves(n: int, wrapped: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Two (centred, wrapped) pieces of an axis of n with its origin at n // 2.

    The wrapped axis has its origin at index 0; it may be longer.
    """
    c = n // 2
    return (slice(c, n), slice(0, n - c)), (slice(0, c), slice(wrapped - c, wrapped))


def _is_passing(shape: tuple[int, ...]) -> bool:
    """Whether plan and buffers of a size are made for each transform: they weigh GiB."""
    return len(shape) == 3 and math.prod(shape) > LARGE


def _buffers(shape: tuple[int, ...]) -> tuple[Real, Complex]:
    """Aligned arrays for both sides of the transforms of a real-space shape."""
    return (pyfftw.empty_aligned(shape, dtype="float32"),
            pyfftw.empty_aligned((*shape[:-1], shape[-1] // 2 + 1), dtype="complex64"))


class _Plan:
    """A forward or backward transform of one shape; both directions share their buffers."""

    def __init__(self, real: Real, half: Complex, inverse: bool, flags: tuple[str, ...]) -> None:
        self.real, self.half, shape = real, half, real.shape
        source, target = (self.half, self.real) if inverse else (self.real, self.half)
        self.execute = pyfftw.FFTW(
            source, target, axes=tuple(range(len(shape))), flags=flags, threads=1,
            direction="FFTW_BACKWARD" if inverse else "FFTW_FORWARD").execute
        pieces = list(product(*(_halves(n, n) for n in shape)))
        self.pieces = [(tuple(s for s, _ in p), tuple(t for _, t in p)) for p in pieces]

    def forward(self, image: NDArray[np.floating], scale: np.float32, out: Complex,
                mask: Real | None = None) -> None:
        if mask is None:
            for source, target in self.pieces:
                self.real[target] = image[source]
        else:
            fill_masked_box(np.ascontiguousarray(image, np.float32), mask, self.real)
        self.execute()
        # as floats: numpy would do a complex product
        np.multiply(self.half.view(np.float32), scale, out=out.view(np.float32))

    def backward(self, rft: Complex, scale: np.float32, out: Real) -> None:
        self.half[...] = rft
        self.execute()
        for source, target in self.pieces:
            np.multiply(self.real[target], scale, out=out[source])


class _RowsPlan:
    """A backward transform of square images of which the rows about the origin are made.

    Columns first, all of them, then the rows: a third of a whole transform is saved where a third
    of the rows is kept.
    """

    def __init__(self, real: Real, half: Complex, kept_px: int, flags: tuple[str, ...]) -> None:
        self.real, self.half = real, half
        columns = pyfftw.FFTW(half, half, axes=(0,), flags=flags, threads=1,
                              direction="FFTW_BACKWARD")
        rows = [pyfftw.FFTW(half[part], real[part], axes=(1,), flags=flags, threads=1,
                            direction="FFTW_BACKWARD")
                for _, part in _halves(kept_px, len(real)) if part.stop > part.start]
        self._parts = [plan.execute for plan in (columns, *rows)]

    def execute(self) -> None:
        for execute in self._parts:
            execute()


class BoxTransforms:
    """Both transforms of one shape, unscaled and with the origin at index 0, for inner loops.

    Attributes
    ----------
    real : float32 array of the shape               what `to_half` reads and `to_real` writes
    half : (..., n // 2 + 1) complex64              what `to_half` writes; `to_real` destroys it
    """

    def __init__(self, forward: _Plan, backward: _Plan | _RowsPlan) -> None:
        self.real, self.half = backward.real, backward.half
        self.to_half, self.to_real = forward.execute, backward.execute


class PaddingTransforms:
    """From half transforms of some images to those of the same images padded, unscaled.

    Rows that hold nothing but zeros are not transformed.

    Attributes
    ----------
    half : (b, n, n//2+1) complex64      what `execute` reads, and destroys
    padded : (b, N, N//2+1) complex64    what it writes
    """

    def __init__(self, padding: Padding, n_images: int, flags: tuple[str, ...]) -> None:
        b, n, wide = n_images, padding.edge_px, padding.padded_px
        self._real, self.half = _buffers((b, n, n))
        self._rows, self.padded = _buffers((b, n, wide))[0], _buffers((b, wide, wide))[1]
        of_rows = np.empty_like(self.padded)
        back = pyfftw.FFTW(self.half, self._real, axes=(1, 2), flags=flags, threads=1,
                           direction="FFTW_BACKWARD")
        # (rows or columns of the image, those of the padded one), both with the origin at 0
        self._parts = [(slice(0, n - n // 2), slice(0, n - n // 2)),
                       (slice(n - n // 2, n), slice(wide - n // 2, wide))][: min(n, 2)]
        rows = [pyfftw.FFTW(self._rows[:, own], of_rows[:, its], axes=(2,), flags=flags, threads=1)
                for own, its in self._parts]
        columns = pyfftw.FFTW(of_rows, self.padded, axes=(1,), flags=flags, threads=1)
        # measuring writes to the arrays; transforms leave what they read as it is
        self._rows[...], of_rows[...] = 0.0, 0.0
        self._back, self._forward = back.execute, [p.execute for p in (*rows, columns)]

    def execute(self) -> None:
        """Fill `padded` from `half`."""
        self._back()
        for own, its in self._parts:
            self._rows[:, :, its] = self._real[:, :, own]
        for forward in self._forward:
            forward()


class FftPlans:
    """Plans of all sizes met so far. Not for use by two threads at once.

    Parameters
    ----------
    wisdom : bytes or None   what `wisdom()` returned in another process, for the same bits here;
                             it holds the effort as well
    effort : str             how plans are made where no wisdom is given: "estimate", "measure",
                             "patient". "measure" and "patient" depend on timing: make the
                             plans on one rank and broadcast its wisdom.
    """

    def __init__(self, wisdom: bytes | None = None, effort: str = "measure") -> None:
        self._measured = b""
        if wisdom:
            name, _, self._measured = wisdom.partition(b"\n")
            effort = name.decode(errors="replace")
        if effort not in _EFFORT:
            raise ValueError(
                f"FFT {'wisdom of ' if wisdom else ''}effort {effort[:20]!r}: expected one of "
                f"{sorted(_EFFORT)}")
        self._effort = effort
        self._plans: dict[tuple[tuple[int, ...], bool], _Plan] = {}
        self._windows: dict[Window, _RowsPlan] = {}
        self._paddings: dict[tuple[Padding, int], PaddingTransforms] = {}
        self._buffers: dict[tuple[int, ...], tuple[Real, Complex]] = {}

    def wisdom(self) -> bytes:
        """Effort and measured plans so far (and those given), to be handed to other processes."""
        return self._effort.encode() + b"\n" + self._measured

    def prepare(self, shapes: Sequence[Shape]) -> "FftPlans":
        """Make the plans of these real-space shapes, both directions, now; returns itself."""
        for shape in shapes:
            if isinstance(shape, Window):
                self.window(shape)
                continue
            if isinstance(shape, Padding):
                self.padding(shape)
                continue
            for inverse in (False, True) if not _is_passing(shape) else ():
                self._plan(shape, inverse)
        return self

    def box(self, shape: tuple[int, ...]) -> BoxTransforms:
        """Buffers of a real-space shape and what transforms them, without copies or scaling."""
        return BoxTransforms(self._plan(shape, inverse=False), self._plan(shape, inverse=True))

    def window(self, window: Window) -> BoxTransforms:
        """As `box`, but `to_real` makes the window's middle rows alone; others are undefined."""
        shape = (window.edge_px, window.edge_px)
        if window.kept_px >= window.edge_px:
            return self.box(shape)
        forward = self._plan(shape, inverse=False)
        if window not in self._windows:
            self._windows[window] = self._planned(shape, lambda flags: _RowsPlan(
                forward.real, forward.half, window.kept_px, flags))
        return BoxTransforms(forward, self._windows[window])

    def padding(self, padding: Padding) -> tuple[PaddingTransforms, PaddingTransforms]:
        """Transforms that pad one image, and several at once: as many as a cache holds."""
        wide = padding.padded_px
        several = max(1, min(_TOGETHER, _CACHED_BYTES // (8 * wide * (wide // 2 + 1))))
        for n in (1, several):
            if (padding, n) not in self._paddings:
                self._paddings[padding, n] = self._planned(
                    (wide, wide), partial(PaddingTransforms, padding, n))
        return self._paddings[padding, 1], self._paddings[padding, several]

    def _plan(self, shape: tuple[int, ...], inverse: bool) -> _Plan:
        key = (shape, inverse)
        if _is_passing(shape):
            pyfftw.forget_wisdom()
            return _Plan(*_buffers(shape), inverse, (_EFFORT["estimate"],))
        if key not in self._plans:
            if shape not in self._buffers:
                self._buffers[shape] = _buffers(shape)
            self._plans[key] = self._planned(
                shape, lambda flags: _Plan(*self._buffers[shape], inverse, flags))
        return self._plans[key]

    def _planned(self, shape: tuple[int, ...], make: Callable[[tuple[str, ...]], Made]) -> Made:
        """What `make` makes with FFTW's flags, from this object's wisdom, which it completes."""
        effort = "estimate" if math.prod(shape) > LARGE else self._effort
        # FFTW's wisdom is global to the process: plan from this object's own alone, so that the
        # result does not depend on what else was planned before. Estimates are never kept as
        # wisdom, and always come out the same without any.
        pyfftw.forget_wisdom()
        is_measured = effort != "estimate"
        if is_measured and self._measured and not pyfftw.import_wisdom(
                (b"", self._measured, b""))[1]:
            raise ValueError("the FFT wisdom is not readable by this FFTW; plan anew")
        made = make((_EFFORT[effort],))
        if is_measured:
            self._measured = pyfftw.export_wisdom()[1]
        return made

    def rfft2(self, stack: NDArray[np.floating], out: Complex | None = None) -> Complex:
        """Orthonormal half transform of (..., h, w) images with their origin at the centre.

        Returns (..., h, w // 2 + 1) complex64, origin at index 0.
        """
        h, w = stack.shape[-2:]
        out = _output(out, (*stack.shape[:-1], w // 2 + 1), np.complex64)
        plan = self._plan((h, w), inverse=False)
        scale = np.float32(1.0 / math.sqrt(h * w))
        for i in np.ndindex(stack.shape[:-2]):
            plan.forward(stack[i], scale, out[i])
        return out

    def irfft2(self, rft: Complex, width: int | None = None, out: Real | None = None) -> Real:
        """Images (..., h, w) of orthonormal half transforms (..., h, w // 2 + 1).

        `width` is w where it differs from h. Inverse of `rfft2`.
        """
        h = rft.shape[-2]
        w = h if width is None else width
        _check_half(rft.shape, w)
        out = _output(out, (*rft.shape[:-1], w), np.float32)
        plan = self._plan((h, w), inverse=True)
        scale = np.float32(1.0 / math.sqrt(h * w))
        for i in np.ndindex(rft.shape[:-2]):
            plan.backward(rft[i], scale, out[i])
        return out

    def rfft3(self, volume: NDArray[np.floating], out: Complex | None = None,
              mask: Real | None = None, factor: float = 1.0) -> Complex:
        """V = rfftn(ifftshift(volume)) / n of a cubic (n, n, n) volume: (n, n, n//2+1).

        With a `mask` (n, n, n) float32 the volume is multiplied by it on its way in; V is
        multiplied by `factor`.
        """
        n = _edge(volume.shape, volume.shape[-1])
        out = _output(out, (n, n, n // 2 + 1), np.complex64)
        self._plan((n, n, n), inverse=False).forward(volume, np.float32(factor / n), out, mask)
        return out

    def irfft3(self, rft: Complex, out: Real | None = None) -> Real:
        """The (n, n, n) volume of V (n, n, n//2+1); inverse of `rfft3`."""
        n = rft.shape[0]
        _check_half(rft.shape, _edge(rft.shape[:2], n))
        out = _output(out, (n, n, n), np.float32)
        self._plan((n, n, n), inverse=True).backward(rft, np.float32(1.0 / n**2), out)
        return out


def _edge(shape: tuple[int, ...], n: int) -> int:
    if len(set(shape)) != 1 or len(shape) not in (2, 3):
        raise ValueError(f"3D transforms need a cubic box, got {shape} (z, y, x)")
    return n


def _check_half(shape: tuple[int, ...], width: int) -> None:
    if shape[-1] != width // 2 + 1:
        raise ValueError(
            f"half transform {shape} does not belong to images {width} px wide: "
            f"its last axis must be {width // 2 + 1}")


def _output(out: NDArray | None, shape: tuple[int, ...], dtype: type) -> NDArray:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"out is {out.dtype} {out.shape}, expected C-ordered {np.dtype(dtype)} {shape}")
    return out
