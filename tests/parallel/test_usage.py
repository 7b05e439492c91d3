"""What a process used, and that freed memory goes back."""

import subprocess
import sys

import numpy as np

from sta_mpi.parallel.usage import Usage, process_usage


def test_usage_counts_work_and_written_bytes(tmp_path):
    before = process_usage()
    total = 0.0
    while process_usage().cpu_s - before.cpu_s < 0.05:
        total += np.random.default_rng(1).normal(size=10000).sum()
    used = process_usage() - before
    assert 0.05 <= used.cpu_s < 5.0
    assert (used + Usage(1.0, 2**30, 0)).record()["read_GiB"] >= 1.0


def test_unreadable_counters_are_zero(tmp_path):
    (tmp_path / "io").write_text("read_bytes: many\n")
    for path in (tmp_path / "io", tmp_path / "absent"):
        assert process_usage(path).read_bytes == 0


def test_freed_blocks_are_given_back_to_the_node():
    code = """if True:
        import numpy as np
        from sta_mpi.parallel.allocator import give_back_freed_memory
        from sta_mpi.parallel.memory import process_bytes
        # small blocks, every other one freed first: the heap keeps them
        blocks = [np.ones(60_000, np.uint8) for _ in range(4000)]
        last = blocks[-1]
        del blocks
        before = process_bytes()
        given = give_back_freed_memory()
        print(given, before - process_bytes())
    """
    given, freed = subprocess.run([sys.executable, "-c", code], check=True, timeout=60,
                                  capture_output=True, text=True).stdout.split()
    assert given == "True"
    assert int(freed) > 100e6
