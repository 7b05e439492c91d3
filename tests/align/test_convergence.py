"""When a refinement goes on, ends, or takes a round back."""

import pytest

from sta_mpi.align.convergence import has_converged, judge, shell

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
    assert has_converged(history, SPAN_A, first_shell=16.0)
    assert not has_converged(history, SPAN_A, first_shell=14.0)
    assert not has_converged(history[:1], SPAN_A, first_shell=16.0)


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
