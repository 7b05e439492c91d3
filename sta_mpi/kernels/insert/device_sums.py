"""Fourier sums that stay on a GPU while a unit of work is inserted, and come back once.

They are integers in units of a power of two, fixed before the first sample from how large and how
many samples may be, so that no sum can leave the range of int64: at most 32 samples of a plane
reach one voxel (points of a unit lattice within sqrt(3) of it, with both mates). A unit is then
2^-62 of the largest possible sum, to the next power of two.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import DataError
from sta_mpi.kernels.device import Scratch, free_dropped, launch
from sta_mpi.kernels.insert.planes import InsertPlanes, planes_of_box, planes_of_slices

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Floats = NDArray[np.float64]

SAMPLES_A_VOXEL = 32.0
SLICES_A_BOX = 4
"""A box counts as so many slices: at most 73 points of its lattice reach one voxel."""

CLEARED_A_THREAD = 64


class DeviceSums:
    """Sums of slices and boxes on the GPU in use.

    Parameters
    ----------
    n : int                 edge of the sums, at least 2
    largest_sample : float  bound of the real part, imaginary part and weight of any sample
    n_slices : int          most slices that are inserted between two calls of `clear`; a box
                            counts as 4
    least_pad : float       least index units of the sums per index unit of the data

    Notes
    -----
    The same samples give the same bits, in whatever order and in however many calls they come.
    """

    def __init__(self, n: int, largest_sample: float, n_slices: int, least_pad: float = 1.0
                 ) -> None:
        from numba import cuda

        if n < 2 or n_slices < 1 or not (math.isfinite(largest_sample) and largest_sample > 0):
            raise ValueError(f"sums of edge {n} for {n_slices} slices of samples up to "
                             f"{largest_sample}: expected at least 2, 1, and a bound above 0")
        self.n, self.least_pad, self.largest = n, float(least_pad), float(largest_sample)
        self._n_slices, self._n_inserted = n_slices, 0
        reach = SAMPLES_A_VOXEL * max(1.0, 1.0 / least_pad) ** 3 * n_slices
        self.shift = 62 - math.frexp(reach * self.largest)[1]
        self.count_shift = 62 - math.frexp(reach)[1]
        free_dropped()
        self._sums = cuda.device_array(self.shape, np.int64)
        self._refused = cuda.device_array(1, np.int64)
        self._scratch = Scratch()
        self.clear()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, n, n//2+1, 4): real, imaginary, weight, multiplicity."""
        return (self.n, self.n, self.n // 2 + 1, 4)

    @staticmethod
    def bytes_needed(n: int) -> int:
        """Device memory of sums of edge n [bytes]."""
        return n * n * (n // 2 + 1) * 4 * 8

    def clear(self) -> None:
        """Start again from zero."""
        from sta_mpi.kernels.insert import cuda

        for array in (self._sums.reshape(-1), self._refused):
            launch(cuda.clear_kernel, -(-array.size // CLEARED_A_THREAD), array)
        self._n_inserted = 0

    def insert_slices(self, data: Complex, weight: Real, slice_axes: Floats,
                      r_max_px: float, pad: float = 1.0, limits_px: Floats | None = None) -> None:
        """Add central slices; arguments as for `kernels.insert.insert_slices`."""
        self.insert(planes_of_slices(self.n, data, weight, slice_axes, r_max_px, pad, limits_px),
                    len(data))

    def insert_box(self, data_rft: Complex, weight: Real, R: Floats, r_max_px: float,
                   pad: float = 1.0) -> None:
        """Add a turned box; arguments as for `kernels.insert.insert_box`."""
        self.insert(planes_of_box(self.n, data_rft, weight, R, r_max_px, pad), SLICES_A_BOX)

    def total(self) -> Floats:
        """The sums so far, (n, n, n//2+1, 4) float64; DataError where a sample was refused."""
        refused = int(self._refused.copy_to_host()[0])
        if refused:
            raise DataError(
                f"{refused} Fourier samples are not finite or larger than {self.largest:.4g}; "
                "the data of this unit are out of scale")
        units = self._sums.copy_to_host()
        unit = np.ldexp(1.0, [-self.shift] * 3 + [-self.count_shift])
        total = units.view(np.float64)
        for plane, own in zip(units, total, strict=True):  # in place: sums may take a GiB
            own[...] = plane * unit
        return np.asarray(total)

    def insert(self, planes: InsertPlanes, n_slices: int) -> None:
        """Add planes, prepared for sums of this edge, that count as `n_slices` slices."""
        if planes.pad < self.least_pad:
            raise ValueError(f"data with pad {planes.pad:g}: these sums were made for a pad of at "
                             f"least {self.least_pad:g}")
        from sta_mpi.kernels.insert import cuda

        self._n_inserted += n_slices
        if self._n_inserted > self._n_slices:
            raise ValueError(f"{self._n_inserted} slices inserted into sums made for "
                             f"{self._n_slices}: they might overflow")
        if not planes.data.size:
            return
        filled = self._scratch.filled
        launch(cuda.insert_kernel, planes.data.size, self._sums.reshape(-1), self.n,
               filled("data", planes.data), filled("weight", planes.weight), planes.pad,
               filled("axes", planes.axes), filled("kz", planes.kz), filled("r2", planes.r2),
               self.largest, math.ldexp(1.0, self.shift), math.ldexp(1.0, self.count_shift),
               self._refused)
