"""How far the next round of a refinement searches, from what was reached."""

from types import SimpleNamespace

import pytest

from sta_mpi.jobs.refine import _band

BOX, VOXEL_A = 96, 2.0          # shell s is 192 Å / s


def state(*resolutions_A):
    return SimpleNamespace(history=[{"round": float(i), "resolution_A": d, "crossing_shell": 1.0}
                                    for i, d in enumerate(resolutions_A)])


def r_max(start_at_fsc, *resolutions_A):
    parameters = SimpleNamespace(start_at_fsc=start_at_fsc, lowpass_A=16.0, highpass_A=None)
    return _band(parameters, state(*resolutions_A), BOX, VOXEL_A).r_max


@pytest.mark.parametrize(("start_at_fsc", "expected"), [(False, 12.0), (True, 24.0)])
def test_first_round_ends_at_the_low_pass_or_where_the_given_poses_reach(start_at_fsc, expected):
    assert r_max(start_at_fsc, 8.0) == expected


@pytest.mark.parametrize("resolution_A", [float("inf"), float("nan")])
def test_given_poses_without_a_resolution_leave_the_low_pass(resolution_A):
    assert r_max(True, resolution_A) == 12.0


def test_later_rounds_end_where_the_last_one_reached_whatever_rounds_are_compared_by():
    assert r_max(True, 8.0, 6.4) == pytest.approx(30.0)
    assert r_max(False, 8.0, 6.4) == pytest.approx(30.0)
