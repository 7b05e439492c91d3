"""Boxes out of tomograms and their weights, against loops written out here."""

import numpy as np
import pytest

from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.observe import BoxObservation
from sta_mpi.align.volume_boxes import clear_places, cut_box, inside_share
from sta_mpi.align.volume_weights import (
    binary_wedge,
    half_of_mask,
    on_finer_grid,
    seen_by_tilts,
    smooth_power,
)
from sta_mpi.geometry.projection import tilt_rotation
from sta_mpi.signal.fft import FftPlans


def test_box_is_cut_around_the_rounded_position():
    volume = np.arange(20 * 22 * 24, dtype=np.int16).reshape(20, 22, 24)
    box = cut_box(volume, np.array([10.4, 9.5, 8.6]), 6)
    assert np.array_equal(box.data, volume[6:12, 7:13, 7:13])
    assert np.allclose(box.remainder_px, [0.4, -0.5, -0.4])
    assert box.inside == 1


@pytest.mark.parametrize("at", [(1.0, 10.0, 10.0), (10.0, 21.0, 10.0), (23.0, 21.0, 0.0)])
def test_box_over_the_edge_is_filled_with_its_mean_and_never_wrapped(at):
    rng = np.random.default_rng(1)
    volume = rng.standard_normal((20, 22, 24)).astype(np.float32)
    box = cut_box(volume, np.array(at), 8)
    padded = np.pad(volume, 8, constant_values=np.nan)
    x, y, z = (int(c) for c in at)
    expected = padded[z + 4 : z + 12, y + 4 : y + 12, x + 4 : x + 12]
    missing = np.isnan(expected)
    assert 0 < box.inside < 1
    assert np.isclose(box.inside, 1 - missing.mean())
    assert np.array_equal(box.data[~missing], expected[~missing])
    assert np.allclose(box.data[missing], np.nanmean(expected), atol=1e-6)
    assert inside_share(np.array([at]), 8, volume.shape)[0] == pytest.approx(box.inside)


def test_box_far_outside_is_empty():
    assert cut_box(np.ones((8, 8, 8)), np.array([100.0, 4, 4]), 4).inside == 0


@pytest.mark.parametrize(("low", "high"), [(-60, 60), (-40, 62), (-70, 10)])
def test_binary_wedge_is_the_region_between_the_end_slices(low, high):
    n = 24
    mask = binary_wedge(n, low, high, 0.0)
    k = np.fft.fftfreq(n) * n
    for iz, kz in enumerate(k):
        for kx in range(n // 2 + 1):
            tilt = 90.0 if kx == 0 else np.degrees(np.arctan2(kz, kx))
            expected = (kx == 0 and kz == 0) or (kx > 0 and low <= tilt <= high)
            near = kx > 0 and min(abs(tilt - low), abs(tilt - high)) < 1e-6
            assert near or (mask[iz, :, kx] == expected).all(), (kz, kx)
    wider = binary_wedge(n, low, high, 1.0)
    assert (wider >= mask).all()
    assert wider.sum() > mask.sum()


def test_graded_wedge_holds_the_share_of_a_voxel_that_was_measured():
    n, low, high = 24, -40, 62
    graded, binary = binary_wedge(n, low, high, 0.0, True), binary_wedge(n, low, high, 0.0)
    across = np.linspace(-0.5, 0.5, 1001)
    n_border = 0
    for iz, kz in enumerate(np.fft.fftfreq(n) * n):
        for kx in range(3, n // 2 + 1):    # nearer, both borders meet in one voxel
            tilt = low if kz < 0 else high
            normal = np.array([-np.sin(np.radians(tilt)), np.cos(np.radians(tilt))])
            x, z = np.array([[kx], [kz]]) + np.outer(normal, across)
            angle = np.degrees(np.arctan2(z, x))
            share = ((angle >= low) & (angle <= high)).mean()
            assert np.abs(graded[iz, :, kx] - share).max() < 2e-3
            n_border += 0.01 < share < 0.99
    assert n_border > 15
    assert (np.abs(graded - binary) <= 0.5 + 1e-6).all()


def test_binary_wedge_holds_the_slices_of_its_tilts():
    # the sign of the tilt: a range of one side only
    tilts = np.arange(0.0, 61.0, 3.0)
    axes = tilt_rotation(np.zeros(len(tilts)), tilts, np.zeros(len(tilts)))[:, :2]
    ones = np.ones((len(tilts), 32, 17), np.float32)
    count = seen_by_tilts(ones, ones, axes).count
    mask = binary_wedge(32, 0, 60, 1.0)
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(
        np.fft.fftfreq(32) * 32, np.fft.fftfreq(32) * 32, np.arange(17), indexing="ij")))
    inside = (radius < 14) & (count > 0.5)
    assert mask[inside].mean() > 0.99
    mirrored = binary_wedge(32, -60, 0, 1.0)
    assert mirrored[inside].mean() < 0.4


def test_weight_of_one_slice_is_its_transfer_squared():
    rng = np.random.default_rng(2)
    transfer = rng.uniform(-1, 1, (1, 16, 9)).astype(np.float32)
    transfer[0, :, 0] = np.abs(transfer[0, 0, 0])    # Friedel mates of a real image are equal
    ones = np.ones_like(transfer)
    seen = seen_by_tilts(transfer, ones, np.eye(3)[None, :2])
    inside = seen.count[0] > 0.9
    assert inside.sum() > 80
    assert np.allclose(seen.weight()[0][inside], transfer[0][inside] ** 2, atol=1e-5)
    filtered = seen.filter(np.ones_like(seen.count))
    assert np.allclose(filtered[0][inside], transfer[0][inside], atol=1e-5)


def test_weights_of_tilts_that_were_weighted_by_their_transfer_add_up():
    transfer = np.full((2, 16, 9), 0.5, np.float32)
    transfer[1] = 0.2
    axes = np.stack([np.eye(3)[:2]] * 2)
    seen = seen_by_tilts(transfer, transfer, axes)
    assert seen.weight()[0, 2, 2] == pytest.approx(0.5**2 + 0.2**2, rel=1e-5)
    plain = seen_by_tilts(transfer, np.ones_like(transfer), axes)
    assert plain.weight()[0, 2, 2] == pytest.approx((0.5 + 0.2) ** 2 / 2, rel=1e-5)


def test_mask_of_a_file_keeps_its_origin():
    mask = np.zeros((8, 8, 8))
    mask[4, 4, 4] = mask[4, 4, 5] = 1
    half = half_of_mask(mask)
    assert half[0, 0, 0] == half[0, 0, 1] == 1
    assert half.sum() == 2


def test_smooth_power_is_a_mean_over_measured_voxels_alone():
    power = np.ones((12, 12, 7)) * 3
    seen = np.ones(power.shape, bool)
    seen[4:6] = False
    power[~seen] = 1e6
    smooth = smooth_power(power, seen, 3)
    assert np.allclose(smooth[seen], 3)
    assert (smooth[~seen] == 0).all()


def test_finer_grid_interpolates_between_the_samples_of_a_box():
    rng = np.random.default_rng(3)
    weight = rng.random((8, 8, 5)).astype(np.float32)
    fine = on_finer_grid(weight, 16)
    assert np.allclose(fine[::2, ::2, ::2], weight, atol=1e-6)
    assert np.isclose(fine[1, 0, 0], 0.5 * (weight[0, 0, 0] + weight[1, 0, 0]))
    assert np.isclose(fine[15, 2, 3], np.mean(weight[[7, 7, 0, 0], 1][:, [1, 2, 1, 2]].mean(
        axis=1)), atol=0.2)


def test_padded_samples_are_those_of_the_padded_box():
    rng, plans = np.random.default_rng(4), FftPlans(effort="estimate")
    box = np.zeros((12, 12, 12), np.float32)
    box[3:9, 3:9, 3:9] = rng.standard_normal((6, 6, 6))
    merged = BoxSamples(plans.rfft3(box), np.ones((12, 12, 7), np.float32), np.eye(3))
    samples = BoxObservation(merged, plans).samples(24)
    padded = np.zeros((24, 24, 24))
    padded[6:18, 6:18, 6:18] = box
    expected = np.fft.rfftn(np.fft.ifftshift(padded)) / 24
    assert np.abs(samples.data_rft - expected).max() < 1e-5
    assert np.allclose(samples.weight_rft, 1)


def test_places_for_the_noise_hold_no_particle():
    rng = np.random.default_rng(5)
    shape = (60, 150, 150)
    particles = rng.uniform([20, 20, 20], [130, 130, 40], (6, 3))
    places = clear_places(particles, 20, 16.0, shape, 12)
    apart = np.linalg.norm(places[:, None] - particles, axis=2)
    assert len(places) >= 4
    assert apart.min() >= 16
    assert (inside_share(places, 20, shape) == 1).all()
    assert len(clear_places(particles, 20, 500.0, shape, 12)) == 0
    assert len(clear_places(particles, 80, 16.0, shape, 12)) == 0
