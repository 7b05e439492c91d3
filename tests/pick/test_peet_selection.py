"""Which particles a PEET average takes, first orientations, scores on one footing."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.pick.peet_selection import (
    Choice,
    adjusted_by_elevation,
    adjusted_by_group,
    choose,
    duplicates,
)
from sta_mpi.pick.peet_start import end_point_axes, first_orientations, next_point_axes


def test_threshold_up_to_one_is_a_score_and_beyond_a_number():
    score = np.array([0.1, 0.5, np.nan, 0.9, 0.3])
    may = np.array([1, 1, 1, 1, 0], bool)
    tomogram = np.zeros(5, np.int32)
    assert choose(score, may, tomogram, Choice(0.3)).tolist() == [0, 1, 0, 1, 0]
    assert choose(score, may, tomogram, Choice(2)).tolist() == [0, 1, 0, 1, 0]
    assert choose(score, may, tomogram, Choice(99)).tolist() == [1, 1, 1, 1, 0]


def test_equal_numbers_of_tomograms_as_far_as_there_are():
    tomogram = np.repeat(np.arange(3, dtype=np.int32), [2, 10, 10])
    score = np.arange(22.0)
    chosen = choose(score, np.ones(22, bool), tomogram, Choice(14, all_tomograms=False))
    assert np.bincount(tomogram[chosen]).tolist() == [2, 6, 6]
    assert chosen[6:12].all()    # the best of each
    assert choose(score, np.ones(22, bool), tomogram, Choice(14)).sum() == 14


def test_random_choice_is_that_of_its_seed_alone():
    score, tomogram = np.arange(50.0), np.zeros(50, np.int32)
    first, again, other = (choose(score, np.ones(50, bool), tomogram,
                                  Choice(10, at_random=True), np.random.default_rng(s))
                           for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.sum() == 10
    assert score[first].min() < 30


def test_elevation_trend_is_taken_out_of_scores():
    rng = np.random.default_rng(3)
    R = Rotation.random(4000, random_state=5).as_matrix()
    height = np.abs(R[:, 2, 1])
    quality = rng.normal(0, 0.02, 4000)
    adjusted = adjusted_by_elevation(0.5 - 0.3 * height + quality, R)
    assert abs(np.corrcoef(adjusted, height)[0, 1]) < 0.1
    assert np.corrcoef(adjusted, quality)[0, 1] > 0.95
    assert abs(np.median(adjusted) - 0.35) < 0.03


def test_groups_of_wedge_directions_get_one_median():
    rng = np.random.default_rng(4)
    R = Rotation.random(2000, random_state=6).as_matrix()
    beam_y = np.abs(R[:, 2, 1])    # the beam in the reference, along y
    score = (0.4 + 0.2 * beam_y) * rng.normal(1, 0.05, 2000)
    adjusted = adjusted_by_group(score, R, 16)
    low, high = beam_y < 0.25, beam_y > 0.75
    assert np.median(score[high]) / np.median(score[low]) > 1.15
    assert np.median(adjusted[high]) / np.median(adjusted[low]) == pytest.approx(1, abs=0.04)
    assert np.array_equal(adjusted_by_group(score, R, 1), score)


def test_duplicates_lie_within_a_cube_and_an_angle_modulo_symmetry():
    position = np.array([[0, 0, 0], [1.9, 1.9, 1.9], [2.1, 0, 0], [0, 0, 0]])
    tomogram = np.array([0, 0, 0, 1], np.int32)
    score = np.array([0.5, 0.9, 0.7, 0.1])
    R = np.tile(np.eye(3), (4, 1, 1))
    one = np.eye(3)[None]
    assert duplicates(position, tomogram, score, R, 2.0, 0.0, one).tolist() == [1, 0, 1, 0]
    assert not duplicates(position, tomogram, score, R, 0.0, 0.0, one).any()
    R[1] = Rotation.from_euler("y", 121, degrees=True).as_matrix()
    three = Rotation.from_euler("y", [[0.0], [120.0], [240.0]], degrees=True).as_matrix()
    three = three.reshape(3, 3, 3)
    assert duplicates(position, tomogram, score, R, 2.0, 5.0, one).tolist() == [0, 0, 0, 0]
    assert duplicates(position, tomogram, score, R, 2.0, 5.0, three).tolist() == [1, 0, 1, 0]


def test_first_orientations_bring_y_to_the_axis():
    rng = np.random.default_rng(7)
    axes = rng.normal(size=(30, 3))
    unit = axes / np.linalg.norm(axes, axis=1)[:, None]
    assert np.allclose(first_orientations(2, axes, rng)[:, :, 1], unit)
    twisted = first_orientations(4, axes, rng)
    assert np.allclose(twisted[:, :, 1], unit)
    assert np.abs(twisted - first_orientations(2, axes, rng)).max() > 1
    flat = first_orientations(1, axes, rng)
    assert np.allclose(flat[:, 2], [0, 0, 1])    # a turn about z alone
    assert np.allclose(np.cross(flat[:, :2, 1], unit[:, :2]), 0, atol=1e-9)
    assert np.allclose(first_orientations(0, axes, rng), np.eye(3))
    random = first_orientations(3, axes, rng)
    assert np.allclose(np.linalg.det(random), 1)
    assert abs(random[:, :, 1].mean()) < 0.3


def test_axes_follow_the_contours():
    line = np.array([[0, 0, 0], [2, 0, 0], [2, 3, 0.0]])
    alone = np.array([[5, 5, 5.0]])
    assert np.allclose(next_point_axes([line, alone]),
                       [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
    ends = end_point_axes([line, alone])
    assert np.allclose(ends[:3], np.array([2, 3, 0]) / np.sqrt(13))
    assert np.allclose(ends[3], [0, 1, 0])
