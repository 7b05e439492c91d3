"""The same refusals from real processes: exit codes, streams, and one message under mpirun."""

import os

import pytest
from bad_projects import AVERAGE, Outcome, assert_refused, run_process, with_value


def lines(stderr: str) -> str:
    """Without what the launcher of MPI may add about exit codes."""
    marks = ("mpirun", "prterun", "===", "=   ", "---", "Primary job", "a non-zero exit",
             "Exit code", "Process name")
    return "\n".join(line for line in stderr.splitlines()
                     if line.strip() and not line.startswith(marks))


@pytest.mark.parametrize(("arguments", "code", "words"), [
    pytest.param(with_value(AVERAGE, "optimisation_set.star", "no.star"), 3, "no.star", id="input"),
    pytest.param(with_value(AVERAGE, "24", "-24"), 2, "at least 8", id="usage"),
    pytest.param((*AVERAGE, "--max-memory-GiB", "0.001"), 4, "GiB", id="resource")])
def test_process_ends_with_one_line_and_its_code(project, arguments, code, words):
    outcome = run_process(*arguments, folder=project.folder)
    assert_refused(outcome, code, words)
    assert outcome.out == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_named(project):
    project.path("particles.star").chmod(0)
    assert_refused(run_process(*AVERAGE, folder=project.folder), 3, "particles.star", "Permission")


@pytest.mark.mpi
@pytest.mark.parametrize(("arguments", "code", "words"), [
    pytest.param(with_value(AVERAGE, "optimisation_set.star", "no.star"), 3, "no.star", id="input"),
    pytest.param(with_value(AVERAGE, "24", "-24"), 2, "at least 8", id="usage"),
    pytest.param((*AVERAGE, "--nonsense"), 2, "No such option", id="unknown_option")])
def test_two_ranks_tell_a_fault_once(project, mpirun, arguments, code, words):
    done = mpirun(2, "-m", "sta_mpi", *arguments, cwd=project.folder)
    assert_refused(Outcome(done.returncode, done.stdout, lines(done.stderr)), code, words)


@pytest.mark.mpi
def test_fault_that_is_found_in_the_set_is_told_once_by_two_ranks(project, mpirun):
    project.set_column("particles.star", "particles", "rlnRandomSubset", "3", [4])
    done = mpirun(2, "-m", "sta_mpi", *AVERAGE, cwd=project.folder)
    assert_refused(Outcome(done.returncode, done.stdout, lines(done.stderr)), 3, "row 5",
                   "rlnRandomSubset is 3")
