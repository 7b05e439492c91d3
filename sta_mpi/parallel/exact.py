"""Sums that do not depend on the order of their terms: fixed point in int64.

A contribution x is stored as rint(x * 2^s), with s fixed before the start from the
declared bound B of the sum so that B maps to at most 2^60. Integer addition is
associative, so any number of ranks, any order and any resume give the same bits. The
rounding of one contribution is at most 2^-61 B, and float64 terms larger than 2^-7 B
are not rounded at all.

Overflow cannot pass silently: a contribution above its bound is refused (`DataError`),
and running sums are watched by an upper limit of their largest element that is renewed
from the data whenever it comes near 2^62.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import DataError, InputError
from sta_mpi.kernels.fixed_point import add_quantised, largest_magnitude
from sta_mpi.parallel.job import Partial, SumSpec

BLOCK = 1 << 16
"""Elements under one lock and one upper limit."""

LIMIT = 2.0 ** 62


class BlockLocks(Protocol):
    """Locks that keep ranks of a node from adding to the same block at once."""

    def block(self, i: int) -> AbstractContextManager[Any]:
        """Return a context that holds the lock of block i."""


@dataclass(frozen=True)
class FixedPoint:
    """The scale 2^shift of a sum."""

    shift: int

    @classmethod
    def for_bound(cls, bound: float) -> "FixedPoint":
        """Choose the scale so that `bound` maps to at most 2^60."""
        if not (math.isfinite(bound) and bound > 0):
            raise ValueError(f"the bound of an exact sum must be positive and finite, got {bound}")
        return cls(max(-900, min(900, 60 - math.frexp(bound)[1])))

    @property
    def scale(self) -> float:
        """Return 2^shift."""
        return math.ldexp(1.0, self.shift)

    def restore(self, units: NDArray[np.int64]) -> NDArray[np.float64]:
        """Turn int64 units into float64 values (one rounding, to nearest)."""
        # in one pass over what may be GiB
        return np.multiply(units, math.ldexp(1.0, -self.shift), dtype=np.float64)


class ExactSum:
    """One running sum, of one rank or shared by the ranks of a node.

    Parameters
    ----------
    name : str
    spec : SumSpec
    data : (n,) int64 or None      flat storage, zeros; made at the first addition when None
    reach : (n_blocks,) float64    upper limit of |data| in each block, beside `data`
    locks : BlockLocks or None     taken around each block where storage is shared
    first_block : int              block to start with, so that ranks do not queue up
    """

    def __init__(self, name: str, spec: SumSpec, data: NDArray[np.int64] | None = None,
                 reach: NDArray[np.float64] | None = None, locks: BlockLocks | None = None,
                 first_block: int = 0) -> None:
        self.name = name
        self.spec = spec
        self.fixed = FixedPoint.for_bound(spec.bound)
        self.size = math.prod(spec.shape)
        self.data = data
        self._reach = reach if reach is not None else np.zeros(n_blocks(spec))
        self._locks = locks
        self._first_block = first_block

    def check(self, values: NDArray[Any]) -> float:
        """Return the largest |element|; DataError where it is not finite or above the bound."""
        if values.shape != self.spec.shape:
            raise ValueError(f"contribution to sum '{self.name}' has shape {values.shape}, "
                             f"declared is {self.spec.shape}")
        if values.size == 0:
            return 0.0
        largest = largest_magnitude(_as_floats(values))
        if not math.isfinite(largest):
            raise DataError(f"NaN or infinity in a contribution to sum '{self.name}'; "
                            "check the images of this unit")
        if largest > self.spec.bound:
            raise DataError(
                f"a contribution to sum '{self.name}' reaches {largest:.4g}, its bound is "
                f"{self.spec.bound:.4g}; the data of this unit are out of scale")
        return largest

    def add(self, values: NDArray[Any], largest: float) -> None:
        """Add a contribution of the declared shape, whose `largest` is what `check` returned."""
        flat = np.ascontiguousarray(_as_floats(values)).reshape(-1)
        added = largest * self.fixed.scale + 1.0
        for i, part in self._blocks():
            with self._room(i, part, added) as block:
                add_quantised(block, flat[part], self.fixed.scale)

    def add_units(self, start: int, units: NDArray[np.int64]) -> None:
        """Add fixed-point units to the flat elements start ..; `start` is a whole block."""
        first = start // BLOCK
        for i in range(-(-len(units) // BLOCK)):
            piece = units[i * BLOCK:(i + 1) * BLOCK]
            part = slice(start + i * BLOCK, start + i * BLOCK + len(piece))
            with self._room(first + i, part, _largest(piece)) as block:
                block += piece

    def _blocks(self) -> Iterator[tuple[int, slice]]:
        count = n_blocks(self.spec)
        for k in range(count):
            i = (k + self._first_block) % count
            yield i, slice(i * BLOCK, min((i + 1) * BLOCK, self.size))

    @contextmanager
    def _room(self, i: int, part: slice, added: float) -> Iterator[NDArray[np.int64]]:
        """Lend a block, under its lock, to be added to; InputError where that may overflow."""
        if self.data is None:
            self.data = np.zeros(self.size, np.int64)
        lock = self._locks.block(i) if self._locks is not None else nullcontext()
        with lock:
            if self._reach[i] + added > LIMIT:
                self._reach[i] = _largest(self.data[part])
                if self._reach[i] + added > LIMIT:
                    raise self.overflow()
            yield self.data[part]
            self._reach[i] += added

    def overflow(self) -> InputError:
        """Make the error of a sum that left its declared bound."""
        return InputError(f"sum '{self.name}' leaves its declared bound {self.spec.bound:.4g}; "
                          "the job must declare a larger bound for these data")

    def largest_possible(self) -> float:
        """Return an upper limit of |data| in units; 0 where nothing was added."""
        return float(self._reach.max(initial=0.0))

    def largest_now(self) -> float:
        """Return the largest |element| in units."""
        return 0.0 if self.data is None else _largest(self.data)

    def free(self) -> None:
        """Drop the storage; the sum can no longer be used."""
        self.data = None


class ExactSums:
    """All running sums of a job on one rank."""

    def __init__(self, sums: Mapping[str, ExactSum]) -> None:
        self._sums = dict(sums)

    @classmethod
    def on_rank(cls, specs: Mapping[str, SumSpec]) -> "ExactSums":
        """Make sums with storage of their own."""
        return cls({name: ExactSum(name, spec) for name, spec in specs.items()})

    def __getitem__(self, name: str) -> ExactSum:
        return self._sums[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def add(self, sums: Mapping[str, NDArray[Any]]) -> None:
        """Add the contributions of one unit: all of them, or none where one is bad."""
        largest = {}
        for name, values in sums.items():
            if name not in self._sums:
                raise ValueError(f"sum '{name}' was not declared (declared: {sorted(self._sums)})")
            largest[name] = self._sums[name].check(values)
        for name, values in sums.items():
            self._sums[name].add(values, largest[name])


def merge_partial(total: ExactSums, partial: Partial) -> None:
    """Add the sums of a unit to the running total; the order of calls does not matter."""
    total.add(partial.sums)


def n_blocks(spec: SumSpec) -> int:
    """Count the blocks of `BLOCK` elements in a sum."""
    return max(1, -(-math.prod(spec.shape) // BLOCK))


def _as_floats(values: NDArray[Any]) -> NDArray[np.floating]:
    """Contributions as the floats that kernels take; counts become float64."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def _largest(units: NDArray[np.int64]) -> float:
    return max(float(units.max(initial=0)), -float(units.min(initial=0)))
