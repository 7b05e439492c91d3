"""Pieces of an IMOD file, each checked against the length of the file before it is taken."""

import struct

from sta_mpi.errors import FormatError


class ChunkReader:
    """Bytes of a model, read in order.

    Parameters
    ----------
    data : bytes     the whole file
    where : str      its name, for messages
    start : int      where reading begins
    """

    def __init__(self, data: bytes, where: str, start: int = 0) -> None:
        self._data, self.where, self._at = data, where, start
        self.contour_counts: list[int] = []
        """Contours that the header of each object announces."""

    def take(self, n: int, what: str) -> bytes:
        """The next `n` bytes; FormatError where the file ends before them."""
        left = len(self._data) - self._at
        if n > left:
            raise FormatError(f"{self.where}: {what} needs {n} bytes at byte {self._at}, the file "
                              f"ends after {left}. It is cut off or damaged; copy it again.")
        piece = self._data[self._at:self._at + n]
        self._at += n
        return piece

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at, "end")

    def sized(self, name: bytes) -> bytes:
        """A chunk with its size (4 bytes) in front, the size included."""
        size = self.take(4, f"size of chunk {name!r}")
        n = struct.unpack(">i", size)[0]
        if n < 0 or not name.isalnum():
            raise FormatError(f"{self.where}: chunk {name!r} of {n} bytes at byte "
                              f"{self._at - 8}. The file is damaged.")
        return size + self.take(n, f"chunk {name.decode()}")

    def mesh(self) -> bytes:
        """A mesh: its counts (16 bytes), vertices and list."""
        header = self.take(16, "mesh header")
        n_vertices, n_list = struct.unpack_from(">ii", header)
        if min(n_vertices, n_list) < 0:
            raise FormatError(f"{self.where}: a mesh of {n_vertices} vertices and {n_list} "
                              "indices. The file is damaged.")
        return header + self.take(12 * n_vertices + 4 * n_list, "mesh")


def chunk_bytes(data: bytes) -> bytes:
    """Data with its size in front."""
    return struct.pack(">i", len(data)) + data
