"""Collective parts of the engine on 1 to 4 ranks: results against numpy, and their bits."""

import subprocess
import sys
from pathlib import Path

import pytest

CASES = str(Path(__file__).with_name("runtime_case.py"))
pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("case", ["fft", "sums"])
def test_slab_transforms_and_sums_have_the_same_bits_on_any_number_of_ranks(mpirun, case):
    outputs = set()
    for n in (1, 2, 3, 4):
        run = mpirun(n, CASES, case)
        assert run.returncode == 0, run.stderr
        outputs.add(run.stdout)
    assert len(outputs) == 1


@pytest.mark.parametrize(("case", "n"), [("arrays", 1), ("arrays", 3), ("stages", 1), ("stages", 3),
                                         ("slots", 1), ("slots", 3)])
def test_arrays_and_shared_slots_work_as_promised(mpirun, case, n):
    run = mpirun(n, CASES, case)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "ok\n"


def test_all_cases_run_without_mpirun():
    root = Path(__file__).resolve().parents[2]
    for case in ("fft", "slots"):
        run = subprocess.run([sys.executable, CASES, case], capture_output=True, text=True,
                             cwd=root, timeout=60, env={"PYTHONPATH": str(root)})
        assert run.returncode == 0, run.stderr
