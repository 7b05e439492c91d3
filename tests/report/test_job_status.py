"""The table of jobs: what a folder's dictionaries mean, also when they are damaged."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sta_mpi.report import status
from sta_mpi.report.status import job_row, job_table

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

TABLE = """
job      command  status               progress                                Å  core-h         age
job1     average  finished                                                 11.50    2.00  2 h 00 min
job2     align    running              iteration 2/5, 25 %, 45 min 00 s             2.00        30 s
                                       left
[bold]x  align    stopped (resumable)  iteration 2/5, 25 %                          0.05        30 s
"""


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


FINISHED = {"command": "average", "status": "finished", "ranks": 4, "elapsed_s": 1800.0,
            "results": {"resolution_A": 11.5}, "finished": ago(7200)}
RUNNING = {"command": "align", "status": "running", "ranks": 8}
PROGRESS = {"state": "running", "done_units": 50, "total_units": 200, "fraction": 0.25,
            "elapsed_s": 900.0, "eta_s": 2700.0, "iteration": 2, "n_iterations": 5,
            "longest_gap_s": 20.0, "updated": ago(30)}


def test_finished_job_shows_resolution_core_hours_and_age():
    row = job_row("Average/job1", FINISHED, None, now=NOW)
    assert row.status == status.FINISHED
    assert row.resolution_A == 11.5
    assert row.core_hours == pytest.approx(2.0)
    assert row.age_s == pytest.approx(7200)


def test_running_job_shows_progress_and_time_left():
    row = job_row("a", RUNNING, PROGRESS, now=NOW)
    assert row.status == status.RUNNING
    assert row.progress == "iteration 2/5, 25 %, 45 min 00 s left"
    assert row.core_hours == pytest.approx(2.0)


def test_running_job_that_is_silent_for_long_is_stale():
    row = job_row("a", RUNNING, {**PROGRESS, "updated": ago(601)}, now=NOW)
    assert row.status == status.STALE


def test_job_of_long_units_is_not_stale_while_it_keeps_its_own_pace():
    progress = {**PROGRESS, "longest_gap_s": 1000.0, "updated": ago(4000)}
    assert job_row("a", RUNNING, progress, now=NOW).status == status.RUNNING
    progress["updated"] = ago(5001)
    assert job_row("a", RUNNING, progress, now=NOW).status == status.STALE


@pytest.mark.parametrize(("said", "shown"), [
    ("stopped", status.STOPPED), ("failed", status.FAILED), ("odd", status.UNKNOWN)])
def test_other_states_are_named(said, shown):
    assert job_row("a", {"command": "align", "status": said}, None, now=NOW).status == shown


def test_interrupted_progress_without_job_file_is_resumable():
    row = job_row("a", None, {**PROGRESS, "state": "interrupted", "command": "align"}, now=NOW)
    assert (row.status, row.command) == (status.STOPPED, "align")


def test_folder_without_files_is_unknown():
    row = job_row("a", None, None, now=NOW)
    assert (row.status, row.command, row.age_s) == (status.UNKNOWN, "?", None)


def test_age_falls_back_to_the_time_of_the_file():
    row = job_row("a", {"status": "failed"}, None, now=NOW, modified=NOW - timedelta(hours=1))
    assert row.age_s == pytest.approx(3600)


def test_a_clock_that_runs_ahead_gives_no_negative_age():
    assert job_row("a", RUNNING, {**PROGRESS, "updated": ago(-90)}, now=NOW).age_s == 0.0


def test_table_text_is_as_agreed():
    stopped = {"command": "align", "status": "stopped", "ranks": 2, "elapsed_s": 90.0}
    rows = [
        job_row("job1", FINISHED, None, now=NOW),
        job_row("job2", RUNNING, PROGRESS, now=NOW),
        job_row("[bold]x", stopped, PROGRESS, now=NOW),
    ]
    assert "\n" + job_table(rows, width=100) == TABLE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3), max_leaves=5)
keys = st.sampled_from([*FINISHED, *PROGRESS, "threads"])


@settings(max_examples=200, deadline=None)
@given(job=st.dictionaries(keys, json_values), progress=st.dictionaries(keys, json_values))
@example(job={"elapsed_s": 1e300, "ranks": 1e300, "results": {"resolution_A": 1e300}},
         progress={"state": "running", "done_units": 10**308, "total_units": 1e-300,
                   "fraction": 1e300, "eta_s": 1e308, "iteration": 1e308})
@example(job={"finished": "0001-01-01T00:00:00+23:59", "results": {"resolution_A": -1e-300}},
         progress={"updated": "9999-12-31T23:59:59-23:59"})
def test_any_json_object_makes_a_row_that_can_be_printed(job, progress):
    row = job_row("folder", job, progress, now=NOW)
    assert job_table([row]).startswith("job")
