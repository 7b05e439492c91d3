"""When a refinement goes on, ends, or takes a round back."""

import numpy as np
import pytest

from sta_mpi.align.convergence import has_converged, is_worse, judge, reached, shell
from sta_mpi.signal.fsc import mean_crossing_shell, resolution_A

SPAN_A = 320.0


def entry(resolution_A, turn_deg=1.0, sigma_deg=0.5, is_global=0.0, **more):
    return {"resolution_A": resolution_A, "median_turn_deg": turn_deg,
            "median_sigma_angle_deg": sigma_deg, "is_global": is_global, **more}


def test_a_refinement_that_gains_resolution_goes_on():
    history = [entry(40.0), entry(32.0), entry(26.0), entry(20.0)]
    assert not has_converged(history, SPAN_A)


def test_a_refinement_without_gain_ends_when_poses_rest():
    history = [entry(40.0), entry(20.0, 4.0), entry(20.0, 2.0), entry(20.0, 0.3)]
    assert has_converged(history, SPAN_A)


def test_poses_that_still_come_closer_keep_a_refinement_going():
    history = [entry(20.0, 8.0), entry(20.0, 4.0), entry(20.0, 2.0), entry(20.0, 1.0)]
    assert not has_converged(history, SPAN_A)


def test_poses_that_go_to_and_fro_end_a_refinement():
    history = [entry(20.0, 2.0), entry(20.0, 2.0), entry(20.0, 2.1), entry(20.0, 2.0)]
    assert has_converged(history, SPAN_A)


def test_poses_that_had_the_resolution_before_count_as_a_round():
    history = [entry(20.0, 0.4), entry(20.0, 0.3)]
    assert not has_converged(history, SPAN_A)
    assert has_converged(history, SPAN_A, before=entry(20.0))
    assert not has_converged(history, SPAN_A, before=entry(22.9))
    assert not has_converged(history[:1], SPAN_A, before=entry(20.0))


def test_a_global_round_is_never_the_last():
    history = [entry(20.0), entry(20.0), entry(20.0), entry(20.0, 0.1, is_global=1.0)]
    assert not has_converged(history, SPAN_A)


@pytest.mark.parametrize(("resolution_A", "is_accepted"), [
    (20.0, True),     # shell 16 as before
    (21.3, True),     # one shell less: within the scatter of an FSC
    (23.0, False)])
def test_a_round_may_lose_one_shell_and_no_more(resolution_A, is_accepted):
    verdict = judge([entry(30.0), entry(20.0)], entry(resolution_A), SPAN_A)
    assert verdict.is_accepted is is_accepted
    assert bool(verdict.reason) is not is_accepted


@pytest.mark.parametrize(("gain", "n", "is_accepted"), [
    (-0.9, 30, True),    # what fitting the poses before to these tilts is worth
    (-6.0, 30, False),
    (-6.0, 4, True)])    # too few particles to tell
def test_a_round_whose_poses_explain_unseen_tilts_worse_is_refused(gain, n, is_accepted):
    trial = entry(20.0, unseen_gain=gain, unseen_gain_error=0.5, unseen_particles=float(n))
    assert judge([entry(20.0)], trial, SPAN_A).is_accepted is is_accepted


def test_an_unknown_resolution_is_shell_zero():
    assert shell(entry(float("inf")), SPAN_A) == 0.0
    assert shell(entry(float("nan")), SPAN_A) == 0.0


TWIN_SPAN_A = 192 * 1.35
TWIN_TURNS_DEG = (0.5, 0.05, 0.02, 0.014, 0.014)
TWIN_FSC = (
    (0.2880, 0.2615, 0.2254, 0.1859, 0.1507, 0.1384, 0.1274, 0.0909, 0.0648),
    (0.3141, 0.2817, 0.2477, 0.2046, 0.1577, 0.1427, 0.1426, 0.1131, 0.0814),
    (0.3177, 0.2875, 0.2475, 0.2037, 0.1605, 0.1454, 0.1417, 0.1122, 0.0807),
    (0.3178, 0.2860, 0.2461, 0.2024, 0.1599, 0.1475, 0.1438, 0.1129, 0.0820),
    (0.3178, 0.2859, 0.2466, 0.2022, 0.1587, 0.1461, 0.1406, 0.1083, 0.0765),
    (0.3188, 0.2874, 0.2493, 0.2062, 0.1638, 0.1480, 0.1401, 0.1098, 0.0780))
"""Shells 77 to 85 at the given poses and after five rounds of 2,420 particles of the twin of
EMPIAR-10164 at bin 1 (commit 05b48a6); the rounds did nothing after the first."""


def twin_rounds():
    curves = [np.concatenate([np.ones(77), shells, np.zeros(11)]) for shells in TWIN_FSC]
    return [entry(resolution_A(curve, 1.35, 192), turn_deg, 0.19,
                  crossing_shell=mean_crossing_shell(curve))
            for curve, turn_deg in zip(curves, (0.0, *TWIN_TURNS_DEG), strict=True)]


def test_a_curve_along_the_threshold_moves_the_resolution_and_not_what_a_round_reached():
    given, *rounds = twin_rounds()
    assert {round(shell(h, TWIN_SPAN_A)) for h in rounds} == {81, 82, 83}
    assert np.ptp([reached(h, TWIN_SPAN_A) for h in rounds]) < 0.15
    assert reached(rounds[0], TWIN_SPAN_A) > reached(given, TWIN_SPAN_A) + 0.4


def test_rounds_alike_end_a_refinement_though_their_resolution_goes_up_by_a_shell():
    given, *rounds = twin_rounds()
    by_resolution = [{k: v for k, v in h.items() if k != "crossing_shell"} for h in rounds]
    ended = [i for i in range(1, 6) if has_converged(rounds[:i], TWIN_SPAN_A, given)]
    assert ended[0] == 3
    del given["crossing_shell"]
    assert not has_converged(by_resolution[:3], TWIN_SPAN_A, given)


def test_rounds_of_an_earlier_build_are_judged_by_their_resolution():
    assert reached(entry(20.0), SPAN_A) == 16.0
    assert reached(entry(20.0, crossing_shell=15.4), SPAN_A) == 15.4
    assert reached(entry(20.0, crossing_shell=float("nan")), SPAN_A) == 0.0


@pytest.mark.parametrize(("crossing_shell", "expected"), [(15.1, False), (14.9, True)])
def test_a_round_is_worse_where_the_whole_curve_lost_a_shell(crossing_shell, expected):
    # both states 20 Å: the last shell above 0.143 is the same
    best, trial = (entry(20.0, crossing_shell=c) for c in (16.0, crossing_shell))
    assert is_worse(trial, best, SPAN_A) is expected
    assert judge([best], trial, SPAN_A).is_accepted is not expected
