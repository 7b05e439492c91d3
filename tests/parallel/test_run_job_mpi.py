"""The toy job under mpirun: the same bits whatever happens on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

TOY = str(Path(__file__).with_name("toy_job.py"))
pytestmark = pytest.mark.mpi


def toy(mpirun, n, *args, **kwargs):
    return mpirun(n, TOY, *map(str, args), **kwargs)


def bits(path):
    with np.load(path) as arrays:
        return {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}


@pytest.fixture(scope="session")
def truth(tmp_path_factory):
    """Result of one process without mpirun, by number of units."""
    folder = tmp_path_factory.mktemp("truth")

    def make(units):
        path = folder / f"{units}.npz"
        if not path.exists():
            subprocess.run([sys.executable, TOY, "--units", str(units), "--out", str(path)],
                           check=True, env=environment(), timeout=60)
        return bits(path)

    return make


def mpirun_program():
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


def environment():
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def started(mpirun, tmp_path):
    """A function that starts the toy job under mpirun and returns the process."""
    program = mpirun_program()
    processes = []

    def start(n, *args):
        log = open(tmp_path / "log.txt", "w")  # noqa: SIM115 (belongs to the process)
        process = subprocess.Popen([program, "-n", str(n), sys.executable, TOY,
                                    *map(str, args)], env=environment(), stdout=log, stderr=log)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(condition, limit_s=120.0):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < limit_s, "nothing happened in time"
        time.sleep(0.02)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_sums_and_rows_have_the_same_bits_on_any_number_of_ranks(mpirun, truth, tmp_path, n):
    run = toy(mpirun, n, "--out", tmp_path / "a.npz")
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "a.npz") == truth(20)


@pytest.mark.parametrize("storage", ["rank", "node"])
def test_bits_do_not_depend_on_the_number_of_nodes(mpirun, truth, tmp_path, storage):
    # MPICH then treats the ranks as if they were on two hosts
    run = toy(mpirun, 4, "--out", tmp_path / "a.npz", "--storage", storage,
              env={"MPIR_CVAR_NUM_CLIQUES": "2"})
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "a.npz") == truth(20)


@pytest.mark.parametrize("arguments", [
    ["--shuffle", "7"], ["--storage", "node"], ["--dedicated"],
    ["--dedicated", "--storage", "node", "--shuffle", "3"]])
def test_bits_do_not_depend_on_order_storage_or_master(mpirun, truth, tmp_path, arguments):
    run = toy(mpirun, 3, "--out", tmp_path / "a.npz", *arguments)
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "a.npz") == truth(20)


def test_dedicated_master_computes_nothing(mpirun):
    run = toy(mpirun, 3, "--dedicated", "--sleep", 0.01)
    assert "units [0, " in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("victim", [0, 1])
def test_run_goes_on_after_a_killed_rank_and_ends_in_the_same_bits(mpirun, truth, tmp_path,
                                                                   victim):
    store = ["--units", 40, "--checkpoints", tmp_path / "ck", "--interval", 0.1]
    killed = toy(mpirun, 3, *store, "--sleep", 0.02, "--fail-in", "sigkill",
                 "--fail-rank", victim, "--fail-after", 5)
    assert killed.returncode != 0
    assert list((tmp_path / "ck").glob("sums-*.h5"))
    run = toy(mpirun, 2, *store, "--out", tmp_path / "a.npz")
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "a.npz") == truth(40)


def test_run_goes_on_after_a_killed_mpirun(mpirun, truth, tmp_path, started):
    store = ["--units", 60, "--checkpoints", tmp_path / "ck", "--interval", 0.1]
    process = started(3, *store, "--sleep", 0.05)
    wait_for(lambda: list((tmp_path / "ck").glob("sums-*.h5")))
    process.kill()
    process.wait()
    run = toy(mpirun, 4, *store, "--out", tmp_path / "a.npz")
    assert run.returncode == 0, run.stderr
    assert "resumed 0 " not in run.stdout
    assert bits(tmp_path / "a.npz") == truth(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_to_mpirun_leaves_a_checkpoint_and_code_75(mpirun, truth, tmp_path, started,
                                                          number):
    store = ["--units", 60, "--checkpoints", tmp_path / "ck"]
    process = started(2, *store, "--interval", 0.2, "--sleep", 0.05)
    wait_for(lambda: list((tmp_path / "ck").glob("sums-*.h5")))
    process.send_signal(number)
    assert process.wait(timeout=60) == 75
    assert "Run the same command to go on" in (tmp_path / "log.txt").read_text()
    run = toy(mpirun, 3, *store, "--out", tmp_path / "a.npz")
    assert "resumed 0 " not in run.stdout
    assert bits(tmp_path / "a.npz") == truth(60)


@pytest.mark.parametrize("rank", [0, 2])
def test_signal_to_one_rank_stops_all_with_code_75(mpirun, tmp_path, rank):
    run = toy(mpirun, 3, "--units", 40, "--sleep", 0.01, "--checkpoints", tmp_path / "ck",
              "--interval", 1000, "--fail-in", "sigterm", "--fail-rank", rank,
              "--fail-after", 3)
    assert run.returncode == 75, run.stderr
    assert list((tmp_path / "ck").glob("sums-*.h5"))
    assert run.stderr.count("Stopped:") == 1


def test_full_disk_ends_with_one_line_and_the_old_checkpoint(mpirun, truth, tmp_path):
    store = ["--units", 40, "--sleep", 0.01, "--checkpoints", tmp_path / "ck"]
    toy(mpirun, 2, *store, "--interval", 1000, "--fail-in", "sigterm", "--fail-rank", 1,
        "--fail-after", 5)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ck").glob("sums-*")}
    run = toy(mpirun, 2, *store, "--interval", 0.05, "--file-limit", 20000)
    assert run.returncode == 4
    assert "File too large" in run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    after = {path.name: path.read_bytes() for path in (tmp_path / "ck").glob("*sums-*")}
    assert after == before
    run = toy(mpirun, 2, *store, "--out", tmp_path / "a.npz")
    assert bits(tmp_path / "a.npz") == truth(40)


@pytest.mark.parametrize(("where", "rank", "doing"), [
    ("prepare", 2, "preparation of job toy"), ("work", 0, "unit "), ("work", 2, "unit "),
    ("finish", 1, "finish of job toy")])
def test_exception_on_one_rank_ends_the_run_with_one_block(mpirun, where, rank, doing):
    run = toy(mpirun, 3, "--units", 60, "--fail-in", where, "--fail-rank", rank, timeout=45)
    assert run.returncode == 5
    assert run.stderr.count("FAILED:") == 1
    assert f"FAILED: rank {rank} of 3 on " in run.stderr
    assert doing in run.stderr
    assert f"RuntimeError: planted in {where}" in run.stderr


def test_exception_on_all_ranks_is_told_once(mpirun):
    run = toy(mpirun, 3, "--fail-in", "everywhere", timeout=45)
    assert run.returncode == 5
    assert run.stderr.count("FAILED:") == 1


def test_bad_input_met_by_one_rank_ends_the_run_with_its_code(mpirun):
    run = toy(mpirun, 3, "--fail-in", "input", "--fail-rank", 1, timeout=45)
    assert run.returncode == 3
    assert "planted bad input met by all ranks (rank 1 of 3 on " in run.stderr


def test_unit_that_hangs_ends_the_run_when_the_limit_is_over(mpirun):
    run = toy(mpirun, 2, "--fail-in", "hang", "--fail-rank", 1, timeout=60,
              env={"STA_MPI_WAIT_TIMEOUT_S": "2"})
    assert run.returncode == 5
    assert "no unit was finished for 2 s (rank 1: unit" in run.stderr


def test_rank_that_never_comes_to_a_collective_ends_the_run(mpirun, tmp_path):
    script = tmp_path / "case.py"
    script.write_text(
        "import sys, time\n"
        "from sta_mpi.parallel import run_main, start_runtime\n"
        "runtime = start_runtime()\n"
        "run = lambda: time.sleep(100) if runtime.rank else runtime.allgather(1) and None\n"
        "sys.exit(run_main(runtime, run))\n")
    run = mpirun(2, str(script), timeout=60, env={"STA_MPI_WAIT_TIMEOUT_S": "2"})
    assert run.returncode == 5
    assert "allgather did not end within 2 s" in run.stderr


def test_bad_input_met_by_all_ranks_is_told_once_with_its_code(mpirun):
    run = toy(mpirun, 3, "--fail-in", "input")
    assert run.returncode == 3
    assert run.stderr == "InputError: planted bad input met by all ranks\n"


def test_units_with_bad_data_are_set_aside_the_same_way_on_any_number_of_ranks(mpirun, tmp_path):
    results = []
    for n in (1, 3):
        run = toy(mpirun, n, "--bad", 3, "--out", tmp_path / f"{n}.npz")
        assert "bad [3]" in run.stdout, run.stderr
        results.append(bits(tmp_path / f"{n}.npz"))
    assert results[0] == results[1]
    run = toy(mpirun, 3, "--bad", 3, 5)
    assert run.returncode == 5
    assert "2 of 20 units of job toy have bad data" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank 0", "rank 1", "mpirun"])
@pytest.mark.parametrize("moment", range(5))
def test_kill_at_a_random_moment_loses_at_most_what_came_after_the_last_checkpoint(
        mpirun, truth, tmp_path, started, victim, moment):
    import psutil

    store = ["--units", 120, "--checkpoints", tmp_path / "ck", "--interval", 0.3]
    process = started(3, *store, "--sleep", 0.02)
    rng = np.random.default_rng((moment, len(victim)))
    time.sleep(float(rng.uniform(0.3, 4.0)))
    if victim == "mpirun":
        process.kill()
    else:
        ranks = [child for child in psutil.Process(process.pid).children(recursive=True)
                 if TOY in " ".join(child.cmdline())
                 and child.environ().get("PMI_RANK") == victim[-1]]
        for child in ranks:
            child.kill()
    process.wait(timeout=60)
    run = toy(mpirun, 2, *store, "--out", tmp_path / "a.npz")
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "a.npz") == truth(120)
