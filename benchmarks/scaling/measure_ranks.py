"""Strong scaling on this machine: the same align job on 1 and 2 ranks, in turn.

    python benchmarks/scaling/measure_ranks.py [--rounds 3] [--ranks 1 2] [--particles 60]

Simulates a data set once, runs the job in turn on each number of ranks, and prints wall
time, core time, waiting and the ratio pair by pair. The units' times are written to
unit_times.json for the model of the scheduler.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MPIRUN = Path(sys.executable).parent / "mpirun"


def sta_mpi(ranks: int, *arguments: str) -> float:
    """Run a command; returns its wall time [s]."""
    program = [sys.executable, "-m", "sta_mpi", *arguments, "--quiet"]
    started = time.perf_counter()
    subprocess.run([str(MPIRUN), "-n", str(ranks), *program] if ranks > 1 else program,
                   check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def run(ranks: int, data: Path, folder: Path) -> dict[str, float]:
    """One job from nothing; wall time and what it says of itself."""
    output = folder / f"align_{ranks}"
    shutil.rmtree(output, ignore_errors=True)
    wall_s = sta_mpi(
        ranks, "align", "--optimisation-set", str(data / "optimisation_set.star"),
        "--reference", str(data / "truth_box.mrc"), "--box-px", "48", "--lowpass-A", "16",
        "--angle-range-deg", "9", "--angle-step-deg", "3", "--shift-range-A", "12",
        "--shift-step-A", "4", "-o", str(output))
    results = json.loads((output / "job.json").read_text())["results"]
    return {"wall_s": wall_s, **{k: results[k] for k in ("busy_s", "wait_s", "units")}}


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs=2, default=[1, 2])
    parser.add_argument("--particles", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        sta_mpi(2, "simulate", "--n-series", "4", "--n-particles", str(options.particles),
                "--perturb-angle-deg", "6", "--truth-box-px", "48", "-o", str(data))
        (data / "truth.mrc").rename(data / "truth_box.mrc")
        pairs = []
        for i in range(options.rounds):
            pair = [run(n, data, folder) for n in options.ranks]
            pairs.append(pair)
            for n, row in zip(options.ranks, pair, strict=True):
                print(f"round {i + 1}  {n} ranks  wall {row['wall_s']:7.2f} s  busy "
                      f"{row['busy_s']:7.2f} s  waiting {row['wait_s']:6.2f} s", flush=True)
        ratios = [b["wall_s"] / a["wall_s"] for a, b in pairs]
        print(f"wall time on {options.ranks[1]} ranks / on {options.ranks[0]}: median "
              f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
