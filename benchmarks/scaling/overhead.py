"""Measure what scheduling costs: the state machine alone, and the toy job under mpirun.

    python benchmarks/scaling/overhead.py [--ranks 2]

Prints microseconds an event of the state machine for several numbers of workers, the
time of an empty unit under mpirun (message, decision, lease, bookkeeping), and the share
of wall time that ranks of a job of known unit times do not compute.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sta_mpi.parallel.job import Unit
from sta_mpi.parallel.scheduler import Done, Lease, Ready, Scheduler

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests" / "parallel" / "toy_job.py"


def state_machine_us(n_workers, n_units=100_000, n_groups=500):
    """Return microseconds an event, with every answer handled at once."""
    units = [Unit(i, f"g{i % n_groups}", 1.0 + i % 5) for i in range(n_units)]
    start = time.perf_counter()
    scheduler = Scheduler(units, {worker: worker // 64 for worker in range(n_workers)})
    events = [Ready(worker) for worker in range(n_workers)]
    n_events = 0
    for event in events:
        n_events += 1
        for action in scheduler.handle(event):
            if isinstance(action, Lease):
                events.append(Done(action.worker, action.unit))
    return (time.perf_counter() - start) / n_events * 1e6


def run_toy(ranks, *arguments):
    """Return the timings that the toy job wrote."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timings.json"
        subprocess.run([str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks),
                        sys.executable, str(TOY), "--timings", str(path), *arguments],
                       check=True, stdout=subprocess.DEVNULL)
        return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    ranks = parser.parse_args().ranks
    for workers in (64, 1024, 10000):
        print(f"state machine, {workers:5d} workers: {state_machine_us(workers):6.1f} us an event")
    got = run_toy(ranks, "--units", "4000", "--edge", "2")
    busy = sum(rank["busy_s"] for rank in got["ranks"])
    loss = (ranks * got["elapsed_s"] - busy) / 4000 * 1e6
    print(f"empty units on {ranks} ranks: {got['elapsed_s'] / 4000 * 1e6:.0f} us a unit wall time, "
          f"{loss:.0f} us of one rank not spent in the unit")
    got = run_toy(ranks, "--units", "200", "--sleep", "0.03", "--edge", "2")
    busy = sum(rank["busy_s"] for rank in got["ranks"])
    wait = sum(rank["wait_s"] for rank in got["ranks"])
    wall = ranks * got["elapsed_s"]
    print(f"units of 30-150 ms on {ranks} ranks: {wall / ranks:.2f} s, computing "
          f"{busy / wall:.2%}, waiting for units {wait / wall:.2%}, rest (start, end) "
          f"{(wall - busy - wait) / wall:.2%}")


if __name__ == "__main__":
    main()
