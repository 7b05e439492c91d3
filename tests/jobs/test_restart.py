"""`--restart`: what an earlier job left goes, what is not a job's stays."""

import json

import pytest

from sta_mpi.jobs.folder import open_folder
from sta_mpi.jobs.folder_lock import FolderLock
from sta_mpi.jobs.parameters.fsc import FscParameters

LEFT = ("half1.mrc", "round03_fsc.star", "checkpoint/sums-000001.h5")


@pytest.fixture
def folder(tmp_path):
    """A finished job's folder with a file of the user's in it."""
    path = tmp_path / "job"
    (path / "checkpoint").mkdir(parents=True)
    for name in (*LEFT, "notes.txt", "round_table.txt"):
        (path / name).write_text(name)
    outside = tmp_path / "outside.mrc"
    outside.write_text("not of this job")
    (path / "job.json").write_text(json.dumps({
        "command": "fsc", "status": "finished",
        "outputs": {"half1": "half1.mrc", "merged": str(outside), "gone": "gone.mrc"}}))
    return path


def reopen(path, half1):
    parameters = FscParameters(half1=half1, half2=half1, output=path, restart=True)
    lock = FolderLock(path)
    try:
        return open_folder("fsc", parameters, [half1], lock)
    finally:
        lock.release()


def test_restart_removes_what_the_earlier_job_left_and_nothing_else(folder, tmp_path):
    half = tmp_path / "half.mrc"
    half.write_text("a map")
    assert reopen(folder, half).state == "new"
    assert [name for name in LEFT if (folder / name).exists()] == []
    assert (folder / "notes.txt").exists()
    assert (folder / "round_table.txt").exists()
    assert (tmp_path / "outside.mrc").exists()


def test_restart_keeps_an_output_that_is_the_input_of_the_new_job(folder):
    reopen(folder, folder / "half1.mrc")
    assert (folder / "half1.mrc").exists()
