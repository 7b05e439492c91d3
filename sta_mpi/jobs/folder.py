"""The output folder of a job: what is in it, whose it is, and its states.

    job.toml        every parameter, resolved; can be given back to the command
    job.json        command, version, status, ranks, elapsed_s, results, outputs
    run.log, progress.json, report.html
    checkpoint/     what a resume needs; gone when the job is finished

A folder of a finished job with the same fingerprint is not computed again, one of an
unfinished job is resumed, one of another job is refused.
"""

import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sta_mpi.errors import InputError, ResourceError
from sta_mpi.jobs.folder_lock import LOCK_FILE, FolderLock
from sta_mpi.jobs.parameters.base import JobParameters
from sta_mpi.version import __version__

BOOKKEEPING = {"job.toml", "job.json", "run.log", "progress.json"}
"""What a job that fails before its first unit leaves behind."""

ROUND_FILES = "round[0-9][0-9]_*"
"""Maps and curves of single rounds, which are no outputs of the job."""

NEW, RESUMED, FINISHED = "new", "resumed", "finished"


@dataclass
class JobOutcome:
    """What a command returns on rank 0.

    Parameters
    ----------
    results : dict     numbers for job.json and the report's first table; units in the names
    outputs : dict     what was written: name -> path relative to the job folder
    sections : list    sections of the report
    warnings : list    one line each
    stages : list      `JobResult` of every parallel stage, in order
    memory_plan_GiB : dict   predicted parts of one rank's memory
    timing_figures : list    figures of the page's part on time and memory
    """

    results: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    sections: list[Any] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stages: list[Any] = field(default_factory=list)
    memory_plan_GiB: dict[str, float] = field(default_factory=dict)
    timing_figures: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class JobFolder:
    """An opened output folder.

    Parameters
    ----------
    path : Path
    command : str
    fingerprint : str     of command, parameters, inputs and version
    state : str           NEW, RESUMED or FINISHED
    """

    path: Path
    command: str
    fingerprint: str
    state: str

    @property
    def checkpoint(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoint"

    def file(self, name: str) -> Path:
        """Path of an output, its folder made."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_status(self, status: str, **more: Any) -> None:
        """Replace job.json; `status` is running, finished, stopped or failed."""
        write_json(self.path / "job.json", {
            "command": self.command, "version": __version__, "status": status,
            "fingerprint": self.fingerprint, **more})


def open_folder(command: str, parameters: JobParameters, inputs: list[Path], lock: FolderLock
                ) -> JobFolder:
    """Open or make the output folder, lock it and tell what it holds; called on rank 0."""
    path = Path(parameters.output)
    fingerprint = job_fingerprint(command, parameters, inputs)
    try:
        state = _state(path, command, fingerprint, parameters)
        path.mkdir(parents=True, exist_ok=True)
        if state != FINISHED:
            lock.take()
            # a run that ended while this one waited may have finished the job
            state = _state(path, command, fingerprint, parameters)
        if state == RESUMED:
            for leftover in path.rglob(".*.tmp"):    # of a run killed while it wrote
                leftover.unlink(missing_ok=True)
        if parameters.restart:
            _discard(path, inputs)
        if state != FINISHED:
            _write_text(path / "job.toml", job_toml(command, parameters))
    except OSError as error:
        raise ResourceError(
            f"output folder {path}: {error.strerror}. Choose a folder that can be written.",
        ) from None
    if not os.access(path, os.W_OK):
        raise ResourceError(f"output folder {path} is read-only. Choose another folder.")
    return JobFolder(path, command, fingerprint, state)


def _discard(path: Path, inputs: list[Path]) -> None:
    """Remove what an earlier job left, but no input of the new one and nothing that is not a job's.

    Maps of its rounds would else stand among those of a shorter run.
    """
    shutil.rmtree(path / "checkpoint", ignore_errors=True)
    named = ((read_json(path / "job.json") or {}).get("outputs") or {}).values()
    kept = {file.resolve() for file in inputs}
    for file in {*(path / name for name in named), *path.glob(ROUND_FILES)}:
        real = file.resolve()
        if real.is_file() and path.resolve() in real.parents and real not in kept:
            file.unlink()


def _state(path: Path, command: str, fingerprint: str, parameters: JobParameters) -> str:
    if path.is_symlink() and not path.exists():
        raise InputError(f"output {path} is a link to nothing. Remove it or choose another name.")
    if path.exists() and not path.is_dir():
        raise InputError(f"output {path} is a file, expected a folder. Choose another name.")
    if not path.exists() or not any(p.name != LOCK_FILE for p in path.iterdir()):
        return NEW
    job = read_json(path / "job.json")
    if job is None:
        if (path / "job.toml").exists():
            return NEW
        raise InputError(f"output folder {path} holds files that are not of a job. "
                         "Choose a new or empty folder.")
    if parameters.restart and job.get("command") == command:
        return NEW
    if parameters.REOPENS and job.get("command") == command:
        return RESUMED
    if job.get("fingerprint") != fingerprint and _left_nothing(path, job):
        return NEW
    if job.get("fingerprint") != fingerprint:
        raise InputError(
            f"output folder {path} holds another job ({job.get('command')}, status "
            f"{job.get('status')}): its parameters, inputs or program version differ. Choose "
            "another folder, or pass --restart to discard it.")
    return FINISHED if job.get("status") == "finished" else RESUMED


def _left_nothing(path: Path, job: dict[str, Any]) -> bool:
    """Whether a job was refused before its first unit, so that a mended one may take its place."""
    kept = BOOKKEEPING | {LOCK_FILE}
    return job.get("status") == "failed" and all(file.name in kept for file in path.iterdir())


def job_fingerprint(command: str, parameters: JobParameters, inputs: list[Path]) -> str:
    """SHA-256 of command, scientific parameters, input files and version."""
    digest = hashlib.sha256()
    digest.update(json.dumps([command, __version__, parameters.scientific()],
                             sort_keys=True).encode())
    for path in inputs:
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file; InputError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}. Check the path.") from None
    return digest.hexdigest()


def job_toml(command: str, parameters: JobParameters) -> str:
    """All parameters as TOML; those without a value stand as comments."""
    lines = [f"# sta-mpi {command}, version {__version__}", f'command = "{command}"']
    for name, value in parameters.model_dump(mode="json").items():
        lines.append(f"# {name}: not set" if value is None else f"{name} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON through a temporary name and rename; NaN and infinity become null."""
    _write_text(path, json.dumps(_finite(value), indent=1, default=str) + "\n")


def _finite(value: Any) -> Any:
    """The value with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
