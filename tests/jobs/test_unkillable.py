"""Whatever kills a run, the same command goes on and ends in the same bits."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

pytestmark = pytest.mark.mpi

INTERVAL_S, SLEEP_S = 0.3, 0.1
OFTEN = ["--checkpoint-minutes", str(INTERVAL_S / 60)]


def checkpoints(folder):
    """Checkpoints of sums, oldest first."""
    return sorted(folder.glob("checkpoint/sums-*.h5"))


def results(folder):
    """Numbers of a finished job."""
    job = json.loads((folder / "job.json").read_text())
    assert job["status"] == "finished"
    return job["results"]


def finished_units(log, until=np.inf):
    """Units that were computed before a time."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return {int(unit) for moment, _, unit in lines if float(moment) < until}


def assert_little_was_lost(folder, log, ranks, newest):
    """The newest checkpoint holds all that was done before it, and came at most one interval
    and the units in hand before the kill.

    A unit takes at least SLEEP_S, so a rank does no more than INTERVAL_S / SLEEP_S of them in an
    interval, one that is in hand when the checkpoint is due, and one that ends meanwhile.
    """
    resumed = results(folder)["units_resumed"]
    assert resumed >= len(finished_units(log, newest))
    lost = len(finished_units(log)) - resumed
    assert lost <= ranks * (INTERVAL_S / SLEEP_S + 2)


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_run_with_a_killed_rank_goes_on_to_the_same_bits(
        command, bits, truth_bits, average_words, tmp_path, rank):
    out, log = tmp_path / "out", tmp_path / "log"
    words = [*average_words, *OFTEN, "-o", out]
    killed = command(2, *words, plant={"fail": "kill", "rank": rank, "checkpoints": 2, "units": 2,
                                       "sleep_s": SLEEP_S, "log": str(log)})
    assert killed.returncode != 0
    newest = checkpoints(out)[-1].stat().st_mtime
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    assert_little_was_lost(out, log, 2, newest)


def ranks_of(process):
    """Processes of a started command by rank."""
    psutil = pytest.importorskip("psutil", reason="psutil finds the ranks to kill")
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            rank = child.environ().get("PMI_RANK") or child.environ().get("OMPI_COMM_WORLD_RANK")
            if rank is not None:
                found[int(rank)] = child
    return found


def kill(process, victim):
    """SIGKILL to a rank, or to mpirun; the run must still be at work."""
    if victim == "mpirun":
        process.kill()
    else:
        ranks_of(process)[victim].kill()
    assert process.wait(timeout=120) != 0


def test_run_with_a_killed_mpirun_goes_on_to_the_same_bits(
        command, started, wait_for, bits, truth_bits, average_words, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    words = [*average_words, *OFTEN, "-o", out]
    process, _ = started(2, *words, plant={"sleep_s": SLEEP_S, "log": str(log)})
    wait_for(lambda: len(checkpoints(out)) >= 2)
    kill(process, "mpirun")
    # at once: what is left of the killed run must not be in the way
    run = command(3, *words)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    assert 0 < results(out)["units_resumed"] < 24


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1, "mpirun"])
@pytest.mark.parametrize("moment", range(5))
def test_align_killed_at_a_random_moment_ends_in_the_same_bits(
        command, started, wait_for, bits, truth_bits, align_words, tmp_path, victim, moment):
    words = [*align_words, *OFTEN, "-o", tmp_path / "out"]
    process, _ = started(2, *words, plant={"sleep_s": 2 * SLEEP_S, "log": str(tmp_path / "log")})
    wait_for((tmp_path / "log").exists)
    # three stages of 12 units on 2 ranks: 3.6 s at least
    time.sleep(float(np.random.default_rng((moment, len(str(victim)))).uniform(0.0, 3.6)))
    kill(process, victim)
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "out") == truth_bits["align"]


@pytest.mark.slow
@pytest.mark.parametrize("place", [
    "align:write_maps", "align:write_poses", "align:write_optimisation_set",
    "launch:write_job_page", "launch:open_checkpoints"])
def test_align_killed_while_it_writes_its_outputs_ends_in_the_same_bits(
        command, bits, truth_bits, align_words, tmp_path, place):
    words = [*align_words, *OFTEN, "-o", tmp_path / "out"]
    killed = command(2, *words, plant={"kill_at": f"sta_mpi.jobs.{place}"})
    assert killed.returncode != 0
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(tmp_path / "out") == truth_bits["align"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1, "mpirun"])
@pytest.mark.parametrize("moment", range(5))
def test_kill_at_a_random_moment_loses_at_most_one_interval(
        command, started, wait_for, bits, truth_bits, average_words, tmp_path, victim, moment):
    out, log = tmp_path / "out", tmp_path / "log"
    words = [*average_words, *OFTEN, "-o", out]
    process, _ = started(2, *words, plant={"sleep_s": SLEEP_S, "log": str(log)})
    wait_for(log.exists)
    time.sleep(float(np.random.default_rng((moment, len(str(victim)))).uniform(0.0, 1.2)))
    kill(process, victim)
    time.sleep(2.0)    # ranks of a killed mpirun end within a second
    newest = max((path.stat().st_mtime for path in checkpoints(out)), default=0.0)
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    if newest:
        assert_little_was_lost(out, log, 2, newest)


@pytest.fixture(scope="module")
def stopped(command, average_words, tmp_path_factory):
    """Folder of a run that SIGTERM to one rank stopped with two checkpoints."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    run = command(2, *average_words, *OFTEN, "-o", folder, plant={
        "fail": "term", "rank": 1, "checkpoints": 2, "sleep_s": SLEEP_S})
    assert run.returncode == 75, run.stderr
    return folder


def test_stopped_run_says_so(stopped):
    job = json.loads((stopped / "job.json").read_text())
    assert job["status"] == "stopped"
    assert "Run the same command to go on" in job["message"]
    assert not (stopped / "half1.mrc").exists()


@pytest.mark.parametrize("damage", ["truncated", pytest.param("bit flipped",
                                                              marks=pytest.mark.slow)])
def test_checkpoint_before_a_damaged_one_is_used_with_a_warning(
        command, bits, truth_bits, average_words, stopped, tmp_path, damage):
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    before, newest = checkpoints(out)
    data = bytearray(newest.read_bytes())
    if damage == "truncated":
        del data[len(data) // 2:]
    else:
        data[len(data) // 3] ^= 1 << 4
    newest.write_bytes(data)
    n_before = finished_in(before)
    words = [word for word in average_words if word != "--quiet"]
    run = command(2, *words, *OFTEN, "-o", out)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    assert "warning: checkpoint not usable, trying the one before" in run.stderr
    assert newest.name in run.stderr
    assert results(out)["units_resumed"] == n_before > 0


def finished_in(checkpoint):
    """Number of units in a checkpoint."""
    import h5py

    with h5py.File(checkpoint, "r") as file:
        return len(file["finished"])


@pytest.mark.slow
def test_run_with_two_damaged_checkpoints_begins_anew(
        command, bits, truth_bits, average_words, stopped, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    for path in checkpoints(out):
        path.write_bytes(path.read_bytes()[:5000])
    run = command(2, *average_words, *OFTEN, "-o", out)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    assert results(out)["units_resumed"] == 0


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
                                    signal.SIGUSR1])
def test_signal_to_mpirun_stops_with_code_75_and_the_same_command_resumes(
        command, started, wait_for, bits, truth_bits, average_words, tmp_path, number):
    out = tmp_path / "out"
    words = [*average_words, "-o", out]
    process, printed = started(2, *words, plant={
        "sleep_s": SLEEP_S, "log": str(tmp_path / "log")})
    wait_for((tmp_path / "log").exists)
    process.send_signal(number)
    assert process.wait(timeout=120) == 75
    assert "Run the same command to go on" in printed.read_text()
    assert json.loads((out / "job.json").read_text())["status"] == "stopped"
    run = command(3, *words)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    assert 0 < results(out)["units_resumed"] < 24


def test_second_run_in_one_folder_is_refused_and_leaves_the_first_alone(
        command, started, wait_for, average_words, tmp_path):
    out = tmp_path / "out"
    words = [*average_words, "-o", out]
    process, _ = started(2, *words, plant={"sleep_s": 1.0, "log": str(tmp_path / "log")})
    wait_for((tmp_path / "log").exists)
    second = command(1, *words, plant={"lock_wait_s": 0.2})
    assert process.poll() is None
    assert second.returncode == 4
    assert f"another run is at work in {out} (process " in second.stderr
    assert json.loads((out / "job.json").read_text())["status"] == "running"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 75


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of some KiB."""
    mounted = []

    def mount(size_KiB):
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        run = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_KiB}k", "tmpfs",
                              str(path)], capture_output=True, text=True, check=False)
        if run.returncode:
            pytest.skip(f"no tmpfs can be mounted: {run.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def enlarge(path):
    subprocess.run(["mount", "-o", "remount,size=100m", str(path)], check=True)


def test_full_disk_ends_in_one_line_and_more_space_lets_it_go_on(
        command, bits, truth_bits, average_words, small_disk):
    disk = small_disk(12 * 1024)    # room for one checkpoint of 8.6 MB, not for two
    out = disk / "out"
    words = [*average_words, *OFTEN, "-o", out]
    run = command(2, *words, plant={"sleep_s": SLEEP_S})
    assert run.returncode == 4, run.stderr
    assert "No space left on device" in run.stderr
    assert "Traceback" not in run.stderr
    assert [path.name for path in checkpoints(out)] == ["sums-000001.h5"]
    assert not list(out.rglob(".*.tmp"))
    n_before = finished_in(checkpoints(out)[0])
    enlarge(disk)
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(out) == truth_bits["average"]
    assert results(out)["units_resumed"] == n_before > 0


def assert_maps_did_not_fit(run, folder, expected):
    """One line, code 4, and what is there is whole."""
    assert run.returncode == 4, run.stderr
    lines = [line for line in run.stderr.splitlines() if ".mrc: cannot be written" in line]
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("ResourceError: ")
    assert "Free some space" in lines[0]
    assert "Traceback" not in run.stderr
    assert not list(folder.glob(".*.tmp"))
    written = [path for path in folder.glob("*.mrc") if path.name in expected]
    assert all(path.read_bytes() == expected[path.name] for path in written)
    assert len(written) < 3


@pytest.mark.slow
def test_maps_that_do_not_fit_on_the_disk_end_in_one_line(
        command, bits, truth_bits, average_words, small_disk):
    disk = small_disk(360)    # a map has 132 kB: both halves fit, the merged map does not
    words = [*average_words, "-o", disk / "out"]
    run = command(2, *words)
    assert_maps_did_not_fit(run, disk / "out", truth_bits["average"])
    enlarge(disk)
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    assert bits(disk / "out") == truth_bits["average"]


def test_file_size_limit_is_a_full_disk_too(command, bits, average_words, tmp_path):
    # maps of 1 MB: the copy of the user's FFT plans, whatever it has grown to, must fit
    words = ["64" if word == "32" else word for word in average_words]
    whole = command(1, *words, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    # not under mpirun: MPI needs files in memory itself
    run = command(1, *words, "-o", tmp_path / "out", plant={"file_limit": 1_000_000})
    assert_maps_did_not_fit(run, tmp_path / "out", bits(tmp_path / "whole"))
    assert "File too large" in run.stderr


SIMULATED = ["simulate", "--n-series", "2", "--n-particles", "3", "--pixel-A", "8",
             "--image-width-px", "96", "--image-height-px", "80", "--thickness-A", "400",
             "--tilt-step-deg", "15", "--phantom-radius-A", "40", "--phantom-detail-A", "8",
             "--min-distance-A", "60", "--quiet"]


def simulated(folder):
    names = ("tilt_images/TS_01.mrcs", "tilt_images/TS_02.mrcs", "truth.h5", "particles.star")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.parametrize("plant", [
    pytest.param({"fail": "kill", "rank": 1, "checkpoints": 1, "units": 1, "sleep_s": SLEEP_S},
                 marks=pytest.mark.slow),
    # all stacks have their final names, and the newest checkpoint lacks the last tilts
    {"kill_at": "sta_mpi.jobs.simulate:write_project", "sleep_s": 0.5 * SLEEP_S},
], ids=["in a unit", "at the end"])
def test_killed_simulation_goes_on_to_the_same_images(command, tmp_path, plant):
    whole, out = tmp_path / "whole", tmp_path / "out"
    words = [*SIMULATED, *OFTEN, "-o", out]
    killed = command(2, *words, plant=plant)
    assert killed.returncode != 0
    assert not (out / "particles.star").exists()
    run = command(2, *words, "++", *SIMULATED, "-o", whole)
    assert run.returncode == 0, run.stderr
    assert simulated(out) == simulated(whole)
    assert 0 < results(out)["units_resumed"] <= 18
    assert os.listdir(out / "tilt_images") == os.listdir(whole / "tilt_images")
