"""Run one command: runtime, folder, job, report, exit code."""

import gc
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sta_mpi.errors import EXIT_OK, ResourceError, StaMpiError, Stopped
from sta_mpi.jobs.engine import open_checkpoints
from sta_mpi.jobs.folder import FINISHED, JobFolder, JobOutcome, open_folder, write_json
from sta_mpi.jobs.folder_lock import FolderLock
from sta_mpi.jobs.job_page import write_job_page
from sta_mpi.jobs.page_figures import draw_figures
from sta_mpi.jobs.parameters.base import JobParameters, ParallelParameters
from sta_mpi.parallel.abort import run_main
from sta_mpi.parallel.runtime import start_runtime
from sta_mpi.parallel.usage import Usage, process_usage
from sta_mpi.report.runlog import open_run_log
from sta_mpi.report.wording import format_duration, format_number

T = TypeVar("T")


def launch(command: str, parameters: JobParameters) -> int:
    """Run `command` on this rank; returns the exit code."""
    runtime = start_runtime()
    return run_main(runtime, lambda: run_command(command, parameters, runtime))


def on_root(runtime: Any, function: Callable[[], T]) -> T:
    """Call on rank 0 and give the result to all; its StaMpiError is raised on all ranks."""
    result: Any = None
    error: StaMpiError | None = None
    if runtime.is_root:
        try:
            result = function()
        except StaMpiError as caught:
            error = caught
    result, error = runtime.bcast((result, error))
    if error is not None:
        raise error
    return result


def run_command(command: str, parameters: JobParameters, runtime: Any) -> int:
    """Run `command` in its output folder; collective. Errors are raised alike on all ranks."""
    started = time.time()
    job = _imported(command)
    if getattr(parameters, "dry_run", False):
        on_root(runtime, lambda: _print_numbers(job.describe(parameters)))
        return EXIT_OK
    lock = FolderLock(Path(parameters.output))
    try:
        folder = on_root(runtime, lambda: open_folder(
            command, parameters, job.input_files(parameters), lock))
        return _run_in(folder, job, parameters, runtime, started)
    finally:
        lock.release()


def _imported(command: str) -> Any:
    """Module of a command, imported without looking for garbage among 200,000 objects that stay.

    After the first command they are kept out of later collections too, each of which would look
    at all of them. After later ones nothing is: results of an earlier command of a chain may be
    garbage by then, and would never be freed.
    """
    gc.disable()
    try:
        return importlib.import_module(f"sta_mpi.jobs.{command.replace('-', '_')}")
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()


def _run_in(folder: JobFolder, job: Any, parameters: JobParameters, runtime: Any, started: float
            ) -> int:
    """Run the job in its locked folder."""
    if folder.state == FINISHED:
        if runtime.is_root:
            print(f"{folder.path}: finished before with the same input and parameters. "
                  "Pass --restart to compute it again.")
        return EXIT_OK
    on_root(runtime, lambda: _write_running(folder, runtime))
    console = sys.stderr if runtime.is_root and not parameters.quiet else None
    before = process_usage()
    with open_run_log(folder.path, rank=runtime.rank, is_every_rank=parameters.log_all_ranks,
                      console=console) as log:
        try:
            outcome = job.run(parameters, folder, runtime)
            draw_figures(outcome, runtime)
        except BaseException as error:
            _write_failure(folder, runtime, error, started)
            raise
        used = runtime.gather(process_usage() - before)
        return _finish(folder, parameters, runtime, outcome, log, started, used)


def _finish(folder: JobFolder, parameters: JobParameters, runtime: Any, outcome: JobOutcome,
            log: Any, started: float, used: list[Usage] | None) -> int:
    elapsed_s = time.time() - started
    if runtime.is_root:
        for line in outcome.warnings:
            log.warn(line)
        record = {
            "ranks": runtime.size, "nodes": runtime.n_nodes, "started": started,
            "finished": _now(),
            "elapsed_s": round(elapsed_s, 3),
            "peak_memory_GiB": outcome.results.get("peak_memory_GiB"),
            **sum(used or [], Usage()).record(),
            "results": outcome.results, "outputs": outcome.outputs, "warnings": log.warnings}
        try:
            write_job_page(folder, parameters, outcome, record)
            if outcome.stages:
                write_json(folder.path / "timing.json", _timing(outcome))
            folder.write_status("finished", **record)
        except OSError as error:
            raise _cannot_write(folder, error) from None
        if not parameters.quiet:
            _print_results(folder, outcome, elapsed_s)
    if isinstance(parameters, ParallelParameters):
        open_checkpoints(folder, parameters).clear(runtime)
    return EXIT_OK


def _timing(outcome: JobOutcome) -> dict[str, Any]:
    """Times of ranks and units, for models of the scheduler; the last stage's units on top."""
    stages = [{"elapsed_s": s.elapsed_s, "ranks": [asdict(t) for t in s.timings],
               "unit_seconds": list(s.unit_seconds.values())} for s in outcome.stages]
    return {"unit_seconds": stages[-1]["unit_seconds"], "stages": stages}


def _write_running(folder: JobFolder, runtime: Any) -> None:
    try:
        folder.write_status("running", ranks=runtime.size, host=runtime.host, updated=_now())
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _cannot_write(folder: JobFolder, error: OSError) -> ResourceError:
    return ResourceError(f"cannot write to {folder.path}: {error.strerror}. Free space and start "
                         "again: the job resumes.")


def _write_failure(folder: JobFolder, runtime: Any, error: BaseException, started: float) -> None:
    """Leave the reason in job.json; the error itself is what the user is told about."""
    if not runtime.is_root:
        return
    status = "stopped" if isinstance(error, Stopped) else "failed"
    try:
        folder.write_status(status, ranks=runtime.size, started=started, updated=_now(),
                            elapsed_s=round(time.time() - started, 3),
                            message=f"{type(error).__name__}: {error}")
    except OSError:
        return


def _print_numbers(numbers: dict[str, Any]) -> None:
    for name, value in numbers.items():
        if not isinstance(value, (dict, list)):
            print(f"  {name:<28} {format_number(value)}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _print_results(folder: JobFolder, outcome: JobOutcome, elapsed_s: float) -> None:
    _print_numbers(outcome.results)
    print(f"finished in {format_duration(elapsed_s)}: {folder.path / 'report.html'}")
