"""An exception on any rank ends the run soon, and says where it was."""

import socket

import pytest

pytestmark = pytest.mark.mpi

END_S = 10
"""From the exception to the end of mpirun; on top comes the start of the program."""
START_S = 90


@pytest.mark.parametrize("rank", [0, 1])
def test_exception_in_a_unit_ends_mpirun_and_tells_rank_host_unit_and_traceback(
        command, average_words, tmp_path, rank):
    out = tmp_path / "out"
    run = command(2, *average_words, "-o", out, timeout=START_S + END_S, plant={
        "fail": "raise", "rank": rank, "units": 2, "sleep_s": 0.2})
    assert run.returncode == 5, run.stderr
    assert run.stderr.count("FAILED:") == 1
    assert f"FAILED: rank {rank} of 2 on {socket.gethostname()}, unit " in run.stderr
    assert "(TS_0" in run.stderr
    assert "of job average" in run.stderr
    assert "Traceback (most recent call last):" in run.stderr
    assert "RuntimeError: planted in a unit" in run.stderr
    assert not list(out.glob("*.mrc"))


@pytest.mark.slow
def test_failed_job_goes_on_from_where_it_was(command, bits, truth_bits, average_words, tmp_path):
    words = [*average_words, "--checkpoint-minutes", "0.005", "-o", tmp_path / "out"]
    failed = command(3, *words, timeout=START_S + END_S, plant={
        "fail": "raise", "rank": 2, "checkpoints": 1, "sleep_s": 0.1})
    assert failed.returncode == 5
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "out") == truth_bits["average"]
