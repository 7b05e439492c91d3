"""The one home of numba's options: how CPU kernels and their CUDA twins are compiled.

Results must be the same bits on every run of one machine type. So floating-point
operations may be contracted to fused multiply-adds and the sign of zero may be ignored,
but sums are never re-ordered, and NaN and infinity behave as IEEE says. Kernels run on
one thread and without the GIL.
"""

from collections.abc import Callable
from typing import Any

import numba

FASTMATH = {"contract", "nsz"}

_CPU: dict[str, Any] = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}


def cpu_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over arrays for the CPU; machine code is cached on disk."""
    return numba.njit(cache=True, **_CPU)(function)


def cpu_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile scalar maths to be inlined into CPU kernels."""
    return numba.njit(forceinline=True, **_CPU)(function)


def cuda_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a CUDA kernel (or, in numba's simulator, wrap it)."""
    from numba import cuda

    return cuda.jit(fastmath=False)(function)


def cuda_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile scalar maths to be inlined into CUDA kernels."""
    from numba import cuda

    return cuda.jit(device=True, fastmath=False)(function)


def check_device(device: str) -> bool:
    """True for "gpu", False for "cpu"; ValueError for another name or without a GPU."""
    if device == "cpu":
        return False
    if device != "gpu":
        raise ValueError(f"device is {device!r}, expected 'cpu' or 'gpu'")
    from numba import cuda

    if not cuda.is_available():
        raise ValueError(
            "device 'gpu': numba finds no CUDA GPU. Install sta_mpi[gpu] and a driver, "
            "or use device 'cpu'")
    return True
