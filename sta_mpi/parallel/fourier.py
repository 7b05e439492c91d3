"""3D Fourier transforms of cubes held as slabs, one slab of planes a rank.

A transform is done in three steps: over planes of the slab, exchange, over the planes
across the slabs, exchange back. Each step transforms one plane at a time with the same
code, so the result does not depend on the number of ranks. The exchange is one
all-to-all of buffers. Of a volume whose middle alone is wanted, what is outside goes after
each step: half of the exchange, of the second step and three quarters of the third.

Layouts: a half transform (n, n, n//2+1) and a volume (n, n, n), both indexed from z and
both held as planes z0 .. z1-1 of `reduce.slab_bounds(n, size)`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sta_mpi.parallel.reduce import slab_bounds

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime


Bounds = Sequence[tuple[int, int]]
"""First plane, or row, of each rank, and the one after its last."""


class DistributedFft:
    """Transforms of n^3 cubes over the ranks of a runtime; all methods are collective."""

    def __init__(self, runtime: "Runtime", n: int) -> None:
        self._runtime = runtime
        self.n = n
        self.bounds = slab_bounds(n, runtime.size)
        self._mine = self.bounds[runtime.rank]

    def inverse(self, slab_rft: NDArray[Any], centred: bool = True, kept_px: int | None = None
                ) -> NDArray[Any]:
        """Turn a slab of a half transform into a slab of the volume.

        Parameters
        ----------
        slab_rft : (z1-z0, n, n//2+1) complex   planes of V_rft, origin at index 0
        centred : bool   True: volume with its origin at n // 2 and the program's scale,
                         fftshift(irfftn(V_rft)) * n; False: plain irfftn
        kept_px : int    edge k of the middle of a centred volume that alone is made, with its
                         origin at k // 2; None: all of it

        Returns
        -------
        (z1-z0, k, k) real array of the same precision, planes of `slab_bounds(k, size)`
        """
        n, kept = self.n, kept_px or self.n
        if not (kept == n or (centred and 0 < kept < n)):
            raise ValueError(f"kept_px is {kept} of {n}, of a volume that is "
                             f"{'' if centred else 'not '}centred")
        self._check(slab_rft, n // 2 + 1)
        order = (np.arange(kept) - kept // 2) % n if centred else np.arange(n)
        bounds = slab_bounds(kept, self._runtime.size)
        work = np.empty((len(slab_rft), kept, n // 2 + 1), slab_rft.dtype)
        for z, plane in enumerate(slab_rft):
            work[z] = scipy.fft.ifft(plane, axis=0, workers=1)[order]
        pencils = self._to_pencils(work, bounds)
        work = np.empty((kept, *pencils.shape[1:]), slab_rft.dtype)
        for y in range(pencils.shape[1]):
            work[:, y] = scipy.fft.ifft(pencils[:, y], axis=0, workers=1)[order]
        del pencils
        work = self._to_slabs(work, bounds)
        volume = np.empty((len(work), kept, kept), work.real.dtype)
        for z, plane in enumerate(work):
            real = scipy.fft.irfft(plane, n, axis=1, workers=1)[:, order]
            volume[z] = real * n if centred else real
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
        pencils = self._to_pencils(work, self.bounds)
        for y in range(pencils.shape[1]):
            column = np.roll(pencils[:, y], half, axis=0) if centred else pencils[:, y]
            pencils[:, y] = scipy.fft.fft(column, axis=0, workers=1)
        work = self._to_slabs(pencils, self.bounds)
        for z, plane in enumerate(work):
            result = scipy.fft.fft(plane, axis=0, workers=1)
            work[z] = result / n if centred else result
        return work

    def _check(self, slab: NDArray[Any], n_x: int) -> None:
        expected = (self._mine[1] - self._mine[0], self.n, n_x)
        if slab.shape != expected:
            raise ValueError(f"slab of rank {self._runtime.rank} has shape {slab.shape}, "
                             f"expected {expected}")

    def _to_pencils(self, slab: NDArray[Any], bounds: Bounds) -> NDArray[Any]:
        """Exchange (z1-z0, k, m) for (n, y1-y0, m): all z of this rank's of the k rows."""
        y0, y1 = bounds[self._runtime.rank]
        received = self._runtime.alltoall(
            [slab[:, first:end] for first, end in bounds],
            [(end - first) * (y1 - y0) * slab.shape[2] for first, end in self.bounds])
        # what ranks send follows in their order, which is that of z
        return received.reshape(self.n, y1 - y0, slab.shape[2])

    def _to_slabs(self, pencils: NDArray[Any], bounds: Bounds) -> NDArray[Any]:
        """Exchange (k, y1-y0, m) for (z1-z0, k, m): all rows of this rank's of the k planes."""
        z0, z1 = bounds[self._runtime.rank]
        n_x = pencils.shape[2]
        counts = [(end - first) * (z1 - z0) * n_x for first, end in bounds]
        received = self._runtime.alltoall([pencils[first:end] for first, end in bounds], counts)
        parts = [part.reshape(z1 - z0, end - first, n_x) for part, (first, end) in
                 zip(np.split(received, np.cumsum(counts)[:-1]), bounds, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
