"""Warnings where unseen particles speak against a symmetry."""

from sta_mpi.jobs.reference_scores import SymmetryScore, score_warnings


def scores(evidence, z):
    return [SymmetryScore("C1", 100.0, 0.0), SymmetryScore("C6", evidence, z)]


def test_symmetry_that_costs_much_evidence_is_warned_of():
    assert "explained worse with C6" in score_warnings("C6", scores(75.0, -20.0))[0]


def test_small_loss_is_no_warning_however_sure_it_is():
    assert score_warnings("C6", scores(96.0, -8.0)) == []


def test_loss_within_its_error_is_no_warning():
    assert score_warnings("C6", scores(75.0, -1.0)) == []
