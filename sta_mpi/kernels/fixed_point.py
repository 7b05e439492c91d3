"""Adding floats to sums in fixed point, in one pass over memory.

What one unit adds to a half-set's sums is mostly memory traffic, and half of it lies outside
the sphere of the frequencies that are used: runs of zeros are read and nothing is written.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.options import cpu_kernel

RUN = 64
"""Elements looked at together: where all are zero, the sums are not touched."""


def add_quantised(units: NDArray[np.int64], values: NDArray[Any], scale: float) -> None:
    """Add rint(values * scale) to integer sums, ties to even.

    Parameters
    ----------
    units : (n,) int64                  changed in place
    values : (n,) float32 or float64    contiguous, |values * scale| < 2^62
    scale : float                       a power of two, so the product is exact
    """
    _add_quantised(units, values, _bits(values), scale)


@cpu_kernel
def _add_quantised(units, values, bits, scale):  # type: ignore[no-untyped-def]
    for start in range(0, values.shape[0], RUN):
        # loops over slices have no negative index to look for, so they become vector code
        run, run_bits = values[start:start + RUN], bits[start:start + RUN]
        used = run_bits.dtype.type(0)
        for i in range(run.shape[0]):
            used |= run_bits[i]
        if used != 0:
            run_units = units[start:start + RUN]
            for i in range(run.shape[0]):
                run_units[i] += np.int64(np.rint(np.float64(run[i]) * scale))


@cpu_kernel
def _largest_bits(bits, mask):  # type: ignore[no-untyped-def]
    largest = bits.dtype.type(0)
    for i in range(bits.shape[0]):
        largest = max(largest, bits[i] & mask)
    return largest


def largest_magnitude(values: NDArray[Any]) -> float:
    """Return max |values| of a float32 or float64 array; infinity or NaN where one is not finite.

    Without the sign, the bits of floats are ordered as their values are, NaN beyond infinity.
    """
    bits = _bits(np.ascontiguousarray(values).reshape(-1))
    largest = _largest_bits(bits, bits.dtype.type(np.iinfo(bits.dtype).max))
    return float(np.array([largest], bits.dtype).view(values.dtype)[0])


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(np.int32 if values.dtype == np.float32 else np.int64)
