"""Commands that a benchmark runs, and what they wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run(ranks: int, folder: Path, *words: object) -> None:
    """Run a command in a folder, on any number of ranks of one thread."""
    start = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    subprocess.run([*start, sys.executable, "-m", "sta_mpi", *map(str, words)], check=True,
                   cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"})


def record(folder: Path) -> dict:
    """job.json of a job."""
    return json.loads((folder / "job.json").read_text())


def particles_of(folder: Path) -> Path | None:
    """Particle file of a job; None where it wrote none."""
    names = ("run_data.star", "particles.star")
    return next((folder / name for name in names if (folder / name).exists()), None)
