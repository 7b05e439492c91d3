"""Checkpoints: what a killed run goes on from, at any number of ranks.

Two kinds of file in one folder. `sums-*.h5` holds the running sums of a job in fixed
point, the ids of the units in them, bad units and rows so far; `state-*.h5` the position
of an iterative command and its arrays between two jobs. Both are sealed (`sealed.py`),
and the two newest of each kind are kept: where one is damaged, the one before is used.
Sums are added over ranks block by block and written by rank 0, so no rank holds more than
its own sums and one block.
"""

import errno
import fcntl
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError, InputWarning, ResourceError, StaMpiError
from sta_mpi.parallel.accumulators import Accumulators, sums_bytes
from sta_mpi.parallel.environment import differences, environment
from sta_mpi.parallel.exact import BLOCK
from sta_mpi.parallel.job import Job, LeftOut, Quarantined
from sta_mpi.parallel.reduce import check_reach
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.parallel.sealed import check_seal, write_sealed

T = TypeVar("T")
STREAM_ELEMENTS = 64 * BLOCK
LOCK_WAIT_S = 15.0
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class LoopState:
    """Where an iterative command is.

    Parameters
    ----------
    position : dict   small values (iteration, seeds), as JSON
    arrays : dict     name -> array, the same on all ranks
    """

    position: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class CheckpointStore:
    """Checkpoints of one command in a folder of their own. All methods are collective.

    Parameters
    ----------
    folder : Path          made when the first checkpoint is written
    fingerprint : str      digest of the command's inputs and parameters
    interval_s : float     time between checkpoints of sums [s]
    keep : int             generations of each kind
    """

    def __init__(self, folder: Path, fingerprint: str, interval_s: float = 600.0,
                 keep: int = 2) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.interval_s = interval_s
        self.keep = keep
        self._lock: int | None = None

    # ---- sums of a job ---------------------------------------------------------------

    def load_sums(self, job: Job, runtime: Runtime, kept: Accumulators) -> None:
        """Add the newest good checkpoint of this very job, if any, to rank 0's sums."""
        def load() -> None:
            self._take_lock()
            path = self._newest("sums", job.fingerprint())
            if path is not None:
                with h5py.File(path, "r") as file:
                    _read_sums(file, kept)

        _on_root(runtime, load)

    def save_sums(self, job: Job, runtime: Runtime, kept: Accumulators) -> None:
        """Write the sums, rows and finished units of all ranks."""
        finished = runtime.gather(kept.finished)
        quarantined = runtime.gather(kept.quarantined)
        left_out = runtime.gather(kept.left_out)
        rows = {name: tuple(runtime.gather_rows(part) for part in kept.rows.part(name))
                for name in kept.rows.specs}
        for name in kept.sums:
            check_reach(runtime, kept.sums[name], kept.is_owner)
        stream = _stream_sums(runtime, kept)

        def fill(file: h5py.File) -> None:
            ids = np.sort(np.array([i for part in finished or [] for i in part], np.int64))
            file["finished"] = ids
            bad = sorted((q for part in quarantined or [] for q in part), key=lambda q: q.id)
            file.attrs["quarantined"] = json.dumps([asdict(q) for q in bad])
            # no attribute: those end at 64 kB
            file["left_out"] = json.dumps(
                [asdict(row) for part in left_out or [] for row in part])
            for name, (index, values) in rows.items():
                file[f"rows/{name}/index"] = index
                file[f"rows/{name}/values"] = values
            for name in kept.sums:
                total = kept.sums[name]
                data = file.create_dataset(f"sums/{name}", (total.size,), np.int64)
                data.attrs["shift"] = total.fixed.shift
            for name, start, block in stream:
                file[f"sums/{name}"][start:start + len(block)] = block

        def write() -> None:
            self._write("sums", job.fingerprint(), fill, sums_bytes(job))

        try:
            _on_root(runtime, write, meanwhile=lambda: _exhaust(stream))
        finally:
            stream.close()

    # ---- state of a loop -------------------------------------------------------------

    def load_state(self, runtime: Runtime) -> LoopState | None:
        """Return the newest good state on all ranks, None where there is none."""
        def load() -> tuple[dict[str, Any], list[str]] | None:
            self._take_lock()
            path = self._newest("state", self.fingerprint)
            if path is None:
                return None
            with h5py.File(path, "r") as file:
                found.update({name: data[()] for name, data in file["arrays"].items()})
                return json.loads(file.attrs["position"]), sorted(found)

        found: dict[str, NDArray[Any]] = {}
        head = _on_root(runtime, load)
        if head is None:
            return None
        position, names = head
        return LoopState(position, {name: runtime.bcast_array(found.get(name)) for name in names})

    def save_state(self, runtime: Runtime, position: Mapping[str, Any],
                   arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the state of a loop; rank 0's arguments count."""
        def fill(file: h5py.File) -> None:
            file.attrs["position"] = json.dumps(dict(position))
            group = file.create_group("arrays")
            for name, array in arrays.items():
                group[name] = array

        def write() -> None:
            size = sum(array.nbytes for array in arrays.values())
            self._write("state", self.fingerprint, fill, size)

        _on_root(runtime, write)

    def clear(self, runtime: Runtime) -> None:
        """Remove all checkpoints: the command has finished."""
        def remove() -> None:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            shutil.rmtree(self.folder, ignore_errors=True)

        _on_root(runtime, remove)

    # ---- files, on rank 0 alone --------------------------------------------------------

    def _generations(self, kind: str) -> list[Path]:
        """Return the files of a kind, newest first."""
        return sorted(self.folder.glob(f"{kind}-*.h5"), reverse=True)

    def _newest(self, kind: str, fingerprint: str) -> Path | None:
        for path in self._generations(kind):
            try:
                check_seal(path)
            except (FormatError, OSError) as error:
                warnings.warn(f"checkpoint not usable, trying the one before: {error}",
                              InputWarning, stacklevel=2)
                continue
            with h5py.File(path, "r") as file:
                if file.attrs["command"] != self.fingerprint:
                    raise InputError(
                        f"{path} belongs to another job (its inputs, parameters or version "
                        "differ). Use another output folder, or --restart to begin anew")
                if file.attrs["fingerprint"] != fingerprint:
                    return None  # of an earlier job of the same loop
                then = json.loads(file.attrs["environment"])
            changed = differences(then, environment())
            if changed:
                warnings.warn("resuming with other software or on another processor; bits may "
                              f"differ from a run without a break: {'; '.join(changed)}",
                              InputWarning, stacklevel=2)
            return path
        return None

    def _write(self, kind: str, fingerprint: str, fill: Callable[[h5py.File], None],
               n_bytes: int) -> None:
        def fill_all(file: h5py.File) -> None:
            file.attrs["command"] = self.fingerprint
            file.attrs["fingerprint"] = fingerprint
            file.attrs["environment"] = json.dumps(environment())
            fill(file)

        old = self._generations(kind)
        number = int(old[0].stem.split("-")[1]) + 1 if old else 1
        path = self.folder / f"{kind}-{number:06d}.h5"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            write_sealed(path, fill_all)
        except OSError as error:
            raise ResourceError(self._write_message(path, n_bytes, error)) from error
        for stale in old[self.keep - 1:]:
            stale.unlink(missing_ok=True)

    def _write_message(self, path: Path, n_bytes: int, error: OSError) -> str:
        code = error.errno
        cause = os.strerror(code) if code is not None and code in NO_SPACE else str(error)
        said = f"checkpoint {path} could not be written: {cause}"
        if not self.folder.is_dir():
            return (f"{said}. Its folder cannot be made, or was removed or unmounted while the job "
                    "ran. Correct that, then run the same command: it goes on from what is left")
        free = shutil.disk_usage(self.folder).free
        return (f"{said} (it needs about {n_bytes / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are "
                "free). Checkpoints before it are intact: make room or correct the permissions, "
                "then run the same command to go on")

    def _take_lock(self) -> None:
        """Keep a second run of the same command from writing the same folder."""
        if self._lock is not None or not self.folder.is_dir():
            return
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ResourceError(f"{self.folder} cannot be written: {error.strerror}") from error
        start = time.monotonic()
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                # a killed run may need a moment to disappear
                if time.monotonic() - start > LOCK_WAIT_S:
                    raise ResourceError(f"another run is writing checkpoints in {self.folder}; "
                                        "wait for it or stop it") from None
                time.sleep(0.1)
                continue
            except OSError:
                warnings.warn(f"the file system of {self.folder} has no locks: take care that no "
                              "second run uses it", InputWarning, stacklevel=2)
            break
        self._lock = descriptor
        for leftover in self.folder.glob(".*.tmp"):  # of a run killed while it wrote
            leftover.unlink(missing_ok=True)


def _read_sums(file: h5py.File, kept: Accumulators) -> None:
    """Add the content of a checkpoint to the sums of this rank."""
    for name in kept.sums:
        total, data = kept.sums[name], file[f"sums/{name}"]
        if data.shape != (total.size,) or data.attrs["shift"] != total.fixed.shift:
            raise InputError(f"{file.filename}: sum '{name}' has another size or scale than this "
                             "job's. Use --restart to begin anew")
        for start in range(0, total.size, STREAM_ELEMENTS):
            total.add_units(start, data[start:start + STREAM_ELEMENTS])
    for name in kept.rows.specs:
        kept.rows.add(file[f"rows/{name}/index"][()], {name: file[f"rows/{name}/values"][()]})
    kept.finished.extend(int(i) for i in file["finished"])
    kept.quarantined.extend(Quarantined(**q) for q in json.loads(file.attrs["quarantined"]))
    kept.left_out.extend(LeftOut(**row) for row in json.loads(file["left_out"][()]))


def _stream_sums(runtime: Runtime, kept: Accumulators
                 ) -> Generator[tuple[str, int, NDArray[np.int64]], None, None]:
    """Give (name, start, block of the sum over ranks); every step is collective."""
    for name in kept.sums:
        total = kept.sums[name]
        for start in range(0, total.size, STREAM_ELEMENTS):
            stop = min(start + STREAM_ELEMENTS, total.size)
            mine = (total.data[start:stop] if total.data is not None and kept.is_owner
                    else np.zeros(stop - start, np.int64))
            block = runtime.reduce_sum(mine)
            yield name, start, block if block is not None else mine


def _exhaust(stream: Iterator[Any]) -> None:
    for _ in stream:
        pass


def _on_root(runtime: Runtime, function: Callable[[], T],
             meanwhile: Callable[[], None] | None = None) -> T:
    """Call a function on rank 0; return its small result, or raise its error, on all ranks.

    `meanwhile` takes part in the collective calls that the function makes; rank 0 calls it
    too, for those that were left when the function failed.
    """
    answer: tuple[T | None, StaMpiError | None] = (None, None)
    if runtime.is_root:
        try:
            answer = (function(), None)
        except StaMpiError as error:
            answer = (None, error)
    if meanwhile is not None:
        meanwhile()
    value, failure = runtime.bcast(answer)
    if failure is not None:
        raise failure
    return value  # type: ignore[return-value]
