"""Strong scaling on this machine: the same align job on 1 and 2 ranks, in turn.

    python benchmarks/scaling/measure_ranks.py [--rounds 3] [--ranks 1 2] [--particles 60]
        [--search local|global|grid] [--iterations 5]

Simulates a data set once, runs the job in turn on each number of ranks, and prints wall
time, CPU time, waiting and the ratio pair by pair. Virtual machines may give two busy
processors less than twice the time of one, and processors share caches and memory: beside
every pair as many copies of the job on one rank run at once, which have nothing to say to
each other, and the best ratio that the machine allowed is printed with what was reached.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MPIRUN = Path(sys.executable).parent / "mpirun"


def sta_mpi(ranks: int, *arguments: str) -> float:
    """Run a command; returns its wall time [s]."""
    program = [sys.executable, "-m", "sta_mpi", *arguments, "--quiet"]
    started = time.perf_counter()
    subprocess.run([str(MPIRUN), "-n", str(ranks), *program] if ranks > 1 else program,
                   check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def children_cpu_s() -> float:
    """CPU time of all child processes that have ended [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(ranks: int, data: Path, folder: Path, search: str, iterations: int, copy: int = 0
        ) -> dict[str, float]:
    """One job from nothing; wall time and what it says of itself."""
    output = folder / f"align_{ranks}_{copy}"
    shutil.rmtree(output, ignore_errors=True)
    cpu_s = children_cpu_s()
    wall_s = sta_mpi(
        ranks, "align", "--optimisation-set", str(data / "optimisation_set.star"),
        "--reference", str(data / "truth_box.mrc"), "--box-px", "48", "--lowpass-A", "16",
        "--angle-range-deg", "9", "--angle-step-deg", "3", "--shift-range-A", "12",
        "--shift-step-A", "4", "--search", search, "--iterations", str(iterations), "-o",
        str(output))
    results = json.loads((output / "job.json").read_text())["results"]
    return {"wall_s": wall_s, "cpu_s": children_cpu_s() - cpu_s, "wait_s": results["wait_s"]}


def copies_at_once(n: int, ranks: int, *job: Any) -> float:
    """Wall time until n copies of a job have ended [s]."""
    started = time.perf_counter()
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(lambda copy: run(ranks, *job, copy), range(n)))
    return time.perf_counter() - started


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs=2, default=[1, 2])
    parser.add_argument("--particles", type=int, default=60)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--search", choices=["local", "global", "grid"], default="local")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        sta_mpi(2, "simulate", "--n-series", "4", "--n-particles", str(options.particles),
                "--perturb-angle-deg", "6", "--truth-box-px", "48", "-o", str(data))
        (data / "truth.mrc").rename(data / "truth_box.mrc")
        few, many = options.ranks
        pairs, limits = [], []
        job = data, folder, options.search, options.iterations
        for i in range(options.rounds):
            pair = [run(n, *job) for n in options.ranks]
            pairs.append(pair)
            limits.append(copies_at_once(many // few, few, *job) / pair[0]["wall_s"] * few / many)
            for n, row in zip(options.ranks, pair, strict=True):
                print(f"round {i + 1}  {n} ranks  wall {row['wall_s']:7.2f} s  CPU "
                      f"{row['cpu_s']:7.2f} s  waiting {row['wait_s']:6.2f} s", flush=True)
        show(f"wall time on {many} ranks / on {few}",
             [b["wall_s"] / a["wall_s"] for a, b in pairs])
        show("best wall ratio this machine allowed", limits)
        show("the first over the second", [
            b["wall_s"] / a["wall_s"] / limit for (a, b), limit in zip(pairs, limits, strict=True)])
        show(f"CPU time on {many} ranks / on {few}", [b["cpu_s"] / a["cpu_s"] for a, b in pairs])
        show("waiting, share of all ranks' time",
             [b["wait_s"] / (many * b["wall_s"]) for _, b in pairs])


def show(name: str, values: list[float]) -> None:
    """Print median and range."""
    print(f"{name}: median {statistics.median(values):.4f} (from {min(values):.4f} to "
          f"{max(values):.4f})")


if __name__ == "__main__":
    main()
