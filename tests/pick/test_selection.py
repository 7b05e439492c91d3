"""Row filters of particle tables."""

import doctest

import numpy as np
import pytest

from sta_mpi.pick import poses, selection
from sta_mpi.pick.selection import (
    axis_tilt_deg,
    best,
    in_box,
    in_volume,
    limit_per_group,
    random_subset,
    split,
    within,
)


@pytest.mark.parametrize("module", [selection, poses])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


def test_nan_is_in_no_range_and_never_best():
    values = np.array([1.0, np.nan, 3.0])
    assert within(values, None, None).tolist() == [True, False, True]
    assert best(values, count=2).tolist() == [True, False, True]


def test_best_share_is_of_all_rows():
    assert best(np.arange(10.0), share=0.3).tolist() == [False] * 7 + [True] * 3


def test_random_subset_is_reproducible_and_of_the_size_asked_for():
    a, b, c = (random_subset(100, 30, None, np.random.default_rng(s)) for s in (1, 1, 2))
    assert a.sum() == 30
    assert a.tolist() == b.tolist()
    assert a.tolist() != c.tolist()


def test_small_groups_go_and_large_ones_keep_their_best():
    keep = limit_per_group(np.array([5, 5, 5, 7, 8, 8]), np.array([1.0, 9, 5, 9, 2, 1]), 2, 2)
    assert keep.tolist() == [False, True, True, False, True, True]


def test_tilt_is_the_angle_of_the_particles_axis_to_z():
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert axis_tilt_deg(np.stack([np.eye(3), turn, np.diag([1.0, -1, -1])])).round(6).tolist() == [
        0.0, 90.0, 180.0]


def test_box_takes_both_corners():
    position = np.array([[0.0, 0, 0], [1, 1, 1], [1.1, 0, 0]])
    assert in_box(position, (0, 0, 0), (1, 1, 1)).tolist() == [True, True, False]


def test_mask_voxel_of_a_position_counts_from_half_the_size():
    """RELION: p = coordinate / voxel + size / 2, here size 10, 6, 4 and voxel 5 Å."""
    mask = np.zeros((4, 6, 10), np.float32)
    mask[2, 3, 5] = 1.0
    mask[0, 3, 5] = 1.0
    position = np.array([[0.0, 0, 0], [0, 0, -10.0], [0, 0, 5.0], [2.4, -2.4, 0], [2.6, 0, 0],
                         [1e4, 0, 0]])
    assert in_volume(position, mask, 5.0).tolist() == [True, True, False, True, False, False]


def test_parts_hold_every_row_once():
    order = np.random.default_rng(0).permutation(11)
    for parts in (split(11, 3, None, order), split(11, None, 4, order)):
        assert sorted(np.concatenate(parts).tolist()) == list(range(11))
        assert max(map(len, parts)) == 4
