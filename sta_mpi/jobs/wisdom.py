"""FFT plans that are the same in every process and every run.

Measured plans are 1.1 to 1.7 times faster than estimated ones, but which plan wins depends
on the load of the moment, and two plans round differently. So a size is measured once a user
and processor type, on rank 0; the result is kept in the user's cache, copied to the job
folder, and broadcast. A resumed job uses the copy in its folder.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sta_mpi.errors import ResourceError
from sta_mpi.parallel.environment import environment, processor
from sta_mpi.signal.fft import FftPlans, Shape

NAME = "fftw_wisdom"


def shared_plans(runtime: Any, shapes: Sequence[Shape], folder: Path | None
                 ) -> FftPlans:
    """Plans of real-space shapes, planned on rank 0 and rebuilt on all others; collective.

    Parameters
    ----------
    folder : Path or None    job folder that keeps a copy
    """
    wisdom = _make(shapes, folder) if runtime.is_root else None
    return _prepared(runtime.bcast_bytes(wisdom), tuple(shapes))


@lru_cache(maxsize=1)
def _prepared(wisdom: bytes | None, shapes: tuple[Shape, ...]) -> FftPlans:
    """Plans from wisdom; those of the last call, whose shapes most stages of a job share."""
    return FftPlans(wisdom).prepare(shapes)


def cache_file() -> Path:
    """Where this user's plans are kept for this processor and FFT library."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sta_mpi"
    if not _is_writable(home):
        home = Path(tempfile.gettempdir()) / f"sta_mpi-{os.getuid()}"
    about = f"{processor()} {environment().get('pyfftw')}"
    return home / f"{NAME}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _make(shapes: Sequence[Shape], folder: Path | None) -> bytes:
    """Wisdom that holds the shapes: the job's own, else the user's, else measured now."""
    copy = None if folder is None else folder / NAME
    kept = copy.read_bytes() if copy is not None and copy.exists() else None
    own = None
    if kept is not None:
        own = _completed(kept, shapes)
        if own == kept:
            return kept
    cache = cache_file()
    cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(cache.with_suffix(".lock")):
        wisdom = _with_shapes(cache, shapes)
    # a later stage of the job needs more shapes: the user's plans, unless they were lost or
    # made anew since the job began
    if own is not None and kept is not None and not _lines(kept) <= _lines(wisdom):
        wisdom = own
    if copy is not None:
        try:
            _replace(copy, wisdom)
        except OSError as error:
            raise ResourceError(f"{copy} cannot be written: {error.strerror}. Free space and "
                                "start again: the job resumes.") from None
    return wisdom


def _with_shapes(file: Path, shapes: Sequence[Shape]) -> bytes:
    """The wisdom in a file, completed by the shapes that it lacks and written back."""
    known = file.read_bytes() if file.exists() else None
    wisdom = _completed(known, shapes)
    if wisdom != known:
        _replace(file, wisdom)
    return wisdom


def _completed(known: bytes | None, shapes: Sequence[Shape]) -> bytes:
    """Wisdom with plans of all shapes; `known` itself where it has them."""
    try:
        wisdom = _prepared(known, tuple(shapes)).wisdom()
    except ValueError:
        wisdom = FftPlans().prepare(shapes).wisdom()
    # FFTW writes the same plans in any order: only a new plan is a reason to write
    return known if known is not None and _lines(known) == _lines(wisdom) else wisdom


def _lines(wisdom: bytes) -> set[bytes]:
    return set(wisdom.splitlines())


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_name(f"{file.name}.{os.getpid()}.part")
    temporary.write_bytes(data)
    temporary.replace(file)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock file: two runs that plan at once would disagree."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
