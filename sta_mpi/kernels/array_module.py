"""numpy or cupy: whole-array arithmetic (matrix products, FFTs) on a device.

Functions that take an `xp` parameter are written once for both.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.device import is_simulated
from sta_mpi.kernels.options import check_device


def array_module(device: str) -> ModuleType:
    """The module whose arrays live on a device: numpy for "cpu", cupy for "gpu".

    In numba's simulator the host is the device, so "gpu" gives numpy. ValueError for another
    name, without a GPU, or without cupy.
    """
    if not check_device(device) or is_simulated():
        return np
    try:
        import cupy
    except ImportError as error:
        raise ValueError("device 'gpu': cupy is not installed: pip install 'sta_mpi[gpu]', or use "
                         "device 'cpu'") from error
    return cupy  # type: ignore[no-any-return]


def to_host(array: Any) -> NDArray[Any]:
    """An array of numpy or cupy as one of numpy; no copy where it is one."""
    return np.asarray(array.get() if hasattr(array, "get") else array)
