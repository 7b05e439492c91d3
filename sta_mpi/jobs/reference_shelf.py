"""The references of a round, prepared once a node: padded transforms weigh hundreds of MiB.

All stages of a round (the noise of the search, the search, its check) read the same references, and
so do all ranks of a node: each is prepared by one of them, in memory that they share.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.reference import (
    Reference,
    placed_reference,
    prepare_reference,
    reference_shape,
)
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]


class ReferenceShelf:
    """References of both half-sets, [half][reference], from their first use to their release."""

    def __init__(self) -> None:
        self._references: list[list[Reference]] = []
        self._arrays: list[tuple[NDArray[np.complex64], Floats]] = []

    def take(self, maps: NDArray[np.float32], mask: NDArray[np.float32] | None, r_max: float,
             filters: list[Floats | None], plans: FftPlans, runtime: Any
             ) -> list[list[Reference]]:
        """The references, prepared by the first call; collective.

        Parameters
        ----------
        maps : (2, K, b, b, b) float32    of each half-set
        mask : (b, b, b) float32 or None
        r_max : float                     band of the search [index units]
        filters : K curves or None        factors of the shells of each
        """
        if not self._references:
            n, (_, n_classes) = maps.shape[-1], maps.shape[:2]
            # all memory first: allocation is collective, and would make the ranks wait in turn
            self._arrays = [
                (runtime.shared_array(reference_shape(n, r_max), np.complex64, zero=False),
                 runtime.shared_array((n // 2 + 1,), np.float64, zero=False))
                for _ in range(2 * n_classes)]
            for i in range(runtime.node_rank, 2 * n_classes, runtime.node_size):
                half, k = divmod(i, n_classes)
                made = prepare_reference(maps[half, k], mask, r_max, plans,
                                         shell_filter=filters[k])
                volume, power = self._arrays[i]
                volume[...], power[...] = made.volume.data, made.shell_power
            runtime.barrier()
            placed = [placed_reference(*arrays, n, r_max) for arrays in self._arrays]
            self._references = [placed[:n_classes], placed[n_classes:]]
        return self._references

    def release(self, runtime: Any) -> None:
        """Give the memory back; collective. The references must not be used afterwards."""
        self._references = []
        for arrays in self._arrays:
            for array in arrays:
                runtime.release_shared(array)
        self._arrays = []
