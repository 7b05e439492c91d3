"""Compiled kernels are kept on disk, in a folder that follows the sources."""

import os
import subprocess
import sys
from pathlib import Path

from sta_mpi.kernels.cache import cache_folder, source_digest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import numpy as np
from sta_mpi.kernels.insert import cpu, insert_slices
sums = np.zeros((8, 8, 5, 4), np.float32)
data = np.ones((1, 8, 5), np.complex64)
insert_slices(sums, data, np.ones((1, 8, 5), np.float32), np.eye(3)[None, :2], 3)
print(sum(cpu.insert.stats.cache_hits.values()), sum(cpu.insert.stats.cache_misses.values()))
"""


def test_second_start_of_a_process_compiles_nothing(tmp_path):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env.pop("NUMBA_CACHE_DIR", None)
    found = [subprocess.run([sys.executable, "-c", PROGRAM], env=env, text=True, check=True,
                            capture_output=True, timeout=120).stdout.split() for _ in range(2)]
    assert found == [["0", "1"], ["1", "0"]]
    folders = list((tmp_path / "sta_mpi").iterdir())
    assert [f.name.split("-")[-1] for f in folders] == [source_digest()]


def test_unwritable_home_falls_back_to_a_private_folder(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    folder = cache_folder()
    assert folder.is_relative_to(tmp_path / "temporary")
    assert folder.stat().st_mode & 0o077 == 0
