"""Soft masks against their formula, analytic volumes and symmetry."""

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.signal.masks import (
    apply_mask,
    extend,
    mask_from_map,
    soft_circle,
    soft_cylinder,
    soft_edge,
    soft_shell,
    soft_sphere,
)


@pytest.mark.parametrize("n", [31, 32])
def test_sphere_is_one_inside_zero_beyond_the_edge_and_a_cosine_between(n):
    mask = soft_sphere(n, 8.0, 4.0)
    line = mask[n // 2, n // 2, n // 2:]
    assert mask.dtype == np.float32
    assert (line[:9] == 1.0).all()
    assert (line[12:] == 0.0).all()
    assert np.allclose(line[9:12], [0.5 + 0.5 * np.cos(np.pi * d / 4) for d in (1, 2, 3)])


def test_sphere_is_centred_on_voxel_n_over_2():
    for n in (31, 32):
        mask = soft_sphere(n, 5.0, 3.0)
        centre = [(mask * grid).sum() / mask.sum() for grid in np.indices(mask.shape)]
        assert np.allclose(centre, n // 2, atol=1e-5)


def test_sphere_can_be_moved_along_xyz():
    mask = soft_sphere(32, 3.0, 2.0, centre_xyz_px=(10.0, 16.0, 20.5))
    z, y, x = [(mask * grid).sum() / mask.sum() for grid in np.indices(mask.shape)]
    assert np.allclose([x, y, z], [10, 16, 20.5], atol=1e-4)


def test_sphere_holds_the_volume_of_a_sphere():
    assert abs(soft_sphere(64, 20.0, 0.0).sum() / (4 / 3 * np.pi * 20.0**3) - 1) < 0.01


def test_circle_is_the_equator_of_the_sphere():
    assert np.array_equal(soft_circle(32, 9.0, 4.0), soft_sphere(32, 9.0, 4.0)[16])


def test_shell_is_open_in_the_middle_and_soft_on_both_sides():
    line = soft_shell(64, 10.0, 15.0, 4.0)[32, 32, 32:]
    assert (line[10:16] == 1.0).all()
    assert np.allclose(line[[8, 17]], 0.5)
    assert line[5] == 0.0
    assert line[20] == 0.0
    with pytest.raises(InputError, match="inner < outer"):
        soft_shell(32, 9.0, 5.0, 1.0)


@pytest.mark.parametrize(("axis", "i_axis"), [("z", 0), ("y", 1), ("x", 2)])
def test_cylinder_stands_along_its_axis(axis, i_axis):
    mask = np.moveaxis(soft_cylinder(64, 8.0, 20.0, 4.0, axis), i_axis, 0)
    assert np.array_equal(mask[32], mask[24])
    assert (mask[32, 32, 32:41] == 1.0).all()
    assert mask[32, 32, 44] == 0.0
    assert np.isclose(mask[32 + 12, 32, 32], 0.5)  # 2 px beyond the lid of half height 10
    assert mask[32 + 14, 32, 32] == 0.0


def test_soft_edge_depends_on_the_distance_to_the_shape():
    binary = np.zeros((20, 20, 20), bool)
    binary[5:8, 9, 9] = True
    mask = soft_edge(binary, 4.0)
    assert (mask[binary] == 1.0).all()
    voxels = np.argwhere(binary)
    for point in [(6, 11, 9), (10, 9, 9), (4, 8, 8), (6, 12, 12), (0, 0, 0)]:
        d = np.sqrt(((voxels - point) ** 2).sum(axis=1)).min()
        expected = 0.5 + 0.5 * np.cos(np.pi * d / 4) if d < 4 else 0.0
        assert abs(mask[point] - expected) < 1e-6


def test_soft_edge_of_nothing_is_nothing():
    assert not soft_edge(np.zeros((4, 4, 4), bool), 3.0).any()


def test_extending_takes_the_voxels_nearer_than_the_distance():
    binary = np.zeros((21, 21, 21), bool)
    binary[10, 10, 10] = True
    grown = extend(binary, 4.0)
    d2 = sum((g - 10) ** 2 for g in np.indices(binary.shape))
    assert np.array_equal(grown, d2 < 16)
    assert np.array_equal(extend(binary, 0.0), binary)
    ball = d2 <= 49
    assert extend(ball, -3.0).sum() < ball.sum()
    assert extend(ball, -3.0)[10, 10, 10]


def test_mask_from_map_covers_the_density_and_refuses_an_impossible_threshold():
    density = soft_sphere(32, 5.0, 6.0)
    mask = mask_from_map(density, 0.5, 3.0, 3.0)
    assert (mask[density >= 0.5] == 1.0).all()
    assert 0.0 <= mask.min() <= mask.max() <= 1.0
    assert mask[0, 0, 0] == 0.0
    with pytest.raises(InputError, match="no voxel"):
        mask_from_map(density, 2.0, 3.0, 3.0)
    with pytest.raises(InputError, match="every voxel"):
        mask_from_map(density, -1.0, 3.0, 3.0)


def test_masking_removes_the_mean_of_the_outside_first():
    mask = soft_circle(32, 8.0, 4.0)
    image = np.full((3, 32, 32), 5.0, np.float32)
    image[:, 16, 16] += 2.0
    masked = apply_mask(image, mask)
    assert masked.shape == image.shape
    assert np.allclose(masked[:, 16, 16], 2.0, atol=1e-5)
    masked[:, 16, 16] = 0.0
    assert np.abs(masked).max() < 1e-5
