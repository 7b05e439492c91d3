"""A small job for the tests of the engine, runnable by hand on any number of ranks.

    mpirun -n 3 python tests/parallel/toy_job.py --out result.npz

Unit i adds random volumes that depend on i alone, so every run must end in the same
bits. Options plant failures: bad units, exceptions, signals, hangs.
"""

import argparse
import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from sta_mpi.errors import DataError, InputError
from sta_mpi.parallel import MemoryPlan, Partial, SumSpec, Unit, run_job
from sta_mpi.parallel.abort import run_main
from sta_mpi.parallel.accumulators import engine_memory
from sta_mpi.parallel.checkpoint import CheckpointStore
from sta_mpi.parallel.runtime import start_runtime

N = 12
ROWS_A_UNIT = 3


class ToyJob:
    """Sums of random volumes of very different sizes, and rows of random numbers."""

    name = "toy"

    def __init__(self, options):
        self.options = options
        self.n_done = 0

    def units(self):
        n = self.options.units
        return [Unit(i, f"group{i % 4}", 1.0 + (i * 7 % 5), i) for i in range(n)]

    def sum_specs(self):
        n = self.options.edge
        return {"half1": SumSpec((n, n, n // 2 + 1, 2), 1e6),
                "half2": SumSpec((n, n, n // 2 + 1, 2), 1e6),
                "counts": SumSpec((5,), 1e4)}

    def row_specs(self):
        n_rows = self.options.units * ROWS_A_UNIT
        return {"pose": ((n_rows, 3, 3), "float64"), "iteration": ((n_rows,), "int32")}

    def fingerprint(self):
        return hashlib.sha256(repr((self.options.units, self.options.edge)).encode()).hexdigest()

    def prepare(self, runtime):
        if self.options.fail_in == "prepare" and runtime.rank == self.options.fail_rank:
            raise RuntimeError("planted in prepare")
        if self.options.fail_in == "input" and self.options.fail_rank in (-1, runtime.rank):
            raise InputError("planted bad input met by all ranks")
        self.predicted_GiB = runtime.check_memory(self.memory())
        return runtime

    def memory(self):
        """Declare the largest arrays: those alive at the end of `finish`."""
        n = self.options.edge
        half = 8.0 * n * n * (n // 2 + 1) * 2
        return engine_memory(self, "rank").plus(MemoryPlan(
            {"copy of half 1": half, "copy of half 2": half},
            {"full half 2": half}))

    def work(self, runtime, unit):
        options = self.options
        i = unit.id
        if i in options.bad:
            raise DataError(f"planted bad data in unit {i}")
        if runtime.rank == options.fail_rank and self.n_done == options.fail_after:
            plant(options.fail_in)
        self.n_done += 1
        time.sleep(options.sleep * unit.cost)
        rng = np.random.default_rng((5, i))
        half = "half1" if i % 2 else "half2"
        volume = rng.standard_normal(self.sum_specs()[half].shape) * 10.0 ** rng.integers(-6, 4)
        rows = np.arange(i * ROWS_A_UNIT, (i + 1) * ROWS_A_UNIT)
        values = {"pose": rng.standard_normal((ROWS_A_UNIT, 3, 3)),
                  "iteration": np.full(ROWS_A_UNIT, i, np.int32)}
        return Partial({half: volume.astype(np.float32), "counts": np.full(5, 1.0)}, rows, values)

    def finish(self, reduced, runtime):
        z0, _, slab = reduced.slab("half1")
        if self.options.fail_in == "everywhere":
            raise RuntimeError("planted in finish of all ranks")
        if self.options.fail_in == "finish" and runtime.rank == self.options.fail_rank:
            raise RuntimeError("planted in finish")
        full = reduced.shared("half2", np.float64)
        slabs = runtime.gather((z0, slab))
        result = {"half2": full.copy(), "counts": reduced.shared("counts").copy(),
                  "pose": reduced.rows("pose"), "iteration": reduced.rows("iteration")}
        if slabs is not None:
            result["half1"] = np.concatenate(
                [part for _, part in sorted(slabs, key=lambda s: s[0])])
        return result


def plant(what):
    """Fail in the way that is asked for."""
    if what == "work":
        raise RuntimeError("planted in work")
    if what == "hang":
        time.sleep(1000)
    if what == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
    if what == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--units", type=int, default=20)
    parser.add_argument("--edge", type=int, default=N)
    parser.add_argument("--sleep", type=float, default=0.0)
    parser.add_argument("--shuffle", type=int)
    parser.add_argument("--storage", default="auto")
    parser.add_argument("--dedicated", action="store_true")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--interval", type=float, default=0.1)
    parser.add_argument("--bad", type=int, nargs="*", default=[])
    parser.add_argument("--max-bad-share", type=float, default=0.05)
    parser.add_argument("--fail-in", default="")
    parser.add_argument("--fail-rank", type=int, default=-1)
    parser.add_argument("--fail-after", type=int, default=0,
                        help="units that the rank does before it fails")
    parser.add_argument("--file-limit", type=int, help="largest file that may be written [bytes]")
    parser.add_argument("--timings", type=Path)
    options = parser.parse_args(arguments)
    runtime = start_runtime()

    job = ToyJob(options)

    def run():
        if options.file_limit is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_limit, options.file_limit))
        store = None
        if options.checkpoints is not None:
            store = CheckpointStore(options.checkpoints, "toy", options.interval)
        result = run_job(job, runtime, checkpoints=store,
                         max_bad_share=options.max_bad_share, shuffle_seed=options.shuffle,
                         dedicated_master=options.dedicated, storage=options.storage)
        if runtime.is_root:
            print(f"ranks {runtime.size} resumed {result.resumed_units} "
                  f"checkpoints {result.checkpoints} bad {[q.id for q in result.quarantined]} "
                  f"units {[t.units for t in result.timings]} "
                  f"predicted {job.predicted_GiB:.4f} peak {result.timings[0].peak_memory_GiB:.4f}")
            if options.out is not None:
                np.savez(options.out, **result.outputs)
            if options.timings is not None:
                write_timings(options.timings, result)

    return run_main(runtime, run)


def write_timings(path, result):
    """Write what the benchmarks read."""
    import json
    from dataclasses import asdict

    path.write_text(json.dumps({"elapsed_s": result.elapsed_s,
                                "unit_seconds": list(result.unit_seconds.values()),
                                "ranks": [asdict(timing) for timing in result.timings]}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
