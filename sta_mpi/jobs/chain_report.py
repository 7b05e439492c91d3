"""Sections of the report of `run`: the stages in one table and one figure, and their maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sta_mpi.jobs.overview import job_figures
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures.chain import stages_figure
from sta_mpi.report.wording import format_duration


@dataclass(frozen=True)
class StageRecord:
    """What one finished stage left behind.

    Parameters
    ----------
    carried : list of str    what it took over from earlier stages
    results : dict           of its job.json
    elapsed_s : float        wall time of the run that finished it
    ranks : int
    warnings : list of str
    usage : dict             cpu_s, read_GiB, written_GiB of all ranks of that run
    """

    name: str
    command: str
    carried: list[str]
    results: dict[str, Any]
    elapsed_s: float
    ranks: int
    warnings: list[str]
    usage: dict[str, float]

    @property
    def core_hours(self) -> float:
        """Ranks times wall time [h]."""
        return self.elapsed_s * self.ranks / 3600

    @property
    def resolution_A(self) -> float | None:
        """Resolution by the half maps, where the stage measured one."""
        value = self.results.get("resolution_A")
        return float(value) if isinstance(value, int | float) else None


def chain_sections(records: list[StageRecord], folder: Path) -> list[Section]:
    """Course of the chain, what went from stage to stage, maps and curves of each stage."""
    rows = [(r.name, r.command, r.results.get("particles", ""), r.resolution_A or "",
             format_duration(r.elapsed_s), round(r.core_hours, 4),
             r.results.get("peak_memory_GiB") or "",
             r.usage.get("read_GiB", ""), r.usage.get("written_GiB", "")) for r in records]
    table = Table("Stages", ("stage", "command", "particles", "resolution [Å]", "wall time",
                             "core hours", "memory of a rank [GiB]", "read from storage [GiB]",
                             "written [GiB]"), rows)
    figure = Figure("Resolution and cost", stages_figure(
        [r.name for r in records], [r.resolution_A for r in records],
        [r.core_hours for r in records]), "Of the run that finished each stage.")
    carried = Table("Taken over from earlier stages", ("stage", "what"),
                    [(r.name, text) for r in records for text in r.carried])
    sections = [Section("The chain", figures=[figure], tables=[table, carried])]
    for r in records:
        figures = job_figures(folder / r.name)
        if figures:
            sections.append(Section(f"{r.name} ({r.command})", figures=figures))
    return sections
