"""Where the particles of a rank are kept: in its memory, or in a file on the node's scratch disk.

A shelf takes a particle while there is room and says no afterwards; it never pushes one out
for another, because every particle is asked for once a round. The scratch file has no name:
the system frees its space when the process ends, however it ends.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.kept import Kept
from sta_mpi.errors import ResourceError


class Shelf(Protocol):
    """Room for kept particles, by row of the particle table."""

    def put(self, row: int, kept: Kept) -> bool:
        """Keep a particle that is not on the shelf; False where there is no room for it."""

    def get(self, row: int) -> Kept | None:
        """The particle as it was put; None where it cannot be read any more."""

    def drop(self, row: int) -> None:
        """Free the room of a particle, if it is here."""

    def close(self) -> None:
        """Drop everything."""

    @property
    def nbytes(self) -> int:
        """Bytes held now."""


class MemoryShelf:
    """Particles in the memory of this process, up to `limit_bytes`."""

    def __init__(self, limit_bytes: float) -> None:
        self._limit = limit_bytes
        self._kept: dict[int, Kept] = {}
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._nbytes

    def put(self, row: int, kept: Kept) -> bool:
        """Keep the arrays themselves; they must not be changed any more."""
        if self._nbytes + kept.nbytes > self._limit:
            return False
        self._kept[row] = kept
        self._nbytes += kept.nbytes
        return True

    def get(self, row: int) -> Kept | None:
        """The arrays themselves."""
        return self._kept.get(row)

    def drop(self, row: int) -> None:
        """Let go of a particle."""
        kept = self._kept.pop(row, None)
        self._nbytes -= 0 if kept is None else kept.nbytes

    def close(self) -> None:
        """Let go of all."""
        self._kept.clear()
        self._nbytes = 0


@dataclass(frozen=True)
class _Place:
    """A slot of the file, the particle without its arrays, and what these looked like."""

    slot: int
    head: Kept
    shapes: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    nbytes: int


class ScratchShelf:
    """Particles in an unnamed file of equal slots.

    Parameters
    ----------
    folder : Path          on a disk of this node
    limit_bytes : float    largest size of the file
    slot_bytes : int       largest particle

    Notes
    -----
    A disk that fills up earlier than it promised takes no more particles; one that cannot be
    read gives none. Either costs time alone: the particle is cut again.
    """

    def __init__(self, folder: Path, limit_bytes: float, slot_bytes: int) -> None:
        self._slot_bytes = max(1, int(slot_bytes))
        self._n_slots = int(limit_bytes // self._slot_bytes)
        self._free: list[int] = []
        self._n_used = 0
        self._places: dict[int, _Place] = {}
        self.is_full = False
        try:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 (belongs to the shelf)
                dir=folder, prefix="sta_mpi-", buffering=0)
        except OSError as error:
            raise ResourceError(f"no file can be made in the scratch folder {folder}: "
                                f"{error.strerror}. Give another --scratch-dir.") from None

    @property
    def nbytes(self) -> int:
        """Bytes of the particles in the file."""
        return sum(place.nbytes for place in self._places.values())

    def put(self, row: int, kept: Kept) -> bool:
        """Write a particle to a free slot."""
        if self.is_full or kept.nbytes > self._slot_bytes:
            return False
        if not self._free:
            if self._n_used >= self._n_slots:
                return False
            self._free.append(self._n_used)
            self._n_used += 1
        slot = self._free[-1]
        offset = slot * self._slot_bytes
        try:
            for array in kept.arrays:
                offset = _write(self._file.fileno(), array, offset)
        except OSError:
            self.is_full = True
            return False
        shapes = tuple((array.shape, array.dtype) for array in kept.arrays)
        self._places[row] = _Place(
            self._free.pop(), replace(kept, arrays=()), shapes, kept.nbytes)
        return True

    def get(self, row: int) -> Kept | None:
        """Read a particle."""
        place = self._places.get(row)
        if place is None:
            return None
        arrays, offset = [], place.slot * self._slot_bytes
        for shape, dtype in place.shapes:
            array = np.empty(shape, dtype)
            try:
                offset = _read(self._file.fileno(), array, offset)
            except OSError:
                return None
            arrays.append(array)
        return replace(place.head, arrays=tuple(arrays))

    def drop(self, row: int) -> None:
        """Free the slot of a particle."""
        place = self._places.pop(row, None)
        if place is not None:
            self._free.append(place.slot)

    def close(self) -> None:
        """Give the disk space back."""
        self._places.clear()
        self._file.close()


def _write(descriptor: int, array: NDArray[Any], offset: int) -> int:
    """Write an array; returns the offset behind it."""
    rest = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    while len(rest):
        n = os.pwrite(descriptor, rest, offset)
        offset, rest = offset + n, rest[n:]
    return offset


def _read(descriptor: int, array: NDArray[Any], offset: int) -> int:
    """Fill an array; returns the offset behind it. OSError where the file is too short."""
    rest = array.reshape(-1).view(np.uint8).data
    while len(rest):
        n = os.preadv(descriptor, [rest], offset)
        if n == 0:
            raise OSError("the scratch file is shorter than what was written")
        offset, rest = offset + n, rest[n:]
    return offset
