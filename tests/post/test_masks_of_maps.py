"""Masks made from maps, models and other masks: planted shapes are found again."""

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.post.automask import (
    MaskSettings,
    automatic_threshold,
    mask_mass_kDa,
    mask_of_map,
    remove_specks,
    threshold_of_mass,
)
from sta_mpi.post.mask_shapes import (
    body,
    central_stretch,
    combine,
    grown,
    shape_of_atoms,
    surface_distance,
    touches_border,
)
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.masks import soft_sphere

N, VOXEL_A = 64, 4.0


def overlap(a, b):
    """Dice coefficient of two shapes."""
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


def blob_map(noise, seed=1, offset=0.0, scale=1.0):
    """(low-passed map, true shape): an ellipsoid of density 1 in noise."""
    z, y, x = np.indices((N, N, N)) - N // 2
    shape = (z / 18.0) ** 2 + (y / 11.0) ** 2 + (x / 14.0) ** 2 <= 1.0
    rng = np.random.default_rng(seed)
    map_ = shape + noise * rng.standard_normal(shape.shape)
    return lowpass_map((offset + scale * map_).astype(np.float32), VOXEL_A, 20.0), shape


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_automatic_threshold_finds_the_planted_shape_at_any_noise(noise):
    map_, shape = blob_map(noise)
    made = mask_of_map(map_, VOXEL_A, MaskSettings(extend_px=0.0, edge_px=3.0))
    # A surface voxel more all around this ellipsoid is a Dice of 0.93
    assert overlap(made.shape, shape) > 0.90
    assert made.n_islands == 1


def test_automatic_mask_does_not_depend_on_grey_scale_and_offset():
    first = mask_of_map(blob_map(1.0)[0], VOXEL_A, MaskSettings()).mask
    second = mask_of_map(blob_map(1.0, offset=-70.0, scale=35.0)[0], VOXEL_A, MaskSettings()).mask
    # float32 rounding of the offset moves a few voxels of the surface across the threshold
    assert np.abs(first - second).mean() < 1e-3


def test_threshold_of_a_mass_encloses_its_volume():
    map_, shape = blob_map(0.3)
    mass_kDa = mask_mass_kDa(shape, VOXEL_A)
    enclosed = map_ >= threshold_of_mass(map_, VOXEL_A, mass_kDa)
    assert abs(enclosed.sum() / shape.sum() - 1) < 1e-3
    assert overlap(enclosed, shape) > 0.93


def test_specks_go_and_large_neighbours_stay():
    shape = np.zeros((30, 30, 30), bool)
    shape[3:13, 3:13, 3:13] = True
    shape[20:26, 20:26, 20:26] = True
    shape[28, 1, 1] = True
    kept, n_kept, n_removed = remove_specks(shape, 0.05)
    assert (n_kept, n_removed) == (2, 1)
    assert not kept[28, 1, 1]
    assert kept[22, 22, 22]
    assert remove_specks(shape, 0.5)[1] == 1


def test_mask_grows_by_what_is_asked_and_ends_with_its_edge():
    map_, _ = blob_map(0.0)
    thin = mask_of_map(map_, VOXEL_A, MaskSettings(extend_px=0.0, edge_px=0.0))
    wide = mask_of_map(map_, VOXEL_A, MaskSettings(extend_px=4.0, edge_px=6.0))
    x = N // 2
    first = int(np.flatnonzero(thin.mask[x, x])[-1])
    line = wide.mask[x, x, first:]
    assert line[3] == 1.0
    assert 0.0 < line[5] < 1.0
    assert line[11] == 0.0


def test_faulty_maps_are_refused_with_what_to_do():
    flat = np.ones((8, 8, 8), np.float32)
    with pytest.raises(InputError, match="flat"):
        automatic_threshold(flat)
    with pytest.raises(InputError, match="--threshold"):
        mask_of_map(blob_map(0.0)[0], VOXEL_A, MaskSettings(threshold=99.0))
    with pytest.raises(InputError, match="kDa"):
        threshold_of_mass(flat, 1.0, 1e6)
    holes = -np.abs(np.random.default_rng(1).standard_normal((20, 20, 20))).astype(np.float32)
    with pytest.raises(InputError, match="background"):
        automatic_threshold(holes)


def test_logic_of_masks_is_that_of_sets():
    a = soft_sphere(24, 6, 3, (9, 12, 12)) >= 0.5
    b = soft_sphere(24, 6, 3, (14, 12, 12)) >= 0.5
    assert np.array_equal(combine(a, or_=[b]), a | b)
    assert np.array_equal(combine(a, and_=[b]), a & b)
    assert np.array_equal(combine(a, minus=[b]), a & ~b)
    assert np.array_equal(combine(None, or_=[a, b], invert=True), ~(a | b))
    assert np.array_equal(combine(None, and_=[a, b]), a & b)
    with pytest.raises(InputError, match="no mask to begin with"):
        combine(None, minus=[a])
    with pytest.raises(InputError, match="Resample"):
        combine(a, or_=[b[:4]])


def test_growing_a_mask_and_shrinking_it_back_keeps_a_sphere():
    mask = soft_sphere(40, 10, 4)
    again = grown(surface_distance(grown(surface_distance(mask), 4, 3)), -4, 3)
    # the body ends at 1/2 of the edge, at radius 12; half a voxel there is a Dice of 0.94
    assert overlap(body(again), body(mask)) > 0.95
    for by_px in (-4, 3):
        volume = body(grown(surface_distance(mask), by_px, 4)).sum() / body(mask).sum()
        assert abs(volume ** (1 / 3) - (12 + by_px) / 12) < 0.03


def test_mask_that_is_grown_by_nothing_stays_as_it_is():
    mask = soft_sphere(40, 10, 5)
    same = grown(surface_distance(mask), 0, 5)
    assert np.abs(same - mask).max() < 0.25  # half a voxel on an edge of 5
    assert abs(same.mean() / mask.mean() - 1) < 0.05


def test_central_stretch_and_border():
    shape = np.ones((10, 6, 6), bool)
    assert central_stretch(shape, 0.5).any(axis=(1, 2)).tolist() == [
        False, False, False, True, True, True, True, True, False, False]
    assert touches_border(shape)
    shape[[0, -1]] = shape[:, [0, -1]] = shape[:, :, [0, -1]] = False
    assert not touches_border(shape)


def test_mask_around_an_atom_is_a_ball_at_its_place():
    xyz = np.array([[11.3, 8.0, 20.6]])
    shape = shape_of_atoms(xyz, 5.0, (20, 20, 20), 2.0, (-4.0, 0.0, 2.0))
    z, y, x = np.indices((20, 20, 20))
    centres = np.stack([-4.0 + 2 * x, 2.0 * y, 2.0 + 2 * z], -1)
    assert np.array_equal(shape, ((centres - xyz[0]) ** 2).sum(-1) <= 25.0)
    with pytest.raises(InputError, match="no atom of the model lies in the map"):
        shape_of_atoms(xyz + 500, 5.0, (20, 20, 20), 2.0)
