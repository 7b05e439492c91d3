"""Fitting maps and finding symmetry axes, with planted moves."""

import numpy as np
import pytest
from blobs import blob_map, random_points

from sta_mpi.align.map_fit import best_shift, fit_map, make_band
from sta_mpi.align.move_map import move_map, symmetrise_map
from sta_mpi.align.symmetry_axis import (
    find_symmetry,
    fold_scores,
    generating_operators,
    upright,
)
from sta_mpi.geometry.rotations import (
    angular_distance_deg,
    random_rotations,
    rotation_from_vector,
)
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc

PLANS = FftPlans(effort="estimate")
N = 40
SHIFT = np.array([2.3, -1.4, 0.6])


def noise(seed, sd):
    return (sd * np.random.default_rng(seed).normal(size=(N, N, N))).astype(np.float32)


@pytest.mark.parametrize("sd", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_planted_move_is_found_from_all_rotations(sd):
    R = random_rotations(1, np.random.default_rng(11))[0]
    points = random_points(25, 9.0, 2)
    moving = blob_map(N, points) + noise(0, sd)
    fixed = blob_map(N, points @ R.T + SHIFT) + noise(1, sd)
    move, score = fit_map(moving, fixed, None, 12.0, 8.0, PLANS)
    # the noise fills the whole box; an angle of 1 degree moves the outermost blob by 0.16 px
    assert angular_distance_deg(move.R, R) < (0.1 if sd == 0 else 1.0)
    assert np.abs(move.t_px - SHIFT).max() < (0.01 if sd == 0 else 0.1)
    assert score > (0.97 if sd == 0 else 0.5)


def test_local_fit_finds_a_small_move():
    R = rotation_from_vector(np.radians([6.0, -4.0, 5.0]))
    points = random_points(25, 9.0, 3)
    move, _ = fit_map(blob_map(N, points), blob_map(N, points @ R.T + SHIFT), None, 12.0, 8.0,
                      PLANS, is_global=False)
    assert angular_distance_deg(move.R, R) < 0.1
    assert np.abs(move.t_px - SHIFT).max() < 0.01


@pytest.mark.slow
def test_mirror_image_fits_worse_than_the_map():
    points = random_points(25, 9.0, 4)
    right = fit_map(blob_map(N, points), blob_map(N, points), None, 12.0, 8.0, PLANS)[1]
    wrong = fit_map(blob_map(N, points * [1, 1, -1]), blob_map(N, points), None, 12.0, 8.0,
                    PLANS)[1]
    assert right > 0.99
    assert wrong < 0.7


def test_best_shift_is_the_whole_voxel_shift_that_was_made():
    points = random_points(10, 6.0, 5)
    a = make_band(blob_map(N, points + [2, -4, 2]), None, 1.0, 12.0, PLANS)
    b = make_band(blob_map(N, points), None, 1.0, 12.0, PLANS)
    score, shift = best_shift(a, b, np.eye(3), 10.0)
    assert np.abs(shift - [2, -4, 2]).max() <= 0.5 * a.px_per_own_px
    assert 0.8 < score <= 1.001
    near, limited = best_shift(a, b, np.eye(3), 3.0)
    assert np.linalg.norm(limited) <= 3.0
    assert near < score


def planted(symmetry, R, seed=0, sd=0.0):
    """A map whose axes are turned by R and meet at SHIFT."""
    points = random_points(6, 10.0, seed)
    mates = np.concatenate([points @ S.T for S in symmetry_matrices(symmetry)])
    return blob_map(N, mates @ R.T + SHIFT) + noise(seed, sd)


@pytest.mark.parametrize(("symmetry", "sd"), [("C2", 0.0), ("C6", 0.2), ("C7", 0.0)])
def test_planted_axis_is_found_and_brought_to_z(symmetry, sd):
    R = random_rotations(1, np.random.default_rng(5))[0]
    fit = find_symmetry(planted(symmetry, R, 1, sd), None, symmetry, 12.0, 8.0, PLANS)
    axis = R[:, 2] * np.sign(R[2, 2])
    nearest = SHIFT - axis * (axis @ SHIFT)
    tolerance = 1.0 if sd == 0 else 8.0    # noise of a fifth of a blob's height, whole box
    assert np.degrees(np.arccos(min(1.0, fit.Q[:, 2] @ axis))) < 0.1 * tolerance
    assert np.abs(fit.centre_px - nearest).max() < 0.02 * tolerance
    assert fit.score > fit.before + 0.3
    assert np.allclose(fit.move.R @ fit.Q[:, 2], [0, 0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("symmetry", ["D3", "O", "T", "I2"])
def test_map_moved_by_its_fit_has_the_symmetry_in_the_standard_setting(symmetry):
    R = random_rotations(1, np.random.default_rng(6))[0]
    data = planted(symmetry, R, 2)
    fit = find_symmetry(data, None, symmetry, 10.0, 8.0, PLANS)
    assert np.abs(fit.centre_px - SHIFT).max() < 0.05
    moved = move_map(data, fit.move, PLANS)
    operators = symmetry_matrices(symmetry)
    assert fsc(moved, symmetrise_map(moved, operators, PLANS))[:13].min() > 0.98
    assert fsc(data, symmetrise_map(data, operators, PLANS))[3:10].mean() < 0.7


def test_fold_of_the_axis_shows_in_the_self_correlation():
    data = planted("C6", np.eye(3), 3)
    centred = move_map(data, find_symmetry(data, None, "C6", 10.0, 8.0, PLANS).move, PLANS)
    scores = fold_scores(centred, None, 10.0, range(2, 9), PLANS)
    right = min(scores[n] for n in (2, 3, 6))
    assert right > 0.95
    assert max(scores[n] for n in (4, 5, 7, 8)) < right - 0.05


@pytest.mark.parametrize("symmetry", ["C5", "D2", "D7", "T", "O", "I1"])
def test_generating_operators_make_the_whole_group(symmetry):
    operators = symmetry_matrices(symmetry)
    members = [np.eye(3)]
    generators = generating_operators(operators)
    for member in members:
        for S in generators:
            if min(np.abs(member @ S - m).max() for m in members) > 1e-6:
                members.append(member @ S)
    assert len(members) == len(operators)
    assert len(generators) <= 2


def test_upright_axis_points_up_by_the_shortest_turn():
    Q = rotation_from_vector(np.radians([170.0, 20.0, 50.0]))
    turned, centre = upright(Q, np.array([3.0, 4.0, 5.0]))
    axis = turned[:, 2]
    assert axis[2] >= 0
    assert abs(abs(axis @ Q[:, 2]) - 1) < 1e-9
    assert abs(centre @ axis) < 1e-9
    assert angular_distance_deg(turned, np.eye(3)) == pytest.approx(
        np.degrees(np.arccos(axis[2])))


def test_search_without_symmetry_is_refused():
    with pytest.raises(ValueError, match="C1 has no axes"):
        find_symmetry(blob_map(N, [[0, 0, 0]]), None, "C1", 10.0, 8.0, PLANS)
