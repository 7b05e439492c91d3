"""Runs real commands with something planted in them; the tests start it on n ranks.

    mpirun -n 2 python planted_command.py '{"sleep_s": 0.1}' average --box-px 32 ... -o OUT

Several commands in one start are parted by `++`. Figures of reports are left empty, which
saves most of the time of such short runs. What can be planted:

    sleep_s        every unit (of `stage`) takes this much longer
    log            file to which every rank appends "time rank unit" after each unit
    shuffle_seed   units are leased in a random order
    file_limit     largest file that can be written [bytes], as on a full disk
    lock_wait_s    how long a locked folder is waited for
    fail           "raise", "kill" (SIGKILL to this rank) or "term" (SIGTERM to this rank) ...
    rank           ... on this rank ...
    stage          ... in the stage of this name (any) ...
    after          ... once this rank has done a unit of the stage of this name ...
    checkpoints    ... once the output folder holds this many checkpoints of sums (0) ...
    units          ... in the next unit but this many (0)
    kill_at        "module:function": SIGKILL where rank 0 would call it
"""

import base64
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

JOBS = {"average": "AverageJob", "align_rounds": "AlignRound", "simulate": "SimulateJob",
        "extract": "ExtractJob", "local_resolution": "LocalResolutionJob",
        "pca_rounds": "PcaRound", "align_check": "OracleCheck", "noise_fit": "NoiseJob",
        "tomogram": "TomogramJob", "match_scan": "ScanJob", "match_refine": "RefineJob"}


def this_rank():
    """Rank as the launcher says it."""
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


class Planted:
    """What goes wrong, and when."""

    def __init__(self, plan, output):
        self.plan, self.output = plan, Path(output)
        self.n_units = 0
        self.has_begun = "after" not in plan

    def wrap(self, kind):
        """Put this between the engine and the `work` of a job class."""
        work = kind.work

        def planted_work(job, context, unit):
            self.before(job.name)
            partial = work(job, context, unit)
            if self.plan.get("stage", job.name) == job.name:
                time.sleep(self.plan.get("sleep_s", 0.0))
            if "log" in self.plan:
                with open(self.plan["log"], "a") as log:
                    log.write(f"{time.time()} {this_rank()} {unit.id}\n")
            return partial

        kind.work = planted_work

    def before(self, stage):
        """Fail, if it is time."""
        plan = self.plan
        self.has_begun |= plan.get("after") == stage
        if "fail" not in plan or this_rank() != plan["rank"] or plan.get("stage", stage) != stage:
            return
        if not self.has_begun:
            return
        wanted = plan.get("checkpoints", 0)
        newest = max((int(path.stem.split("-")[1])
                      for path in self.output.glob("checkpoint/sums-*.h5")), default=0)
        if newest >= wanted:
            if self.n_units == plan.get("units", 0):
                fail(plan["fail"])
            self.n_units += 1


def fail(how):
    """Raise, or send a signal to this process."""
    if how == "raise":
        raise RuntimeError("planted in a unit")
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM}[how])


def shuffle(seed):
    """Make the engine lease units in a random order."""
    from sta_mpi.jobs import engine

    run_job = engine.run_job
    engine.run_job = lambda *args, **more: run_job(*args, shuffle_seed=seed, **more)


def kill_at(place):
    """Replace a function by the end of rank 0."""
    module, name = place.split(":")
    loaded = importlib.import_module(module)
    real = getattr(loaded, name)

    def killed(*args, **more):
        if this_rank() == 0:
            fail("kill")
        return real(*args, **more)

    setattr(loaded, name, killed)


def leave_figures_empty():
    """Give a picture of one pixel for every figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    pixel = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJg"
        "gg==")
    FigureCanvasAgg.print_png = lambda canvas, stream, **options: stream.write(pixel)


def plant(plan, output):
    """Change the program as `plan` says."""
    if this_rank() == 0:
        leave_figures_empty()
    planted = Planted(plan, output)
    for module, name in JOBS.items():
        planted.wrap(getattr(importlib.import_module(f"sta_mpi.jobs.{module}"), name))
    if "shuffle_seed" in plan:
        shuffle(plan["shuffle_seed"])
    if "kill_at" in plan:
        kill_at(plan["kill_at"])
    if "lock_wait_s" in plan:
        from sta_mpi.jobs import folder_lock

        folder_lock.LOCK_WAIT_S = plan["lock_wait_s"]
    if "file_limit" in plan:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan["file_limit"], plan["file_limit"]))


def main(arguments):
    """Plant, then run the commands until one fails."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    plan, words = json.loads(arguments[0]), arguments[1:]
    plant(plan, words[words.index("-o") + 1])
    from sta_mpi.cli.main import cli

    while words:
        end = words.index("++") if "++" in words else len(words)
        try:
            cli.main(words[:end], prog_name="sta-mpi")
        except SystemExit as left:
            if left.code:
                raise
        words = words[end + 1:]


if __name__ == "__main__":
    main(sys.argv[1:])
