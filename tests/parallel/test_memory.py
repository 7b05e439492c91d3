"""Memory: predictions add up, limits of the batch system are seen, remedies are named."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sta_mpi.errors import ResourceError
from sta_mpi.parallel import MemoryPlan
from sta_mpi.parallel.memory import (
    GiB,
    available_GiB,
    check_memory,
    peak_memory_GiB,
    process_bytes,
)

PLAN = MemoryPlan({"volume": 2 * GiB, "patches": 1 * GiB}, {"reference": 4 * GiB})


def test_prediction_of_a_node_counts_shared_arrays_once():
    assert PLAN.node_peak_GiB(8, 0.5 * GiB) == pytest.approx(8 * 3.5 + 4)
    assert PLAN.rank_peak_GiB(0.5 * GiB) == pytest.approx(7.5)


def test_plans_add_up_by_name():
    both = PLAN.plus(MemoryPlan({"volume": GiB}, {"series": GiB}))
    assert both.rank_bytes == {"volume": 3 * GiB, "patches": GiB}
    assert both.table()[0] == ("reference", "node", 4.0)


def test_plan_that_does_not_fit_names_the_ranks_that_would():
    with pytest.raises(ResourceError, match=r"needs 32\.0 GiB on node7 .* has 20\.0 GiB\. "
                                            r"Use at most 4 ranks a node"):
        check_memory(PLAN, 8, "node7", now_bytes=0.5 * GiB, free_GiB=16.0)


def test_limit_of_the_user_counts_where_it_is_smaller():
    with pytest.raises(ResourceError, match="--max-memory-GiB"):
        check_memory(PLAN, 1, "a", 5.0, now_bytes=0.0, free_GiB=100.0)
    assert check_memory(PLAN, 1, "a", 8.0, now_bytes=0.0, free_GiB=100.0) == pytest.approx(7.0)


def test_plan_too_large_for_one_rank_asks_for_less_data():
    with pytest.raises(ResourceError, match="smaller box"):
        check_memory(PLAN, 1, "a", now_bytes=0.0, free_GiB=5.0)


def test_limit_of_the_control_group_is_seen_and_its_cache_counts_as_free(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_7\n")
    group = tmp_path / "sys/fs/cgroup/slurm/job_7"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("12345\n")
    (group.parent / "memory.max").write_text(f"{GiB / 4:.0f}\n")
    (group.parent / "memory.current").write_text(f"{GiB / 8:.0f}\n")
    (group.parent / "memory.stat").write_text(f"anon 5\ninactive_file {GiB / 16:.0f}\n")
    assert available_GiB(tmp_path) == pytest.approx(1 / 8 + 1 / 16)


def test_limit_of_a_version_1_control_group_is_seen(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:cpu:/x\n4:memory:/job\n")
    group = tmp_path / "sys/fs/cgroup/memory/job"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(f"{GiB / 2:.0f}\n")
    (group / "memory.usage_in_bytes").write_text("0\n")
    assert available_GiB(tmp_path) == pytest.approx(0.5)


def test_predicted_peak_of_the_toy_job_is_within_20_percent_of_the_measured_one():
    root = Path(__file__).resolve().parents[2]
    toy = Path(__file__).with_name("toy_job.py")
    run = subprocess.run([sys.executable, str(toy), "--edge", "160", "--units", "4"],
                         capture_output=True, text=True, check=True, timeout=60,
                         env={**os.environ, "PYTHONPATH": str(root)})
    words = run.stdout.split()
    predicted, peak = (float(words[words.index(name) + 1]) for name in ("predicted", "peak"))
    assert predicted == pytest.approx(peak, rel=0.2)


def test_measured_peak_grows_with_what_is_touched():
    before = peak_memory_GiB()
    block = np.ones(int(0.05 * GiB) + int(before * GiB - process_bytes()), np.uint8)
    assert peak_memory_GiB() - before == pytest.approx(0.05, abs=0.02)
    del block


def test_peak_is_the_kernels_high_water_mark_of_this_program(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t 1572864 kB\n")
    assert peak_memory_GiB(status) == pytest.approx(1.5)
    assert 0.01 < peak_memory_GiB(tmp_path / "absent") < 100


def test_node_shared_arrays_do_not_count_as_held_by_the_process(tmp_path):
    """Pages of a file in shared memory: resident, but counted once a node."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("no writable /dev/shm here")
    before = process_bytes()
    with tempfile.TemporaryFile(dir=folder) as file:
        shared = np.memmap(file, np.float64, "w+", shape=(8 * 2**20,))
        shared[:] = 1.0
        assert process_bytes() - before < 32 * 2**20
        assert shared.sum() == 8 * 2**20
    assert process_bytes(tmp_path / "absent") > 0
