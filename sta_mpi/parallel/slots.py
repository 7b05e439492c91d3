"""A node-shared cache of equal arrays: the first rank that needs one loads it.

Tilt series are read once a node. A slot is one array in node-shared memory; a table
beside it says which key it holds, in which state it is and how many ranks use it. A rank
that finds its key being loaded waits; where nothing is free, the slot unused for longest
is loaded anew. An exception in a loader is raised in the waiting ranks too, and again
for every later use of that key (bad data stay bad).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sta_mpi.errors import DataError, WorkerError
from sta_mpi.parallel.allocator import trim_heap

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime

EMPTY, LOADING, READY, FAILED_DATA, FAILED = 0, 1, 2, 3, 4
KEY, STATE, USERS, LAST_USE = 0, 1, 2, 3
TEXT_BYTES = 2048


class SlotCache:
    """Slots of one shape and dtype on a node.

    Parameters
    ----------
    runtime : Runtime
    n_slots : int        at least one; more than the ranks of the node never wait for a slot
    shape, dtype         of one array
    """

    def __init__(self, runtime: "Runtime", n_slots: int, shape: tuple[int, ...],
                 dtype: DTypeLike) -> None:
        if n_slots < 1:
            raise ValueError(f"a cache needs at least one slot, got {n_slots}")
        self._runtime = runtime
        self._arrays = runtime.shared_array((n_slots, *shape), dtype, zero=False)
        self._table = runtime.shared_array((n_slots, 4), np.int64)
        self._texts = runtime.shared_array((n_slots, TEXT_BYTES), np.uint8)
        self._clock = runtime.shared_array((1,), np.int64)
        self._locks = runtime.node_locks()
        self._kept: tuple[int, int] | None = None
        runtime.at_unit_end(self._release_kept)

    @contextmanager
    def load_once(self, key: int, loader: Callable[[NDArray[Any]], None],
                  for_unit: bool = False) -> Iterator[NDArray[Any]]:
        """Give the array of `key`, loaded by whichever rank of the node came first.

        Parameters
        ----------
        key : int           what to load (index of the tilt series)
        loader : callable   fills the array it is given; DataError marks bad data
        for_unit : bool     within a unit of work the slot is kept until the unit ends, or until
                            another key is asked for: where there are fewer slots than groups in
                            work, ranks would else load in turns what they take from each other

        The array is valid, and is not to be changed, inside the `with` block.
        """
        if self._kept is not None and self._kept[0] == key:
            yield self._arrays[self._kept[1]]
            return
        self._release_kept()
        slot = self._acquire(key, loader)
        if for_unit and self._runtime.is_in_unit:
            self._kept = key, slot
            yield self._arrays[slot]
            return
        try:
            yield self._arrays[slot]
        finally:
            self._release(slot)

    def _release_kept(self) -> None:
        if self._kept is not None:
            self._release(self._kept[1])
            self._kept = None

    def _release(self, slot: int) -> None:
        with self._lock():
            self._table[slot, USERS] -= 1

    def _acquire(self, key: int, loader: Callable[[NDArray[Any]], None]) -> int:
        start = time.monotonic()
        while True:
            with self._lock():
                slot, is_mine = self._claim(key)
                state = int(self._table[slot, STATE]) if slot is not None else EMPTY
            if slot is not None and is_mine:
                self._load(slot, loader)
                return slot
            if slot is not None and state == READY:
                return slot
            if slot is not None and state in (FAILED, FAILED_DATA):
                self._raise_failure(slot, state)
            if time.monotonic() - start > self._runtime.wait_limit_s:
                raise WorkerError(f"waited {self._runtime.wait_limit_s:.0f} s for another rank on "
                                  f"{self._runtime.host} to load data of group {key}")
            time.sleep(0.001)

    def _claim(self, key: int) -> tuple[int | None, bool]:
        """Find the slot of a key, or take one for it; called with the lock held.

        Returns (slot or None, whether the caller must load it). The caller becomes a user
        of a slot that is ready or that it must load.
        """
        table = self._table
        known = np.flatnonzero((table[:, KEY] == key) & (table[:, STATE] != EMPTY))
        if len(known):
            slot = int(known[0])
            if table[slot, STATE] == READY:
                self._use(slot)
            return slot, False
        free = np.flatnonzero((table[:, USERS] == 0) & (table[:, STATE] != LOADING))
        if len(free) == 0:
            return None, False
        slot = int(free[np.argmin(table[free, LAST_USE])])
        table[slot, KEY] = key
        table[slot, STATE] = LOADING
        self._use(slot)
        return slot, True

    def _use(self, slot: int) -> None:
        self._clock[0] += 1
        self._table[slot, LAST_USE] = self._clock[0]
        self._table[slot, USERS] += 1

    def _load(self, slot: int, loader: Callable[[NDArray[Any]], None]) -> None:
        try:
            loader(self._arrays[slot])
        except Exception as error:
            text = str(error).encode()[:TEXT_BYTES]
            self._texts[slot] = 0
            self._texts[slot, :len(text)] = np.frombuffer(text, np.uint8)
            with self._lock():
                self._table[slot, USERS] -= 1
                self._table[slot, STATE] = FAILED_DATA if isinstance(error, DataError) else FAILED
            raise
        # raw images come and go among arrays that stay: the holes would count as memory in use
        trim_heap()
        with self._lock():
            self._table[slot, STATE] = READY

    def _raise_failure(self, slot: int, state: int) -> None:
        text = self._texts[slot].tobytes().rstrip(b"\0").decode(errors="replace")
        if state == FAILED_DATA:
            raise DataError(text)
        raise WorkerError(f"another rank on {self._runtime.host} failed to load shared data: "
                          f"{text}")

    def _lock(self) -> AbstractContextManager[Any]:
        return self._locks.block(0) if self._locks is not None else nullcontext()
