"""Fixtures shared by all tests: the real data set and the mpirun launcher."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets, or skip with what is missing."""
    path = Path(os.environ.get("STA_MPI_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data set not found at {path}: set STA_MPI_TEST_DATA")
    return path


def find_mpirun() -> str | None:
    """The mpirun beside this Python, or the one on the path."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


@pytest.fixture(scope="session")
def mpirun():
    """A function that runs Python arguments on n ranks with a time limit (s)."""
    program = find_mpirun()
    if program is None:
        pytest.skip("mpirun not found: pip install 'sta_mpi[mpich]'")

    def run(n: int, *args: str, timeout: float = 150, env: dict | None = None, cwd=None):
        full_env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})}
        return subprocess.run(
            [program, "-n", str(n), sys.executable, *args],
            capture_output=True, text=True, timeout=timeout, env=full_env, cwd=cwd or ROOT)

    return run
