"""`run`: a chain of commands under one mpirun, each stage a job with a folder of its own.

A finished stage is not computed again, an unfinished one is resumed, so the chain can be
stopped and started at will. Stages take over from each other what `chain_carry` says.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sta_mpi.errors import InputError, StaMpiError, Stopped
from sta_mpi.jobs.chain import Chain, DoneStage, Stage, read_chain
from sta_mpi.jobs.chain_carry import stage_values
from sta_mpi.jobs.chain_report import StageRecord, chain_sections
from sta_mpi.jobs.folder import JobFolder, JobOutcome, read_json, write_json
from sta_mpi.jobs.launch import on_root, run_command
from sta_mpi.jobs.parameters.base import JobParameters
from sta_mpi.jobs.parameters.faults import explain
from sta_mpi.jobs.parameters.run import RunParameters

PASSED_ON = ("max_memory_GiB", "checkpoint_minutes", "dedicated_master", "log_all_ranks", "quiet",
             "scratch_dir", "max_bad_share")
"""Parameters of the run that its stages get, where the user gave them."""


@dataclass
class _Course:
    """How far a chain is."""

    done: list[DoneStage] = field(default_factory=list)
    records: list[StageRecord] = field(default_factory=list)


def input_files(parameters: RunParameters) -> list[Path]:
    """The chain file; the stages watch their own input."""
    return [parameters.chain]


def describe(parameters: RunParameters) -> dict[str, Any]:
    """What --dry-run prints: the stages in order."""
    chain = _wanted(parameters)
    numbers: dict[str, Any] = {"stages": len(chain.stages)}
    for stage in chain.stages:
        given = ", ".join(f"{k} = {v}" for k, v in stage.values.items())
        numbers[stage.name] = f"{stage.command}  {given}"
    return numbers


def run(parameters: RunParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Run the stages one after the other; collective."""
    chain = on_root(runtime, lambda: _wanted(parameters))
    first_anew = None if parameters.restart_from is None else chain.index(parameters.restart_from)
    course = _Course()
    for i, stage in enumerate(chain.stages):
        if runtime.stop_requested():
            raise Stopped(f"stopped before stage {stage.name}. Run the same command again.")
        is_anew = parameters.restart or (first_anew is not None and i >= first_anew)
        _tell(folder, runtime, parameters, chain, i)
        _run_stage(chain, stage, is_anew, parameters, folder, runtime, course)
    if not runtime.is_root:
        return JobOutcome()
    _write_progress(folder, runtime, chain, len(chain.stages), "finished")
    return _outcome(course, folder)


def _wanted(parameters: RunParameters) -> Chain:
    """The chain, cut after the stage of --until."""
    chain = read_chain(parameters.chain)
    for name in (parameters.restart_from, parameters.until):
        if name is not None:
            chain.index(name)
    if parameters.until is None:
        return chain
    return Chain(chain.stages[:chain.index(parameters.until) + 1], chain.shared)


def _run_stage(chain: Chain, stage: Stage, is_anew: bool, parameters: RunParameters,
               folder: JobFolder, runtime: Any, course: _Course) -> None:
    """Resolve, run and record one stage; errors name it."""
    where = folder.path / stage.name
    try:
        given, notes = on_root(
            runtime, lambda: _parameters(chain, stage, is_anew, parameters, where, course.done))
        run_command(stage.command, given, runtime)
        runtime.release_all_shared()
    except StaMpiError as error:
        text = str(error).replace("pass --restart ", f"pass --restart-from {stage.name} ")
        error.args = (f"stage {stage.name}: {text}",)
        raise
    job = on_root(runtime, lambda: read_json(where / "job.json")) or {}
    results, outputs = dict(job.get("results") or {}), dict(job.get("outputs") or {})
    course.done.append(DoneStage(
        stage.name, stage.command, where, results, outputs, stage.values))
    course.records.append(StageRecord(
        stage.name, stage.command, notes, results, float(job.get("elapsed_s") or 0.0),
        int(job.get("ranks") or 1), [str(w) for w in job.get("warnings", [])],
        {name: float(job[name]) for name in ("cpu_s", "read_GiB", "written_GiB") if name in job}))


def _parameters(chain: Chain, stage: Stage, is_anew: bool, run_parameters: RunParameters,
                where: Path, done: list[DoneStage]) -> tuple[JobParameters, list[str]]:
    values, notes = stage_values(chain, stage, done)
    for name in PASSED_ON:
        if name in run_parameters.model_fields_set and stage.has(name):
            values[name] = getattr(run_parameters, name)
    try:
        return stage.model(**{**values, "output": where, "restart": is_anew}), notes
    except ValidationError as error:
        raise InputError("; ".join(explain(error))) from None


def _tell(folder: JobFolder, runtime: Any, parameters: RunParameters, chain: Chain, i: int
          ) -> None:
    if not runtime.is_root:
        return
    _write_progress(folder, runtime, chain, i, "running")
    if not parameters.quiet:
        stage = chain.stages[i]
        print(f"stage {i + 1} of {len(chain.stages)}, {stage.name}: sta-mpi {stage.command}",
              flush=True)


def _write_progress(folder: JobFolder, runtime: Any, chain: Chain, n_done: int, state: str
                    ) -> None:
    """progress.json in the form of the other commands, with stages as units."""
    names = [stage.name for stage in chain.stages]
    write_json(folder.path / "progress.json", {
        "command": "run", "label": names[min(n_done, len(names) - 1)], "state": state,
        "done_units": n_done, "total_units": len(names), "fraction": n_done / len(names),
        "ranks": runtime.size, "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "time": time.time()})


def _outcome(course: _Course, folder: JobFolder) -> JobOutcome:
    records = course.records
    results: dict[str, Any] = {
        "stages": len(records), "core_hours": sum(r.core_hours for r in records)}
    for key in ("resolution_A", "particles", "symmetry"):
        found = [r.results[key] for r in records if r.results.get(key) is not None]
        if found:
            results[key] = found[-1]
    peaks = [r.results["peak_memory_GiB"] for r in records if r.results.get("peak_memory_GiB")]
    results["peak_memory_GiB"] = max(peaks, default=None)
    outputs = {f"report of {r.name}": f"{r.name}/report.html" for r in records}
    for d in course.done:
        outputs |= {name: f"{d.name}/{path}" for name, path in d.outputs.items()}
    warnings = [f"stage {r.name}: {text}" for r in records for text in r.warnings]
    return JobOutcome(results, outputs, chain_sections(records, folder.path), warnings)
