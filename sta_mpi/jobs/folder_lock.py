"""One run at a time in an output folder: a lock that its process holds as long as it lives."""

import fcntl
import os
import socket
import time
import warnings
from pathlib import Path

from sta_mpi.errors import InputWarning, ResourceError

LOCK_FILE = ".lock"
LOCK_WAIT_S = 10.0
"""A killed run may need a moment to disappear."""


class FolderLock:
    """The lock of one folder; the system gives it back however the process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> None:
        """Lock the folder, which must exist; ResourceError where another run holds it."""
        start = time.monotonic()
        while self._descriptor is None:
            self._descriptor = self._try()
            if self._descriptor is None and time.monotonic() - start > LOCK_WAIT_S:
                raise ResourceError(
                    f"another run is at work in {self._path.parent} ({self._holder()}). Wait for "
                    "it, stop it, or choose another folder.")
            if self._descriptor is None:
                time.sleep(0.1)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> int | None:
        """The locked file, or None where another process has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_in_place(descriptor):
                os.close(descriptor)
                return None
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return None
        except OSError:
            warnings.warn(
                f"the file system of {self._path.parent} has no locks: take care that no second "
                "run uses this folder", InputWarning, stacklevel=3)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        return descriptor

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the locked file still has its name: the run before removes it at its end."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _holder(self) -> str:
        try:
            return self._path.read_text() or "unknown"
        except OSError:
            return "unknown"
