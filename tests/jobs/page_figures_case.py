"""Figures of a page drawn on all ranks, for `mpirun -n N python tests/jobs/page_figures_case.py`.

Prints digests of the pictures and how many drawings this rank made.
"""

import hashlib
import sys

import numpy as np

from sta_mpi.jobs import page_figures
from sta_mpi.jobs.folder import JobOutcome
from sta_mpi.parallel import run_main, start_runtime
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.drawing import Drawing
from sta_mpi.report.figures import ctf_weight


def main():
    runtime = start_runtime()
    made, draw = [], Drawing.png

    def counted(self):
        made.append(1)
        return draw(self)

    Drawing.png = counted
    page_figures.HEAVY_BYTES = 100_000

    def run():
        figures = [Figure(f"{k}", ctf_weight.later(
            {"both": np.linspace(k, 1, 17 if k < 5 else 40_000)}, 2.0, 32)) for k in range(6)]
        outcome = JobOutcome(sections=[Section("S", figures=figures[:1]),
                                       Section("T", figures=figures[1:])])
        page_figures.draw_figures(outcome if runtime.is_root else JobOutcome(), runtime)
        counts = runtime.gather(len(made))
        if runtime.is_root:
            pictures = [f.png for s in outcome.sections for f in s.figures]
            print("pictures:", *(hashlib.sha1(p).hexdigest()[:12] for p in pictures))
            print("drawn:", *counts)

    return run_main(runtime, run)


if __name__ == "__main__":
    sys.exit(main())
