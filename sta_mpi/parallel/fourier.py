"""3D Fourier transforms of cubes held as slabs, one slab of planes a rank.

A transform is done in three steps: over planes of the slab, exchange, over the planes
across the slabs, exchange back. Each step transforms one plane at a time with the same
code, so the result does not depend on the number of ranks. The exchange is one
all-to-all of buffers.

Layouts: a half transform (n, n, n//2+1) and a volume (n, n, n), both indexed from z and
both held as planes z0 .. z1-1 of `reduce.slab_bounds(n, size)`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sta_mpi.parallel.reduce import slab_bounds

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime


class DistributedFft:
    """Transforms of n^3 cubes over the ranks of a runtime; all methods are collective."""

    def __init__(self, runtime: "Runtime", n: int) -> None:
        self._runtime = runtime
        self.n = n
        self.bounds = slab_bounds(n, runtime.size)
        self._mine = self.bounds[runtime.rank]

    def inverse(self, slab_rft: NDArray[Any], centred: bool = True) -> NDArray[Any]:
        """Turn a slab of a half transform into a slab of the volume.

        Parameters
        ----------
        slab_rft : (z1-z0, n, n//2+1) complex   planes of V_rft, origin at index 0
        centred : bool   True: volume with its origin at n // 2 and the program's scale,
                         fftshift(irfftn(V_rft)) * n; False: plain irfftn

        Returns
        -------
        (z1-z0, n, n) real array of the same precision
        """
        n = self.n
        self._check(slab_rft, n // 2 + 1)
        work = np.empty_like(slab_rft)
        for z, plane in enumerate(slab_rft):
            work[z] = scipy.fft.ifft(plane, axis=0, workers=1)
        pencils = self._to_pencils(work)
        for y in range(pencils.shape[1]):
            column = scipy.fft.ifft(pencils[:, y], axis=0, workers=1)
            pencils[:, y] = np.roll(column, n // 2, axis=0) if centred else column
        work = self._to_slabs(pencils)
        volume = np.empty((len(slab_rft), n, n), work.real.dtype)
        for z, plane in enumerate(work):
            real = scipy.fft.irfft(plane, n, axis=1, workers=1)
            volume[z] = np.roll(real, (n // 2, n // 2), axis=(0, 1)) * n if centred else real
        return volume

    def forward(self, slab: NDArray[Any], centred: bool = True) -> NDArray[Any]:
        """Turn a slab of a volume into a slab of its half transform; inverse of `inverse`.

        Parameters
        ----------
        slab : (z1-z0, n, n) real   planes of the volume
        centred : bool              True: rfftn(ifftshift(volume)) / n; False: plain rfftn
        """
        n = self.n
        self._check(slab, n)
        half = -(n // 2)
        planes = [scipy.fft.rfft(np.roll(plane, (half, half), axis=(0, 1)) if centred else plane,
                                 axis=1, workers=1) for plane in slab]
        kind = np.result_type(slab.dtype, np.complex64)
        work = np.array(planes, kind).reshape(len(slab), n, n // 2 + 1)
        pencils = self._to_pencils(work)
        for y in range(pencils.shape[1]):
            column = np.roll(pencils[:, y], half, axis=0) if centred else pencils[:, y]
            pencils[:, y] = scipy.fft.fft(column, axis=0, workers=1)
        work = self._to_slabs(pencils)
        for z, plane in enumerate(work):
            result = scipy.fft.fft(plane, axis=0, workers=1)
            work[z] = result / n if centred else result
        return work

    def _check(self, slab: NDArray[Any], n_x: int) -> None:
        expected = (self._mine[1] - self._mine[0], self.n, n_x)
        if slab.shape != expected:
            raise ValueError(f"slab of rank {self._runtime.rank} has shape {slab.shape}, "
                             f"expected {expected}")

    def _to_pencils(self, slab: NDArray[Any]) -> NDArray[Any]:
        """Exchange (z1-z0, n, m) for (n, y1-y0, m): all z of this rank's rows y0 .. y1-1."""
        z0, z1 = self._mine
        pieces = [slab[:, y0:y1] for y0, y1 in self.bounds]
        heights = [end - start for start, end in self.bounds]
        n_x = slab.shape[2]
        counts = [height * (z1 - z0) * n_x for height in heights]
        received = self._runtime.alltoall(pieces, counts)
        parts = [part.reshape(height, z1 - z0, n_x)
                 for part, height in zip(received, heights, strict=True)]
        return np.concatenate(parts, axis=0)

    def _to_slabs(self, pencils: NDArray[Any]) -> NDArray[Any]:
        """Exchange (n, y1-y0, m) back for (z1-z0, n, m)."""
        z0, z1 = self._mine
        pieces = [pencils[start:end] for start, end in self.bounds]
        widths = [end - start for start, end in self.bounds]
        n_x = pencils.shape[2]
        counts = [width * (z1 - z0) * n_x for width in widths]
        received = self._runtime.alltoall(pieces, counts)
        parts = [part.reshape(z1 - z0, width, n_x)
                 for part, width in zip(received, widths, strict=True)]
        return np.concatenate(parts, axis=1)
