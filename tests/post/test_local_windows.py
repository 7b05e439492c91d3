"""Local resolution against planted regions, its noise threshold, and the local filter."""

import numpy as np
import pytest

from sta_mpi.post.local_filter import filter_locally, frequency_map
from sta_mpi.post.local_fsc import (
    lattice_points,
    local_frequency,
    make_window,
    null_threshold,
    pad_for_windows,
    permuted_places,
    whiten_halves,
    windowed_fsc,
)
from sta_mpi.signal.filters import b_factor_map, lowpass_map
from sta_mpi.signal.fsc import fsc, resolution_A
from sta_mpi.signal.masks import soft_sphere

N, VOXEL_A = 72, 2.0


def white(seed, n=N):
    return np.random.default_rng(seed).standard_normal((n, n, n)).astype(np.float32)


def measure(maps, window_px, step_px=6, radius=26, threshold=0.143):
    """(points, local resolution, thresholds)."""
    window = make_window(window_px)
    padded = [pad_for_windows(m, window) for m in whiten_halves(*maps)]
    mask = soft_sphere(N, radius, 0) > 0.5
    points = lattice_points(mask, step_px)
    everywhere = lattice_points(np.ones_like(mask), step_px)
    pairs = permuted_places(points, everywhere, 300, window_px, np.random.default_rng(5))
    null = windowed_fsc(*padded, *pairs, window)
    thresholds = null_threshold(null, threshold, 0.05)
    curves = windowed_fsc(*padded, points, points, window)
    return points, 1.0 / local_frequency(curves, thresholds, window, VOXEL_A), thresholds


def test_uniform_map_has_its_global_resolution_everywhere():
    signal = 4.0 * b_factor_map(white(1), VOXEL_A, 300.0)
    maps = [(signal + white(2 + i)).astype(np.float32) for i in (0, 1)]
    whole = resolution_A(fsc(*maps), VOXEL_A, N, rule="interpolated")
    _, found, _ = measure(maps, round(10 * whole / VOXEL_A))
    # a window adds its own width, 1 / diameter, to the frequency: up to 5 % at 10 resolutions
    assert abs(np.median(found) / whole - 1) < 0.06
    assert np.percentile(found, 95) / np.percentile(found, 5) < 1.3


def test_two_regions_get_their_own_resolutions():
    x = np.arange(N) - N // 2
    fine = 6.0 * b_factor_map(white(1), VOXEL_A, 150.0)
    coarse = 6.0 * b_factor_map(white(1), VOXEL_A, 600.0)
    signal = np.where((x < 0)[None, None, :], fine, coarse)
    noise = [white(2 + i) for i in (0, 1)]
    maps = [(signal + e).astype(np.float32) for e in noise]
    truth = {name: resolution_A(fsc(*(s + e for e in noise)), VOXEL_A, N, rule="interpolated")
             for name, s in (("fine", fine), ("coarse", coarse))}
    points, found, _ = measure(maps, 28)
    left, right = points[:, 2] < N // 2 - 14, points[:, 2] > N // 2 + 14
    assert truth["coarse"] > 1.8 * truth["fine"]
    # the window is only 5 times the coarse resolution wide: its width adds 10 %
    assert abs(np.median(found[left]) / truth["fine"] - 1) < 0.08
    assert abs(np.median(found[right]) / truth["coarse"] - 1) < 0.16


def test_noise_has_no_local_resolution():
    maps = [white(2), white(3)]
    window_px = 24
    _, found, thresholds = measure(maps, window_px)
    # the search starts at the first shell whose threshold is telling, and nearly all stay there
    start = int(np.flatnonzero(thresholds[1:] <= 0.5)[0]) + 1
    worst = make_window(window_px).edge_px * VOXEL_A / start
    # 5 % of noise windows pass a shell, and neighbouring shells share half their noise
    assert np.mean(found > 0.6 * worst) > 0.85
    # a fixed 0.143 would let a third of them through: few samples scatter more than that
    assert thresholds[start] > 0.25


def test_threshold_falls_to_the_nominal_one_where_there_are_many_samples():
    _, _, thresholds = measure([white(2), white(3)], 40)
    assert thresholds[-1] == pytest.approx(0.143)
    assert (np.diff(thresholds[1:]) < 0.05).all()


def test_permuted_windows_do_not_overlap():
    mask = soft_sphere(N, 26, 0) > 0.5
    points = lattice_points(mask, 4)
    first, second = permuted_places(points, points, 200, 20.0, np.random.default_rng(1))
    assert np.linalg.norm(first - second, axis=1).min() >= 20.0


def test_masked_half_maps_give_no_curve_where_they_are_empty():
    inside = soft_sphere(N, 10, 2)
    maps = [white(2) * inside, white(3) * inside]
    window = make_window(12)
    padded = [pad_for_windows(m, window) for m in maps]
    curves = windowed_fsc(*padded, np.array([[36, 36, 36], [4, 4, 4]]),
                          np.array([[36, 36, 36], [4, 4, 4]]), window)
    assert np.isfinite(curves[0]).all()
    assert np.isnan(curves[1]).all()
    assert np.isnan(local_frequency(curves, np.full(7, 0.143), window, VOXEL_A)[1])


def test_curve_of_a_window_does_not_depend_on_the_others():
    padded = [pad_for_windows(m, make_window(16)) for m in (white(2), white(3))]
    points = lattice_points(np.ones((N,) * 3, bool), 16)
    together = windowed_fsc(*padded, points, points, make_window(16))
    alone = windowed_fsc(*padded, points[[7]], points[[7]], make_window(16))
    assert np.array_equal(together[7], alone[0])


def test_lattice_goes_through_the_centre_voxel_and_stays_in_the_mask():
    mask = soft_sphere(20, 5, 0) > 0.5
    points = lattice_points(mask, 3)
    assert [10, 10, 10] in points.tolist()
    assert mask[tuple(points.T)].all()


def test_frequency_map_is_exact_at_the_points_and_linear_between():
    points = lattice_points(np.ones((16, 16, 16), bool), 4)
    values = points @ np.array([0.1, 0.02, 0.003]) + 1.0
    found = frequency_map(values, points, 4, (16, 16, 16))
    z, y, x = np.indices((16, 16, 16))
    expected = 1.0 + 0.1 * z + 0.02 * y + 0.003 * x
    inner = np.s_[:13, :13, :13]
    assert np.abs(found - expected)[inner].max() < 1e-6
    assert found[15, 0, 0] == found[12, 0, 0]


def test_missing_points_take_the_value_of_the_nearest():
    points = np.array([[8, 8, 8]])
    found = frequency_map(np.array([0.25]), points, 4, (16, 16, 16))
    assert (found == 0.25).all()


def test_local_filter_at_one_frequency_is_the_plain_lowpass():
    map_ = white(4, 32)
    s = np.full((32, 32, 32), 1 / 10.0, np.float32)
    assert np.abs(filter_locally(map_, s, VOXEL_A) - lowpass_map(map_, VOXEL_A, 10.0)).max() < 1e-5


def test_local_filter_keeps_detail_where_it_is_resolved_and_takes_it_elsewhere():
    map_ = white(4, 48)
    s = np.full((48, 48, 48), 1 / 16.0, np.float32)
    s[:, :, :24] = 1 / 5.0
    found = filter_locally(map_, s, VOXEL_A)
    fine, coarse = lowpass_map(map_, VOXEL_A, 5.0), lowpass_map(map_, VOXEL_A, 16.0)
    assert np.abs(found - fine)[:, :, :23].max() < 1e-5
    assert np.abs(found - coarse)[:, :, 25:].max() < 1e-5
