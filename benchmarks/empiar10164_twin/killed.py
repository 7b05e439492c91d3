"""The chain of a twin again, killed once in every stage, and compared with the run left alone.

    OMP_NUM_THREADS=1 python benchmarks/empiar10164_twin/killed.py WORK [--ranks 1 2] [--go-on]

WORK is a folder in which twin.py has finished. The chain runs there a second time, and ends in
`chain_killed` (files name each other, so it runs as `chain` while the first one stands aside). In
every stage, after a third of the time that the stage took before, all processes
get SIGKILL; the same command then goes on, on the next of the numbers of ranks. At the end every
map, table of poses and particle file is compared byte by byte. With `--go-on` an interrupted
comparison goes on; stages that were killed are in `chain_killed.json`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

STAGE = re.compile(r"stage \d+ of \d+, (\w+):")
COMPARED = (".mrc", ".h5", ".star")
SHARE = 0.35
RECORD = "chain_killed.json"


def command(work: Path, ranks: int, max_memory_GiB: float, until: str | None) -> list[str]:
    """The chain of twin.py."""
    start = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    return [*start, sys.executable, "-m", "sta_mpi", "run", "chain.toml", "-o", "chain",
            "--max-memory-GiB", str(max_memory_GiB), "--scratch-dir", str(work),
            *(["--until", until] if until else [])]


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL to a process and all its children: nothing can be tidied up."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)


def run_until_killed(words: list[str], work: Path, took_s: dict[str, float],
                     killed: dict[str, float]) -> int | None:
    """Run; kill in the first stage that was not killed yet. Exit code, or None when killed."""
    process = subprocess.Popen(words, cwd=work, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    timers: list[threading.Timer] = []
    assert process.stdout is not None
    log = work / "chain_killed.log"
    for line in process.stdout:
        with log.open("a") as file:
            file.write(line)
        found = STAGE.match(line)
        if found is None:
            continue
        for timer in timers:
            timer.cancel()
        name = found.group(1)
        if name in killed or name not in took_s:
            continue
        wait_s = SHARE * took_s[name]

        def kill(name: str = name, wait_s: float = wait_s) -> None:
            killed[name] = wait_s
            kill_all(process)
            (work / RECORD).write_text(json.dumps(killed))

        timers.append(threading.Timer(wait_s, kill))
        timers[-1].start()
    code = process.wait()
    for timer in timers:
        timer.cancel()
    return None if code < 0 or code == 128 + signal.SIGKILL else code


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the results of a chain."""
    files = sorted(f for f in folder.glob("*/*") if f.suffix in COMPARED and f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def main() -> None:
    """Run, kill, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--until", help="last stage")
    parser.add_argument("--max-memory-GiB", type=float, default=16.0)
    parser.add_argument("--go-on", action="store_true", help="after an interruption")
    args = parser.parse_args()
    work = args.work.resolve()
    took_s = {file.parent.name: json.loads(file.read_text())["elapsed_s"]
              for file in (work / "chain").glob("*/job.json")}
    killed = {}
    if args.go_on:
        killed = json.loads((work / RECORD).read_text())
    else:
        shutil.rmtree(work / "chain_killed", ignore_errors=True)
    (work / "chain").rename(work / "chain_left")
    if args.go_on:
        (work / "chain_killed").rename(work / "chain")
    try:
        report(work, args, took_s, killed)
    finally:
        if (work / "chain").exists():
            (work / "chain").rename(work / "chain_killed")
        (work / "chain_left").rename(work / "chain")


def report(work: Path, args: argparse.Namespace, took_s: dict[str, float],
           killed: dict[str, float]) -> None:
    """Run to the end through all kills, compare, print."""
    started, code = time.monotonic(), None
    while code is None:
        before = len(killed)
        ranks = args.ranks[before % len(args.ranks)]
        words = command(work, ranks, args.max_memory_GiB, args.until)
        code = run_until_killed(words, work, took_s, killed)
        if code is None and len(killed) == before:
            raise SystemExit("the chain died without being killed; see chain_killed.log")
        if code is None:
            name, wait_s = list(killed.items())[-1]
            print(f"killed in {name} after {wait_s:.1f} s on {ranks} ranks", flush=True)
    if code:
        raise SystemExit(f"exit code {code}; see chain_killed.log")
    left, right = digests(work / "chain_left"), digests(work / "chain")
    done = {name.split("/")[0] for name in right}
    left = {name: digest for name, digest in left.items() if name.split("/")[0] in done}
    differing = sorted(n for n in {*left, *right} if left.get(n) != right.get(n))
    print(f"{len(killed)} of {len(took_s)} stages killed; ranks in turn {args.ranks}, "
          f"{(time.monotonic() - started) / 60:.1f} min; {len(left) - len(differing)} of "
          f"{len(left)} files the same bytes")
    print("\n".join(differing))


if __name__ == "__main__":
    main()
