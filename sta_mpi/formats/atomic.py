"""Output files that are either the old or the new one, never half of one.

A file is written to a hidden temporary name in its own folder, flushed to the disk and renamed.
A run killed at any moment therefore leaves the previous file, if there was one, untouched.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sta_mpi.errors import ResourceError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on success it is fsynced and renamed to `path`, else removed.

    Parent folders are made. The temporary file is created with the permissions of the umask.

    Raises
    ------
    ResourceError   where the folder cannot be written or the disk is full
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        os.replace(temporary, final)
        _fsync(final.parent)
    except OSError as error:
        _remove(temporary)
        raise ResourceError(
            f"{final}: cannot be written ({error.strerror or error}). "
            "Free some space or choose another output folder.") from error
    except BaseException:
        _remove(temporary)
        raise


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block ends without an error."""
    with atomic_path(path) as temporary, open(temporary, "xb") as stream:
        yield stream


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
