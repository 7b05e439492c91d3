"""From the running sums of all ranks to results: slabs, shared arrays, rows.

Every rank gets one slab (consecutive planes of axis 0) of each sum by a reduce-scatter
in rounds of bounded size; no rank ever holds the full sums of the others. Sums are
integers until the last step, so results do not depend on the number of ranks.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sta_mpi.parallel.exact import ExactSum, ExactSums

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime

ROUND_BYTES = 64 << 20
"""Size of the send buffer of one round of the reduce-scatter."""

INT64_LIMIT = 2.0 ** 63


def slab_bounds(n_planes: int, size: int) -> list[tuple[int, int]]:
    """Return the planes [z0, z1) of each rank; some are empty where ranks exceed planes.

    Examples
    --------
    >>> slab_bounds(5, 2)
    [(0, 2), (2, 5)]
    """
    return [(r * n_planes // size, (r + 1) * n_planes // size) for r in range(size)]


class RowTable:
    """Per-row results of the units done on this rank."""

    def __init__(self, specs: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self.specs = {name: (tuple(shape), np.dtype(kind)) for name, (shape, kind)
                      in specs.items()}
        self._rows: dict[str, list[NDArray[np.intp]]] = {name: [] for name in specs}
        self._values: dict[str, list[NDArray[Any]]] = {name: [] for name in specs}

    def add(self, rows: NDArray[np.intp] | None, values: Mapping[str, NDArray[Any]]) -> None:
        """Keep the values of some rows."""
        for name, part in values.items():
            if name not in self.specs:
                raise ValueError(f"row result '{name}' was not declared "
                                 f"(declared: {sorted(self.specs)})")
            shape, kind = self.specs[name]
            if rows is None or part.shape != (len(rows), *shape[1:]):
                n_rows = None if rows is None else len(rows)
                raise ValueError(f"row result '{name}' has shape {part.shape} for {n_rows} rows; "
                                 f"declared is {shape}")
            if len(rows) and (rows.min() < 0 or rows.max() >= shape[0]):
                raise ValueError(f"row result '{name}' has rows outside 0 .. {shape[0] - 1}")
            self._rows[name].append(np.array(rows, np.int64))
            self._values[name].append(np.array(part, kind))

    def part(self, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return (rows, values) kept on this rank."""
        shape, kind = self.specs[name]
        rows = np.concatenate([np.zeros(0, np.int64), *self._rows[name]])
        return rows, np.concatenate([np.zeros((0, *shape[1:]), kind), *self._values[name]])


class Reduced:
    """The result of all units, given to `Job.finish`. All methods are collective."""

    def __init__(self, runtime: "Runtime", sums: ExactSums, rows: RowTable,
                 contributes: bool = True) -> None:
        self._runtime = runtime
        self._sums = sums
        self._table = rows
        self._contributes = contributes
        self._slabs: dict[str, NDArray[np.float64]] = {}
        self._released: set[str] = set()

    def slab(self, name: str) -> tuple[int, int, NDArray[np.float64]]:
        """Return (z0, z1, float64 planes z0 .. z1-1 of the sum); the slab belongs to the caller."""
        total = self._sums[name]
        shape = total.spec.shape
        z0, z1 = slab_bounds(shape[0], self._runtime.size)[self._runtime.rank]
        if name in self._released:
            raise ValueError(f"sum '{name}' was released")
        if name not in self._slabs:
            units = reduce_to_slab(self._runtime, total, self._contributes)
            self._slabs[name] = total.fixed.restore(units).reshape(z1 - z0, *shape[1:])
            total.free()
        return z0, z1, self._slabs[name]

    def shared(self, name: str, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return the full sum, one copy a node; give it back with `runtime.release_shared`."""
        _, _, slab = self.slab(name)
        full = self._runtime.shared_array(self._sums[name].spec.shape, dtype, zero=False)
        return fill_shared(self._runtime, full, slab)

    def release(self, name: str) -> None:
        """Let go of a sum, of which no slab will be asked for again."""
        self._slabs.pop(name, None)
        self._released.add(name)

    def rows(self, name: str) -> NDArray[Any]:
        """Return the full per-row result on all ranks; NaN or 0 where no unit filled it."""
        rows, values = self._table.part(name)
        shape, kind = self._table.specs[name]
        rows = self._runtime.allgather_rows(rows)
        values = self._runtime.allgather_rows(values)
        if len(np.unique(rows)) != len(rows):
            raise ValueError(f"two units filled the same row of '{name}'")
        full = np.full(shape, np.nan if kind.kind in "fc" else 0, kind)
        full[rows] = values
        return full

    def rows_on_root(self, name: str) -> NDArray[Any] | None:
        """Return the full per-row result on rank 0 and None elsewhere: for large tables."""
        rows, values = self._table.part(name)
        shape, kind = self._table.specs[name]
        all_rows, all_values = self._runtime.gather_rows(rows), self._runtime.gather_rows(values)
        if all_rows is None or all_values is None:
            return None
        full = np.full(shape, np.nan if kind.kind in "fc" else 0, kind)
        full[all_rows] = all_values
        return full


def fill_shared(runtime: "Runtime", full: NDArray[Any], slab: NDArray[Any]) -> NDArray[Any]:
    """Fill a node-shared array from the slabs of all ranks; collective. Returns `full`."""
    bounds = slab_bounds(full.shape[0], runtime.size)
    z0, z1 = bounds[runtime.rank]
    full[z0:z1] = slab
    runtime.spread_slabs(full, bounds)
    return full


def check_reach(runtime: "Runtime", total: ExactSum, contributes: bool = True) -> None:
    """Raise an error where the sum over ranks could leave int64; collective."""
    reach = total.largest_possible() if contributes else 0.0
    if sum(runtime.allgather(reach)) < INT64_LIMIT:
        return
    if sum(runtime.allgather(total.largest_now() if contributes else 0.0)) >= INT64_LIMIT:
        raise total.overflow()


def reduce_to_slab(runtime: "Runtime", total: ExactSum, contributes: bool = True,
                   round_bytes: int = ROUND_BYTES) -> NDArray[np.int64]:
    """Add a sum over ranks; return this rank's slab as flat int64; collective.

    Parameters
    ----------
    contributes : bool   False on ranks whose storage is the one of another rank of the node
    round_bytes : int    memory of one round, besides the slab
    """
    check_reach(runtime, total, contributes)
    plane = math.prod(total.spec.shape[1:])
    bounds = [(z0 * plane, z1 * plane) for z0, z1
              in slab_bounds(total.spec.shape[0], runtime.size)]
    begin, end = bounds[runtime.rank]
    data = total.data if contributes else None
    if runtime.size == 1:
        return data if data is not None else np.zeros(end, np.int64)
    owners = sum(1 for z0, z1 in bounds if z1 > z0)
    step = max(1, round_bytes // (8 * max(1, owners)))
    mine = np.empty(end - begin, np.int64)
    for offset in range(0, max(z1 - z0 for z0, z1 in bounds), step):
        parts = [slice(min(z0 + offset, z1), min(z0 + offset + step, z1)) for z0, z1 in bounds]
        counts = [part.stop - part.start for part in parts]
        packed = (np.zeros(sum(counts), np.int64) if data is None
                  else np.concatenate([data[part] for part in parts]))
        piece = runtime.reduce_scatter_sum(packed, counts)
        mine[offset:offset + len(piece)] = piece
    return mine


def ordered_plane_sum(runtime: "Runtime", contributions: NDArray[Any]) -> NDArray[Any]:
    """Add one contribution a plane over all slabs, in the order of the planes; collective.

    Parameters
    ----------
    contributions : (z1 - z0, ...) float   one term for each plane of this rank's slab

    Returns
    -------
    (...) array   the same bits on all ranks and for any number of ranks
    """
    planes = runtime.allgather_rows(contributions)
    total = np.zeros(planes.shape[1:], planes.dtype)
    for plane in planes:
        total = total + plane
    return total
