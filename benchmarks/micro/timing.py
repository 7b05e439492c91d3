"""Shared by the micro benchmarks: interleaved rounds of process CPU time, machine and commit."""

import argparse
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from llvmlite.binding import get_host_cpu_name


def machine() -> str:
    """CPU model and kind (znver3 has no AVX-512, znver4 has), number of CPUs and Python."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x.split(":")[1].strip() for x in cpuinfo.read_text().splitlines()
                 if x.startswith("model name")]
        model = f"{names[0]} ({get_host_cpu_name()}) x{len(names)}" if names else model
    return f"{model}, Python {platform.python_version()}"


def commit() -> str:
    """Short hash of the checkout, with + when files differ from it; 'unknown' outside git."""
    here = Path(__file__).parent
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=here, check=True,
                              capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def median_seconds(calls: list[Callable[[], object]], rounds: int,
                   least_seconds: float = 0.02) -> list[float]:
    """Median CPU seconds of each call; rounds are interleaved so that load hits all alike.

    In a round a call is repeated for about `least_seconds`, as a job repeats it particle
    after particle: what fits the caches stays there.
    """
    repeats = []
    for call in calls:
        call()  # compiles, plans and warms
        start = time.process_time()
        call()
        repeats.append(max(1, int(least_seconds / max(time.process_time() - start, 1e-6))))
    times = np.empty((rounds, len(calls)))
    for i in range(rounds):
        for j, call in enumerate(calls):
            start = time.process_time()
            for _ in range(repeats[j]):
                call()
            times[i, j] = (time.process_time() - start) / repeats[j]
    return [float(t) for t in np.median(times, axis=0)]


def rounds_argument(description: str) -> int:
    """Number of rounds from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=15)
    return int(parser.parse_args().rounds)


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """A Markdown table under the date, machine and commit."""
    print(f"{title}: {time.strftime('%Y-%m-%d')}, {machine()}, commit {commit()}, one thread\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
