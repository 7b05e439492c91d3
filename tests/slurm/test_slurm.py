"""The sbatch templates on a real Slurm of two virtual nodes: start, signal, requeue, the same bits.

Skipped where Slurm is not installed or the tests do not run as root; slurm/README.md has the
command that installs and runs them.
"""

import time
from pathlib import Path

import psutil
import pytest
from run_slurm_cluster import run_signalled, run_to_wall_time, run_uninterrupted
from slurm_job import LONG_STEP_DEG, SHORT_STEP_DEG, SMALL, TEMPLATES, differing

pytestmark = [pytest.mark.slow, pytest.mark.mpi, pytest.mark.timeout(900)]

CPU = str(TEMPLATES / "cpu.sbatch")
HALF_SETS = str(TEMPLATES / "half_sets.sbatch")
GPU = str(TEMPLATES / "gpu.sbatch")


@pytest.fixture(scope="module")
def plain(cluster, space) -> Path:
    """Output of the short job run in one turn, by two ranks of one node."""
    run_uninterrupted(cluster, space, "plain", SHORT_STEP_DEG)
    return space.folder / "plain"


@pytest.fixture
def stand_in(space):
    """A function that makes a `sta-mpi` of a few lines of sh; returns the job's environment."""
    def make(name: str, *lines: str) -> dict[str, str]:
        folder = space.folder / name
        folder.mkdir()
        program = folder / "sta-mpi"
        program.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
        program.chmod(0o755)
        environment = space.environment
        return {**environment, "PATH": f"{folder}:{environment['PATH']}"}

    return make


def ranks_of(output: str) -> list[psutil.Process]:
    """The processes of a running job that write to this output folder, one a rank."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "sta_mpi" in words and words[-1] == output and "PMI_RANK" in process.environ():
                found.append(process)
        except psutil.Error:  # ended meanwhile
            continue
    return found


@pytest.mark.parametrize(("template", "sizes"), [
    (CPU, ()), (HALF_SETS, ("--nodes=2",)), (GPU, ())], ids=["cpu", "half_sets", "gpu"])
def test_template_is_accepted_by_slurm_at_its_own_size(cluster, template, sizes):
    answer = cluster.call("sbatch", "--test-only", *sizes, template, "align", "job.toml")
    assert "to start at" in answer, answer


def test_job_signalled_by_scancel_is_requeued_and_gives_the_same_bits(cluster, space, plain):
    fields = run_signalled(cluster, space, "signalled")
    assert fields["Restarts"] == "1"
    assert differing(plain, space.folder / "signalled") == []
    record = space.record("signalled")
    assert (record["status"], record["ranks"], record["nodes"]) == ("finished", 4, 2)


def test_signal_that_reaches_the_batch_script_too_does_not_end_it(cluster, space, plain):
    fields = run_signalled(cluster, space, "full_signal", how=("--signal=USR1", "--full"))
    assert fields["Restarts"] == "1"
    assert differing(plain, space.folder / "full_signal") == []


def test_job_longer_than_its_wall_time_finishes_with_the_bits_of_one_turn(cluster, space):
    run_uninterrupted(cluster, space, "one_turn", LONG_STEP_DEG)
    fields = run_to_wall_time(cluster, space, "turns")
    assert int(fields["Restarts"]) >= 1
    assert differing(space.folder / "one_turn", space.folder / "turns") == []


def test_half_sets_template_requeues_its_alignment_and_adds_the_fsc(cluster, space, plain):
    command = space.align("halves", SHORT_STEP_DEG)[:-2]  # the template adds -o
    job = cluster.submit("--ntasks-per-node=2", "--nodes=2", HALF_SETS, "halves", *command,
                         env={**space.environment, "STA_MPI_MASK": "project/truth_mask.mrc"},
                         cwd=space.folder)
    space.wait_until_working("halves")
    cluster.call("scancel", "--signal=USR1", job)
    cluster.wait_for(job, {"PENDING"}, 60)
    cluster.wait_for(job, {"COMPLETED"}, 300)
    assert differing(plain, space.folder / "halves") == []
    assert space.record("halves_fsc")["status"] == "finished"


def test_killed_rank_ends_the_job_within_a_minute_and_without_requeue(cluster, space):
    job = cluster.submit(*SMALL, CPU, *space.align("killed"), env=space.environment,
                         cwd=space.folder)
    space.wait_until_working("killed", share=0.05)
    ranks = ranks_of("killed")
    assert len(ranks) == 4
    ranks[1].kill()
    began_s = time.monotonic()
    fields = cluster.wait_for(job, {"FAILED"}, 120)
    assert time.monotonic() - began_s < 60  # 30 s of --wait, 10 s of KillWait, Slurm's own rounds
    assert fields["Restarts"] == "0"
    assert fields["ExitCode"] not in ("0:0", "75:0")


def test_cancelled_job_is_not_requeued(cluster, space):
    job = cluster.submit(*SMALL, CPU, *space.align("cancelled"), env=space.environment,
                         cwd=space.folder)
    space.wait_until_working("cancelled", share=0.05)
    cluster.call("scancel", job)
    fields = cluster.wait_for(job, {"CANCELLED"}, 60)
    time.sleep(cluster.credential_s + 10)  # longer than a requeued job waits before its start
    assert cluster.job(job)["JobState"] == "CANCELLED"
    assert fields["Restarts"] == "0"
    assert ranks_of("cancelled") == []


def test_launcher_of_another_mpi_is_refused_instead_of_running_the_job_in_every_rank(
        cluster, space):
    job = cluster.submit(*SMALL, CPU, *space.align("alone"), cwd=space.folder,
                         env={**space.environment, "STA_MPI_SRUN": "none"})
    fields = cluster.wait_for(job, {"FAILED"}, 60)
    assert fields["ExitCode"] == "2:0"
    assert "the launcher started 4 processes, but MPI" in cluster.job_log(job)
    assert not (space.folder / "alone").exists()


def test_mpirun_of_mpich_inside_an_allocation_starts_ranks_on_both_nodes(cluster, space, plain):
    script = space.folder / "mpirun.sbatch"
    script.write_text('#!/bin/sh\nmpirun sta-mpi "$@"\n')
    job = cluster.submit(*SMALL, "--mem-per-cpu=1G", str(script),
                         *space.align("by_mpirun", SHORT_STEP_DEG), env=space.environment,
                         cwd=space.folder)
    cluster.wait_for(job, {"COMPLETED"}, 300)
    record = space.record("by_mpirun")
    assert (record["ranks"], record["nodes"]) == (4, 2)
    assert differing(plain, space.folder / "by_mpirun") == []


def test_each_gpu_rank_sees_one_gpu_of_its_own(cluster, space, stand_in):
    env = stand_in("gpu_bin", 'echo "rank $PMI_RANK gpu <$CUDA_VISIBLE_DEVICES>"')
    job = cluster.submit(GPU, "align", env=env, cwd=space.folder)
    cluster.wait_for(job, {"COMPLETED"}, 60)
    lines = sorted(line for line in cluster.job_log(job).splitlines() if line.startswith("rank"))
    assert lines == [f"rank {i} gpu <{i}>" for i in range(4)]


def test_signal_before_the_program_has_started_is_requeued(cluster, space, stand_in):
    env = stand_in("early_bin", '[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || kill -USR1 $$')
    job = cluster.submit("--nodes=1", "--ntasks-per-node=1", CPU, env=env, cwd=space.folder)
    cluster.wait_for(job, {"PENDING"}, 60)
    assert cluster.wait_for(job, {"COMPLETED"}, 120)["Restarts"] == "1"


def test_job_that_never_finishes_is_requeued_only_so_often(cluster, space, stand_in):
    env = {**stand_in("endless_bin", "exit 75"), "STA_MPI_MAX_RESTARTS": "1"}
    job = cluster.submit("--nodes=1", "--ntasks-per-node=1", CPU, env=env, cwd=space.folder)
    fields = cluster.wait_for(job, {"FAILED"}, 120)
    assert (fields["Restarts"], fields["ExitCode"]) == ("1", "75:0")
    assert "after 1 restarts, not requeued" in cluster.job_log(job)
