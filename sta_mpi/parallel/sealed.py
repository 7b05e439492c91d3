"""HDF5 files with a seal: truncated or changed files are told from good ones.

The first 512 bytes of the file (HDF5's user block) hold one line of text with the length
and the SHA-256 of all that follows, so any change of any bit is seen before HDF5 looks
at the file. Files are written under a temporary name, flushed to the disk, and renamed;
the folder is flushed too. A crash leaves the old file or the new one, never half of one.
"""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from sta_mpi.errors import FormatError

SEAL_BYTES = 512
MAGIC = "sta_mpi sealed HDF5 1"
READ_BYTES = 16 << 20


def write_sealed(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Write a sealed file atomically.

    Parameters
    ----------
    fill : callable   puts datasets and attributes into the open file

    Errors leave the old file as it was and no temporary file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w+b", buffering=0) as raw:
            recorder = _WriteRecorder(raw)
            with h5py.File(recorder, "w", userblock_size=SEAL_BYTES, libver="latest") as file:
                fill(file)
            if recorder.error is not None:
                raise recorder.error
        with open(temporary, "r+b") as raw:
            length, digest = _digest(temporary)
            raw.write(_seal(length, digest))
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_seal(path: Path) -> None:
    """Raise FormatError where a file is not complete and unchanged."""
    with open(path, "rb") as raw:
        head = raw.read(SEAL_BYTES)
    if not head.startswith(MAGIC.encode()):
        raise FormatError(f"{path}: no seal of a complete file at its start")
    length, digest = _digest(path)
    if head != _seal(length, digest):
        raise FormatError(f"{path}: cut off or changed after it was written: {length} bytes with "
                          f"SHA-256 {digest[:12]}..., the seal says "
                          f"{head.decode('ascii', errors='replace')[len(MAGIC):].strip()[:30]}...")


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _WriteRecorder:
    """A file for HDF5 that keeps the first error of a write instead of passing it on.

    HDF5 cannot close a file whose blocks it cannot write: it fails again, later, wherever
    its objects are freed. So it is told that all went well, and the caller raises `error`.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._position = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and self.error is None:
            try:
                self._raw.seek(self._position + written)
                written += self._raw.write(view[written:]) or 0
            except OSError as error:
                self.error = error
        self._position += len(view)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._raw.seek(self._position)
        n_read = self._raw.readinto(view) or 0
        if self.error is not None:
            n_read = len(view)  # what was lost is never used
        self._position += n_read
        return n_read

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        return bytes(data[:self.readinto(data)])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset += os.fstat(self._raw.fileno()).st_size
        elif whence == os.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                self._raw.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing is kept back."""


def _seal(length: int, digest: str) -> bytes:
    return f"{MAGIC} {length} {digest}\n".encode().ljust(SEAL_BYTES, b" ")


def _digest(path: Path) -> tuple[int, str]:
    """Return length and SHA-256 of what follows the seal."""
    digest, length = hashlib.sha256(), 0
    with open(path, "rb") as raw:
        raw.seek(SEAL_BYTES)
        while block := raw.read(READ_BYTES):
            digest.update(block)
            length += len(block)
    return length, digest.hexdigest()
