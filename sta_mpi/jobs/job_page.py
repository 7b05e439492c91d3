"""From a job's record and sections to its report.html."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.parameters.base import JobParameters
from sta_mpi.report.content import FileLink, Quantity, ReportContent
from sta_mpi.report.page import write_report
from sta_mpi.version import __version__

_UNITS = {"_e_per_A2": "e/Å²", "_GiB": "GiB", "_deg": "°", "_px": "px", "_A": "Å", "_s": "s",
          "_A2": "Å²", "_A3": "Å³", "_kDa": "kDa"}

_INPUTS = ("optimisation_set", "particles", "tomograms", "reference", "half1", "half2", "map",
           "mask", "model")


def write_job_page(folder: JobFolder, parameters: JobParameters, outcome: JobOutcome,
                   record: dict[str, Any]) -> None:
    """Write report.html of a finished job."""
    values = parameters.model_dump(mode="json")
    timing, quarantined = _timing(outcome)
    content = ReportContent(
        command=folder.command, status="finished", version=__version__,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_s=record["elapsed_s"], ranks=record["ranks"],
        hosts=sorted({t.host for t in outcome.stages[-1].timings}) if outcome.stages else (),
        results=[quantity(name, value) for name, value in outcome.results.items()],
        warnings=record["warnings"], sections=outcome.sections, parameters=values,
        inputs=_input_links(values),
        outputs=[FileLink(name, path) for name, path in outcome.outputs.items()],
        timing=timing, timing_figures=outcome.timing_figures, quarantined=quarantined,
        command_line=command_line(folder.command, parameters, record["ranks"]))
    write_report(folder.path / "report.html", content)


def _input_links(values: dict[str, Any]) -> list[FileLink]:
    """Links to the files named in the parameters that a reader may want to open."""
    links = []
    for name in _INPUTS:
        value = values.get(name) or []
        # parameters are relative to where the command ran, links of a page to its own folder
        links += [FileLink(name, Path(path).absolute()) for path in
                  (value if isinstance(value, (list, tuple)) else [value])]
    return links


def quantity(name: str, value: object) -> Quantity:
    """A number with the unit that its name ends in."""
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return Quantity(name.removesuffix(suffix).replace("_", " "), value, unit)
    return Quantity(name.replace("_", " "), value)


def command_line(command: str, parameters: JobParameters, ranks: int) -> str:
    """What repeats the job: options that differ from their defaults."""
    words = ["sta-mpi", command]
    if ranks > 1:
        words = ["mpirun", "-n", str(ranks), *words]
    for name, info in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if value == info.default:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [word for v in values for word in (f"--{option}", str(v))]
    return shlex.join(words)


def _timing(outcome: JobOutcome) -> tuple[list[Quantity], list[tuple[str, str]]]:
    if not outcome.stages:
        return [], []
    last = outcome.stages[-1]
    busy, wait, other = (np.array([getattr(t, name) for t in last.timings])
                         for name in ("busy_s", "wait_s", "checkpoint_s"))
    peaks = [t.peak_memory_GiB for t in last.timings]
    timing = [
        Quantity("units", last.n_units), Quantity("units taken over by resume", last.resumed_units),
        Quantity("wall time of the last stage", last.elapsed_s, "s"),
        Quantity("core time busy", float(busy.sum()), "s"),
        Quantity("share of time waiting", float(
            100 * wait.sum() / max(float((busy + wait + other).sum()), 1e-9)), "%"),
        Quantity("after the last unit: sums over ranks, maps", max(
            t.finish_s for t in last.timings), "s"),
        Quantity("checkpoints", last.checkpoints),
        Quantity("peak memory of a rank", max(peaks), "GiB")]
    bad = [(f"{stage_unit.group} unit {stage_unit.id}", stage_unit.message)
           for stage in outcome.stages for stage_unit in stage.quarantined]
    reasons = {one.row: one.message for stage in outcome.stages for one in stage.left_out}
    bad += [(f"particle row {row + 1}", reasons[row]) for row in sorted(reasons)]
    return timing, bad
