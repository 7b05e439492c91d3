"""Numbers and times in words."""

import math

import numpy as np
import pytest

from sta_mpi.report.wording import format_bytes, format_duration, format_number, format_rate


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185.2, "3 min 05 s"),
    (3599.7, "1 h 00 min"), (7620, "2 h 07 min"), (300_000, "3 d 11 h"), (-1, "0.0 s"),
    (None, "unknown"), (math.nan, "unknown"), (math.inf, "unknown"),
])
def test_durations_have_two_units_at_most(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [
    (1234567, "1,234,567"), (3.14159, "3.142"), (-0.5, "−0.5"), (1.2e-7, "1.200e-07"),
    (12345.6, "12,346"), (0.0, "0"), (True, "yes"), (False, "no"), (None, "–"),
    ([96, 96, 96], "96, 96, 96"), ((), "–"), ("C6", "C6"), (math.nan, "not a number"),
    (math.inf, "∞"), (np.float32(2.5), "2.5"), (np.int64(1000), "1,000"), (np.array(7), "7"),
])
def test_values_read_as_a_person_would_write_them(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(("rate", "text"), [
    (12.34, "12.3 units/s"), (0.5, "30 units/min"), (0.001, "3.6 units/h"),
    (0, "rate unknown"), (None, "rate unknown"), (math.nan, "rate unknown"),
])
def test_rates_choose_their_time_unit(rate, text):
    assert format_rate(rate) == text


@pytest.mark.parametrize(("size", "text"), [
    (12, "12 bytes"), (3 * 2**20, "3.0 MiB"), (3 * 2**30, "3.00 GiB")])
def test_sizes_choose_their_unit(size, text):
    assert format_bytes(size) == text
