"""What stays on a GPU between calls, and what a GPU needs to be there at all.

A kernel that copies its input for every call spends its time on copies. Large arrays (a packed
reference, the samples of particles, sums) are therefore uploaded once and held by the
objects below; small ones (poses, sums of a pose) travel with each call, through buffers that are
kept. numba-cuda and cupy see the same memory: either takes the other's arrays without a copy.

With `NUMBA_ENABLE_CUDASIM=1` all of it runs in numba's simulator, on the host.
"""

import importlib.util
import math
import os
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import config
from numpy.typing import DTypeLike, NDArray

from sta_mpi.kernels.gather.volume import GatherVolume

THREADS = 128
"""Threads of a block where each thread has one element."""

RESERVE_BYTES = 600 << 20
"""Device memory that a process may take beside its arrays: code of kernels, cuBLAS, cuFFT."""


def is_simulated() -> bool:
    """Whether CUDA kernels run in numba's simulator."""
    return bool(vars(config)["ENABLE_CUDASIM"])


def gpu_problem() -> str | None:
    """What keeps this process from using a GPU, None where nothing does."""
    if is_simulated():
        return None
    missing = [name for name, module in (("numba-cuda", "numba_cuda"), ("cupy", "cupy"))
               if importlib.util.find_spec(module) is None]
    if missing:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    if n_devices():
        return None
    from numba import cuda

    visible, fault = os.environ.get("CUDA_VISIBLE_DEVICES"), cuda.cuda_error()
    if visible is not None:
        return f"no CUDA GPU is visible (CUDA_VISIBLE_DEVICES is {visible!r})"
    if fault:
        return f"no CUDA GPU is visible ({' '.join(str(fault).split()).rstrip('.')})"
    return "the CUDA compiler library NVVM is not found"


def n_devices() -> int:
    """Number of GPUs that this process may use; CUDA_VISIBLE_DEVICES is obeyed by the driver."""
    from numba import cuda

    return len(cuda.gpus) if cuda.is_available() else 0


def use_device(index: int) -> str:
    """Make GPU `index` the one that this thread computes on; returns its unique name.

    To be called before any other use of a GPU, by the thread that does the work.
    """
    from numba import cuda

    chosen = cuda.select_device(index)
    if not is_simulated():
        import cupy

        cupy.cuda.Device(index).use()
    return str(getattr(chosen, "uuid", index))


def device_memory_bytes() -> tuple[float, float]:
    """(free, total) memory of the GPU in use [bytes]; infinite in the simulator."""
    from numba import cuda

    free, total = cuda.current_context().get_memory_info()[:2]
    return float(free), float(total)


def free_dropped() -> None:
    """Give the memory of dropped arrays back to the GPU now.

    numba keeps up to a fifth of the GPU for later, and cupy all of it, which other ranks on the
    same GPU may need. Called before large arrays are made; waits for kernels under way.
    """
    if is_simulated():
        return
    from numba import cuda

    cuda.current_context().memory_manager.deallocations.clear()
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()


def launch(kernel: Any, n_threads: int, *arguments: Any) -> None:
    """Run a kernel that gives each thread one of `n_threads` elements."""
    if n_threads > 0:  # CUDA refuses an empty grid
        kernel[-(-n_threads // THREADS), THREADS](*arguments)


def upload(array: NDArray[Any]) -> Any:
    """Copy an array to the GPU, in C order."""
    from numba import cuda

    return cuda.to_device(np.ascontiguousarray(array))


class Scratch:
    """Buffers on the GPU that are made once and grow where a call needs more."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, np.dtype], Any] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """A device array of undefined content, the same memory for the same name."""
        from numba import cuda

        size, key = math.prod(shape), (name, np.dtype(dtype))
        if key not in self._kept or self._kept[key].size < size:
            self._kept[key] = cuda.device_array(max(size, 1), key[1])
        return self._kept[key][:size].reshape(shape)

    def filled(self, name: str, array: NDArray[Any]) -> Any:
        """A device array with this content."""
        kept = self.array(name, array.shape, array.dtype)
        if array.size:
            kept.copy_to_device(np.ascontiguousarray(array))
        return kept


class KeptByIdentity:
    """What a function made from an object, made once and dropped when the object goes.

    Objects are told apart by identity, so their content must not change.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        self._kept: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, source: Any) -> Any:
        key = id(source)
        if key not in self._kept:
            self._kept[key] = self._make(source)
            weakref.finalize(source, self._kept.pop, key, None).atexit = False
        return self._kept[key]


@dataclass(frozen=True)
class DeviceVolume:
    """A packed transform on the GPU; see `gather.GatherVolume`.

    Parameters
    ----------
    floats : device array (2 nz ny nx,) float32   interleaved real and imaginary parts
    row, plane : int                              floats from one y, one z, to the next
    reach : int                                   largest stored frequency below the margin
    scale : float                                 padded index units per index unit
    """

    floats: Any
    row: int
    plane: int
    reach: int
    scale: float

    @property
    def nbytes(self) -> int:
        """Device memory that it takes [bytes]."""
        return int(self.floats.size) * 4


def _upload_volume(volume: GatherVolume) -> DeviceVolume:
    free_dropped()
    return DeviceVolume(upload(volume.floats), volume.row, volume.plane, volume.reach,
                        volume.scale)


# One copy a process and volume: all particles and slices of a job read the same reference.
device_volume: Callable[[GatherVolume], DeviceVolume] = KeptByIdentity(_upload_volume)
