"""Duplicates against brute force over all pairs, and against the promises of the rule."""

import numpy as np
import pytest

from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.pick.duplicates import (
    DuplicateRule,
    close_pairs,
    relion_duplicates,
    remove_duplicates,
)
from sta_mpi.pick.poses import nearest_mates, pose_distance_deg

ONE = np.eye(3)[None]


def crowd(n=300, seed=0):
    """Positions in two tomograms, crowded so that chains of duplicates occur."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0, 100, (n, 3)), rng.integers(0, 2, n).astype(np.int32),
            rng.normal(size=n), random_rotations(n, rng), rng.integers(1, 3, n).astype(np.int8))


def distances(position, i_tomo):
    """All pairs, the slow way; infinite across tomograms and to itself."""
    d = np.linalg.norm(position[:, None] - position[None], axis=-1)
    d[i_tomo[:, None] != i_tomo[None]] = np.inf
    np.fill_diagonal(d, np.inf)
    return d


def test_relions_rule_removes_a_row_when_any_later_one_is_near():
    position, i_tomo, *_ = crowd()
    origin = np.random.default_rng(1).normal(0, 5, position.shape)
    d = distances(position - origin, i_tomo)
    expected = [not (d[i, i + 1:] <= 9.0).any() for i in range(len(d))]
    assert relion_duplicates(position, origin, i_tomo, 9.0).tolist() == expected
    assert 20 < sum(expected) < 280


def test_close_pairs_are_those_of_brute_force():
    position, i_tomo, *_ = crowd()
    i, j = np.nonzero(np.triu(distances(position, i_tomo) <= 9.0))
    assert close_pairs(position, i_tomo, 9.0).tolist() == np.stack([i, j], axis=1).tolist()


def test_kept_particles_are_apart_and_removed_ones_are_near_a_better_kept_one():
    position, i_tomo, score, R, half = crowd()
    found = remove_duplicates(position, i_tomo, score, DuplicateRule(9.0), R, ONE, half)
    d = distances(position, i_tomo)
    assert d[np.ix_(found.keep, found.keep)].min() > 9.0
    for row in np.flatnonzero(~found.keep):
        near = found.keep & (d[row] <= 9.0)
        assert score[near].max() > score[row]
        assert d[row, found.winner[row]] <= 9.0
        assert found.keep[found.winner[row]]


def test_what_is_kept_does_not_depend_on_the_order_of_the_rows():
    position, i_tomo, score, R, half = crowd()
    score = np.round(score)     # many ties
    rule = DuplicateRule(9.0)
    keep = remove_duplicates(position, i_tomo, score, rule, R, ONE, half).keep
    order = np.random.default_rng(3).permutation(len(score))
    other = remove_duplicates(position[order], i_tomo[order], score[order], rule, R[order], ONE,
                              half[order]).keep
    assert sorted(order[other]) == np.flatnonzero(keep).tolist()


def test_nan_scores_never_win():
    position = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    found = remove_duplicates(position, np.zeros(2, np.int32), np.array([np.nan, -50.0]),
                              DuplicateRule(2.0), np.tile(np.eye(3), (2, 1, 1)), ONE,
                              np.zeros(2, np.int8))
    assert found.keep.tolist() == [False, True]


@pytest.mark.parametrize("symmetry", ["C6", "D2", "O"])
def test_symmetry_mates_are_the_same_pose(symmetry):
    operators = symmetry_matrices(symmetry)
    R = random_rotations(40, np.random.default_rng(4))
    mates = R @ operators[-1]
    assert pose_distance_deg(R, mates, operators).max() < 1e-5
    assert pose_distance_deg(R, mates, ONE).min() > 50
    assert np.allclose(nearest_mates(mates, R, operators), R, atol=1e-9)


def test_within_an_angle_mates_are_duplicates_and_other_turns_are_not():
    operators = symmetry_matrices("C6")
    turn = rotation_from_vector([0.0, 0.0, np.radians(60.0)])
    half_turn = rotation_from_vector([0.0, 0.0, np.radians(30.0)])
    R = np.stack([np.eye(3), turn, half_turn])
    position = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    rule = DuplicateRule(3.0, angle_deg=10.0)
    found = remove_duplicates(position, np.zeros(3, np.int32), np.array([3.0, 2.0, 1.0]), rule, R,
                              operators, np.zeros(3, np.int8))
    assert found.keep.tolist() == [True, False, True]


def two_halves():
    """A place with three poses: two of half 1 and 2 that differ by 90 degrees, and a lone one."""
    R = np.stack([np.eye(3), rotation_from_vector([np.pi / 2, 0, 0]), np.eye(3)])
    return (np.array([[0.0, 0, 0], [1.0, 0, 0], [50.0, 0, 0]]), np.zeros(3, np.int32),
            np.array([1.0, 2.0, 0.5]), R, np.array([1, 2, 1], np.int8))


@pytest.mark.parametrize(("across", "keep", "half"), [
    ("best", [False, True, True], [1, 2, 1]),
    ("same-half", [True, True, True], [2, 2, 1]),
    ("drop", [False, False, True], [1, 2, 1]),
    ("ignore", [True, True, True], [1, 2, 1])])
def test_place_of_both_half_sets_is_treated_as_asked_for(across, keep, half):
    position, i_tomo, score, R, halves = two_halves()
    found = remove_duplicates(position, i_tomo, score, DuplicateRule(5.0, 10.0, across), R, ONE,
                              halves)
    assert found.keep.tolist() == keep
    assert found.half.tolist() == half
    assert found.n_across == 1


@pytest.mark.parametrize("across", ["best", "same-half", "drop"])
def test_two_halves_of_one_place_never_survive(across):
    position, i_tomo, score, R, half = crowd()
    found = remove_duplicates(position, i_tomo, score, DuplicateRule(9.0, 20.0, across), R, ONE,
                              half)
    d = distances(position, i_tomo)[np.ix_(found.keep, found.keep)]
    new_half = found.half[found.keep]
    assert d[new_half[:, None] != new_half[None]].min() > 9.0


def test_ignoring_half_sets_does_leave_places_in_both():
    """Otherwise the test above would prove nothing."""
    position, i_tomo, score, R, half = crowd()
    found = remove_duplicates(position, i_tomo, score, DuplicateRule(9.0, None, "ignore"), R, ONE,
                              half)
    d = distances(position, i_tomo)[np.ix_(found.keep, found.keep)]
    left = found.half[found.keep]
    assert d[left[:, None] != left[None]].min() < 9.0
    assert d[left[:, None] == left[None]].min() > 9.0
