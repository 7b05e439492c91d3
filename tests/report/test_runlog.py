"""The run log: time stamps, warnings once each, files of other ranks, resumed runs."""

import io
import logging
import re
import sys
import warnings

import pytest

from sta_mpi.errors import InputError, InputWarning
from sta_mpi.report.runlog import LOG_FILE, LOGGER_NAME, open_run_log
from sta_mpi.version import __version__


def test_records_of_all_our_loggers_get_a_time_stamp_and_the_rank(tmp_path):
    with open_run_log(tmp_path):
        logging.getLogger(f"{LOGGER_NAME}.jobs.average").info("started")
    line = (tmp_path / LOG_FILE).read_text().splitlines()[1]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z rank 0@\S+ INFO started", line)


def test_a_warning_for_every_particle_is_one_line(tmp_path):
    console = io.StringIO()
    with open_run_log(tmp_path, console=console) as log:
        for _ in range(1000):
            warnings.warn("particle outside the tomogram", InputWarning, stacklevel=1)
    assert log.warnings == ["particle outside the tomogram"]
    assert (tmp_path / LOG_FILE).read_text().count("particle outside") == 1
    assert console.getvalue() == "warning: particle outside the tomogram\n"


def test_different_warnings_from_one_line_are_all_kept(tmp_path):
    with open_run_log(tmp_path) as log:
        for name in ("TS_01", "TS_03"):
            warnings.warn(f"{name}: no hand", InputWarning, stacklevel=1)
    assert log.warnings == ["TS_01: no hand", "TS_03: no hand"]


def test_endless_different_warnings_end_with_one_that_says_so(tmp_path):
    with open_run_log(tmp_path) as log:
        for number in range(5000):
            log.warn(f"particle {number} is odd")
    assert len(log.warnings) == 200
    assert "no further ones are kept" in log.warnings[-1]


def test_warnings_of_libraries_say_where_they_come_from(tmp_path):
    with open_run_log(tmp_path) as log:
        warnings.warn("overflow in exp", RuntimeWarning, stacklevel=1)
    assert re.fullmatch(r"overflow in exp \(RuntimeWarning, test_runlog\.py:\d+\)",
                        log.warnings[0])


def test_deprecations_are_not_shown_to_users(tmp_path):
    with open_run_log(tmp_path) as log:
        warnings.warn("old name", DeprecationWarning, stacklevel=1)
    assert log.warnings == []


def test_other_ranks_write_only_on_request(tmp_path):
    for is_every_rank in (False, True):
        with open_run_log(tmp_path, rank=12, is_every_rank=is_every_rank) as log:
            log.logger.info("here")
        assert [p.name for p in tmp_path.iterdir()] == (["run_rank0012.log"] * is_every_rank)


def test_a_resumed_run_follows_the_first_in_the_same_file(tmp_path):
    for text in ("first", "second"):
        with open_run_log(tmp_path) as log:
            log.logger.info(text)
    lines = (tmp_path / LOG_FILE).read_text().splitlines()
    assert [line.split()[-1] for line in lines] == [
        lines[0].split()[-1], "first", "run", lines[3].split()[-1], "second", "run"]


def test_first_line_is_the_version_and_the_command_line(tmp_path):
    with open_run_log(tmp_path):
        pass
    first = (tmp_path / LOG_FILE).read_text().splitlines()[0]
    assert f"sta-mpi {__version__}, Python 3." in first
    assert sys.argv[0] in first


def test_unexpected_exception_leaves_its_traceback_in_the_log(tmp_path):
    with pytest.raises(ZeroDivisionError), open_run_log(tmp_path):
        print(1 / 0)
    text = (tmp_path / LOG_FILE).read_text()
    assert "ERROR ZeroDivisionError\nTraceback" in text
    assert "end of the run" not in text


def test_error_for_the_user_is_one_line_in_the_log(tmp_path):
    with pytest.raises(InputError), open_run_log(tmp_path):
        raise InputError("box_px is odd")
    text = (tmp_path / LOG_FILE).read_text()
    assert text.endswith("ERROR InputError: box_px is odd\n")
    assert "Traceback" not in text


def test_logging_and_warnings_are_as_before_after_the_block(tmp_path):
    show, logger = warnings.showwarning, logging.getLogger(LOGGER_NAME)
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(ValueError), open_run_log(tmp_path):
        raise ValueError
    assert warnings.showwarning is show
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_a_log_that_cannot_be_written_says_so_once_and_goes_on(tmp_path, capsys):
    with open_run_log(tmp_path / "gone") as log:
        log.logger.info("one")
        log.logger.info("two")
    assert capsys.readouterr().err.count("cannot be written") == 1
