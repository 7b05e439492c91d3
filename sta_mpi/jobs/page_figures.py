"""The figures of a job's page, drawn by all ranks together."""

from typing import Any

import numpy as np

from sta_mpi.jobs.folder import JobOutcome
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.drawing import Drawing, drawings_of, drawn
from sta_mpi.report.figures import memory_use, rank_load, unit_times

HEAVY_BYTES = 64 * 2**20
"""A drawing of more data than that stays on rank 0: the plan counts no maps on other ranks."""


def draw_figures(outcome: JobOutcome, runtime: Any) -> None:
    """Draw what the sections of rank 0's outcome leave to be drawn, and its timing; collective."""
    sections: list[Section] = []
    if runtime.is_root:
        sections = [*outcome.sections, Section("", figures=timing_figures(outcome))]
    pngs = _draw_together(drawings_of(sections), runtime)
    if runtime.is_root:
        *outcome.sections, timing = drawn(sections, pngs)
        outcome.timing_figures = list(timing.figures)


def timing_figures(outcome: JobOutcome) -> list[Figure]:
    """Load of the ranks, units, memory; nothing for a job without parallel stages."""
    if not outcome.stages:
        return []
    last = outcome.stages[-1]
    busy, wait, other = (np.array([getattr(t, name) for t in last.timings])
                         for name in ("busy_s", "wait_s", "checkpoint_s"))
    figures = [Figure("Load of the ranks", rank_load.later(busy, wait, other),
                      "Bars of one length: no rank waited for another.")]
    if last.unit_seconds:
        seconds = list(last.unit_seconds.values())
        figures.append(Figure("Time of the units", unit_times.later(seconds)))
    if outcome.memory_plan_GiB:
        peaks = [t.peak_memory_GiB for t in last.timings]
        figures.append(Figure("Memory", memory_use.later(outcome.memory_plan_GiB, peaks),
                              "Predicted parts of one rank against the measured peaks."))
    return figures


def _draw_together(drawings: list[Drawing], runtime: Any) -> list[bytes]:
    """Pictures of rank 0's drawings, in their order, on rank 0; each rank draws its share."""
    if runtime.size == 1:
        return [drawing.png() for drawing in drawings]
    own = runtime.scatter(_shares(drawings, runtime.size))
    found: dict[int, bytes] = {}
    for part in runtime.gather({i: drawing.png() for i, drawing in own}) or ():
        found |= part
    return [found[i] for i in sorted(found)]


def _shares(drawings: list[Drawing], n_ranks: int) -> list[list[tuple[int, Drawing]]]:
    """Which drawings (with their numbers) each rank makes: in turn, heavy ones all on rank 0."""
    shares: list[list[tuple[int, Drawing]]] = [[] for _ in range(n_ranks)]
    for i, drawing in enumerate(drawings):
        fewest = min(range(n_ranks), key=lambda r: len(shares[r]))
        shares[0 if drawing.nbytes > HEAVY_BYTES else fewest].append((i, drawing))
    return shares
