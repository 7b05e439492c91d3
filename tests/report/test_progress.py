"""Progress: counts, time left, lines, bar, progress.json, and that display never stops a job."""

import io
import json
import warnings
from datetime import UTC, datetime

import pytest

from sta_mpi.errors import InputWarning, Stopped
from sta_mpi.report.progress import PROGRESS_FILE, Progress


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class ClosedPipe(io.StringIO):
    """A stream whose reader has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def today() -> datetime:
    return datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def read_json(folder):
    return json.loads((folder / PROGRESS_FILE).read_text())


def test_time_left_is_remaining_cost_over_the_rate(clock):
    progress = Progress(100.0, 10, "average", clock=clock)
    clock.now_s += 5
    progress.advance(cost=20.0)
    state = progress.snapshot()
    assert state.fraction == pytest.approx(0.2)
    assert state.eta_s == pytest.approx(80.0 / (20.0 / 5.0))
    assert state.rate_units_per_s == pytest.approx(1 / 5)


def test_resumed_units_count_as_done_but_not_towards_the_rate(clock):
    progress = Progress(100.0, 10, "average", clock=clock, resumed_units=5, resumed_cost=50.0)
    clock.now_s += 10
    progress.advance(cost=10.0)
    state = progress.snapshot()
    assert (state.done_units, state.resumed_units) == (6, 5)
    assert state.fraction == pytest.approx(0.6)
    assert state.eta_s == pytest.approx(40.0)
    assert state.rate_units_per_s == pytest.approx(0.1)


def test_rate_follows_recent_units_after_a_slow_start(clock):
    """Compilation makes the first unit slow; 256 units later it is forgotten."""
    progress = Progress(1000.0, 1000, "align", clock=clock)
    clock.now_s += 500
    progress.advance()
    for _ in range(300):
        clock.now_s += 1
        progress.advance()
    assert progress.snapshot().rate_units_per_s == pytest.approx(1.0)


def test_nothing_is_known_before_the_first_unit(clock):
    state = Progress(10.0, 5, "average", clock=clock).snapshot()
    assert (state.eta_s, state.rate_units_per_s, state.fraction) == (None, None, 0.0)


def test_a_stage_without_units_is_done(clock):
    state = Progress(0.0, 0, "average", clock=clock).snapshot()
    assert (state.fraction, state.eta_s) == (1.0, 0.0)


def test_units_of_no_predicted_cost_are_counted_by_number(clock):
    progress = Progress(0.0, 4, "average", clock=clock)
    progress.advance(cost=0.0)
    assert progress.snapshot().fraction == 0.25


def test_fraction_stays_below_one_while_units_are_open(clock):
    progress = Progress(10.0, 2, "average", clock=clock)
    progress.advance(cost=25.0)
    assert progress.snapshot().fraction == 1.0
    assert progress.snapshot().done_units == 1


def test_quarantined_units_are_done_and_counted(clock):
    progress = Progress(4.0, 4, "average", clock=clock)
    progress.quarantine()
    state = progress.snapshot()
    assert (state.done_units, state.quarantined) == (1, 1)


def test_lines_at_start_at_end_and_every_half_minute(clock):
    stream = io.StringIO()
    with Progress(100.0, 100, "average", stream, clock=clock) as progress:
        for _ in range(100):
            clock.now_s += 1
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "average    0.0 %  0/100 units, time left unknown"
    assert lines[1] == "average   30.0 %  30/100 units, 1 units/s, 1 min 10 s left"
    assert lines[-1] == "average  100.0 %  100/100 units, finished after 1 min 40 s"


def test_a_week_of_units_writes_a_few_hundred_lines_at_most(clock):
    stream = io.StringIO()
    n_units = 7 * 24 * 60
    with Progress(n_units, n_units, "align", stream, clock=clock) as progress:
        for _ in range(n_units):
            clock.now_s += 60
            progress.advance()
    assert 50 < len(stream.getvalue().splitlines()) < 300


def test_iteration_and_counts_stand_in_the_line(clock):
    stream = io.StringIO()
    progress = Progress(9.0, 9, "align", stream, clock=clock, iteration=2, n_iterations=5,
                        resumed_units=3, resumed_cost=3.0)
    progress.quarantine()
    progress.close()
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("align iteration 2/5")
    assert "3 from the checkpoint" in last
    assert "1 quarantined" in last


def test_terminal_gets_a_bar_that_ends_at_a_hundred_percent(clock):
    stream = Terminal()
    with Progress(2.0, 2, "average", stream, clock=clock) as progress:
        for _ in range(2):
            clock.now_s += 1
            progress.advance()
    text = stream.getvalue()
    assert "100.0 %" in text
    assert "\x1b[?25h" in text, "the cursor must be shown again"


def test_interrupted_bar_gives_the_cursor_back(clock):
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress(2.0, 2, "x", stream, clock=clock):
        raise KeyboardInterrupt
    assert stream.getvalue().rstrip("\n").rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")


def test_quiet_shows_nothing_and_still_writes_the_file(clock, tmp_path):
    stream = io.StringIO()
    with Progress(1.0, 1, "average", stream, tmp_path, clock=clock, quiet=True) as progress:
        progress.advance()
    assert stream.getvalue() == ""
    assert read_json(tmp_path)["state"] == "finished"


def test_progress_file_holds_every_field_and_leaves_no_temporary(clock, tmp_path):
    progress = Progress(10.0, 10, "align", None, tmp_path, command="align", stage="search",
                        iteration=1, n_iterations=3, ranks=4, clock=clock, today=today)
    clock.now_s += 6
    progress.advance(cost=2.0, units=2)
    assert read_json(tmp_path) == {
        "command": "align", "label": "align", "stage": "search", "state": "running",
        "iteration": 1, "n_iterations": 3, "done_units": 2, "total_units": 10,
        "fraction": 0.2, "elapsed_s": 6.0, "eta_s": 24.0, "rate_units_per_s": pytest.approx(1 / 3),
        "ranks": 4, "resumed_units": 0, "quarantined": 0, "longest_gap_s": 6.0,
        "updated": "2026-11-21T04:00:00+00:00"}
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS_FILE]


def test_progress_file_is_written_at_most_every_five_seconds(clock, tmp_path):
    progress = Progress(10.0, 10, "align", None, tmp_path, clock=clock)
    clock.now_s += 1
    progress.advance()
    assert read_json(tmp_path)["done_units"] == 0
    clock.now_s += 5
    progress.tick()
    assert read_json(tmp_path)["done_units"] == 1


@pytest.mark.parametrize(("error", "state"), [
    (KeyboardInterrupt(), "interrupted"),
    (Stopped("SIGTERM: checkpoint written"), "interrupted"),
    (ValueError("bad"), "failed"),
])
def test_last_state_says_how_the_stage_ended(clock, tmp_path, error, state):
    with pytest.raises(type(error)), Progress(2.0, 2, "x", None, tmp_path, clock=clock):
        raise error
    assert read_json(tmp_path)["state"] == state


def test_closing_twice_writes_one_last_line(clock):
    stream = io.StringIO()
    progress = Progress(1.0, 1, "x", stream, clock=clock)
    progress.advance()
    progress.close()
    progress.close("failed")
    assert len(stream.getvalue().splitlines()) == 2


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_broken_pipe_silences_the_display_and_not_the_job(clock, is_terminal):
    stream = ClosedPipe()
    if is_terminal:
        stream.isatty = lambda: True
    with Progress(2.0, 2, "x", stream, clock=clock) as progress:
        for _ in range(2):
            clock.now_s += 60
            progress.advance()
        assert progress.snapshot().done_units == 2


def test_a_closed_stream_is_taken_as_none(clock):
    stream = io.StringIO()
    stream.close()
    with Progress(1.0, 1, "x", stream, clock=clock) as progress:
        progress.advance()


def test_a_folder_that_cannot_be_written_warns_once(clock, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        progress = Progress(9.0, 9, "x", None, tmp_path / "gone", clock=clock)
        for _ in range(5):
            clock.now_s += 60
            progress.advance()
    assert [warning.category for warning in caught] == [InputWarning]
    assert "cannot be written" in str(caught[0].message)
