"""PEET's frame, search lists, filters and masks, against formulas written out here."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.peet_frame import cropped, fitted_box, from_peet_map, to_peet_map
from sta_mpi.align.peet_mask import blurred, cylinder_mask, file_mask, shell_mask
from sta_mpi.align.peet_search import (
    band_of,
    cube_shifts,
    highpass,
    lowpass,
    offset_rotations,
    sphere_rotations,
    start_offsets,
    symmetry_turns,
)
from sta_mpi.align.single_reference import enlarged, particle_map
from sta_mpi.geometry.peet import rp2t_from_peet
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.signal.fft import FftPlans

Z_TO_Y = Rotation.from_euler("x", -90, degrees=True).as_matrix()


@pytest.mark.parametrize("n", [8, 9])
def test_map_turns_with_the_axes_of_its_particle(n):
    # a voxel at u in PEET's reference lies at the same place of the tomogram in both frames
    rng = np.random.default_rng(n)
    R = Rotation.random(random_state=n).as_matrix()
    for _ in range(5):
        u = rng.integers(-3, 4, 3)
        peet = np.zeros((n, n, n), np.float32)
        peet[tuple(u[::-1] + n // 2)] = 1
        ours = from_peet_map(peet)
        x = np.argwhere(ours)[0][::-1] - n // 2
        assert np.allclose(rp2t_from_peet(R) @ x, R @ u)
        assert np.array_equal(to_peet_map(ours), peet)


def test_any_map_survives_the_way_there_and_back():
    data = np.random.default_rng(1).random((10, 10, 10)).astype(np.float32)
    assert np.array_equal(to_peet_map(from_peet_map(data)), data)
    assert np.array_equal(from_peet_map(to_peet_map(data)), data)


def test_map_of_another_size_keeps_its_centre_voxel():
    small = np.zeros((5, 6, 7), np.float32)
    small[2, 3, 3] = 1
    box = fitted_box(small, 12)
    assert box.shape == (12, 12, 12)
    assert box[6, 6, 6] == 1
    assert box.sum() == 1
    assert np.array_equal(np.argwhere(fitted_box(box, 4)), [[2, 2, 2]])
    assert cropped(box, (4, 6, 8)).shape == (8, 6, 4)
    assert cropped(box, (4, 6, 8))[4, 3, 2] == 1


def test_candidates_are_twist_then_theta_then_psi():
    turns = offset_rotations([0, 10], [0, 5], [0, -7])
    assert np.array_equal(turns[0], np.eye(3))
    assert len(turns) == 8
    y, z, x = (Rotation.from_euler(a, d, degrees=True).as_matrix()
               for a, d in (("y", 10), ("z", 5), ("x", -7)))
    R = Rotation.random(random_state=3).as_matrix()
    expected = R @ x @ z @ y    # in PEET's axes
    found = rp2t_from_peet(R) @ turns @ Z_TO_Y.T
    assert np.abs(found - expected).max(axis=(1, 2)).min() < 1e-12


def test_spherical_list_covers_all_directions_once():
    turns = sphere_rotations(30.0, [0.0], is_half=False)
    axis = (turns @ np.array([0, 0, 1.0]))    # our axis is PEET's y
    assert len(turns) == 1 + 6 + 10 + 12 + 10 + 6 + 1
    angles = np.degrees(np.arccos(np.clip(axis @ axis.T, -1, 1))) + 999 * np.eye(len(axis))
    assert angles.min() > 20
    probe = Rotation.random(200, random_state=4).apply([0, 0, 1.0])
    assert np.degrees(np.arccos((probe @ axis.T).max(axis=1))).max() < 30
    half = sphere_rotations(30.0, [0.0, 60.0], is_half=True)
    assert (half @ np.array([0, 0, 1.0]))[:, 2].min() > -1e-9
    assert len(half) == 2 * (1 + 6 + 10 + 12)
    # the axis stays where it is in the first, and the twist of it is none
    assert np.allclose(half[0], np.eye(3))


def test_turns_of_a_symmetry_are_about_the_axis():
    turns = symmetry_turns(3)
    assert np.allclose(turns[:, :, 2], [0, 0, 1])
    assert np.allclose(angular_distance_deg(np.eye(3), turns), [0, 120, 120])


@pytest.mark.parametrize("largest", [0, 4, 6, 9, 20, 45, 100, 180])
def test_every_angle_of_a_range_is_near_a_start(largest):
    starts = start_offsets(largest)
    assert 0.0 in np.round(starts, 9)
    inside = np.linspace(-largest, largest, 99)
    apart = np.abs((inside[:, None] - starts + 180) % 360 - 180).min(axis=1)
    assert apart.max() <= 6.0 + 1e-6
    assert len(starts) <= 2 * largest / 8 + 2


def test_shifts_of_the_grid_fill_the_box_nearest_first():
    shifts = cube_shifts((1, 2, 0))
    assert len(shifts) == 15
    assert np.array_equal(shifts[0], [0, 0, 0])
    assert (np.abs(shifts).max(axis=0) == [1, 2, 0]).all()


def test_filters_have_peets_form():
    k = np.array([0.0, 0.1, 0.2, 0.25])
    assert np.allclose(lowpass(k, 0.2, 0.05), [1, 1, 1, np.exp(-0.5)])
    assert np.allclose(highpass(k, 0.1, 0.05), [np.exp(-2), 1, 1, 1])
    assert (lowpass(k, 0.866, 0.05) == 1).all()
    assert (highpass(k, 0.0, 0.05) == 1).all()
    assert np.array_equal(lowpass(k, 0.2, 0.0), [1, 1, 1, 0])
    assert band_of((0.2, 0.05), (0.1, 0.02), 40) == pytest.approx((2.4, 12.0))
    assert band_of((0.9, 0.05), (0.0, 0.05), 40) == (0.0, 20.0)


def test_shell_and_cylinder_keep_what_lies_between_their_radii():
    z, y, x = np.ogrid[:16, :16, :16]
    r2 = (x - 8) ** 2 + (y - 8) ** 2 + (z - 8) ** 2
    assert np.array_equal(shell_mask(16, 3, 6) == 1, (r2 >= 9) & (r2 <= 36))
    assert np.array_equal(shell_mask(16, np.nan, 6) == 1, r2 <= 36)
    across = (x - 8) ** 2 + (z - 8) ** 2 + 0 * y
    mask = cylinder_mask(16, 0, 4, 6)
    assert np.array_equal(mask == 1, (across <= 16) & (np.abs(y - 8) <= 3))
    # z first: +y to -x
    along_x = cylinder_mask(16, 0, 4, np.nan, (90.0, 0.0))
    assert np.array_equal(along_x == 1, (y - 8) ** 2 + (z - 8) ** 2 + 0 * x <= 16)
    # then y: -x to +z
    along_z = cylinder_mask(16, 0, 4, np.nan, (90.0, 90.0))
    assert np.array_equal(along_z == 1, (y - 8) ** 2 + (x - 8) ** 2 + 0 * z <= 16)


def test_file_mask_is_extended_with_the_majority_of_its_corners():
    small = np.zeros((6, 6, 6), np.float32)
    small[2:4, 2:4, 2:4] = 7
    mask = file_mask(small, 10)
    assert mask.sum() == 8
    assert mask[4:6, 4:6, 4:6].all()
    assert file_mask(np.ones((6, 6, 6), np.float32), 10).all()
    assert file_mask(mask, 4).shape == (4, 4, 4)


def test_blurred_edge_is_a_gaussian_of_the_hard_one():
    mask = blurred(shell_mask(40, 0, 12), 2.0)
    line = mask[20, 20, 20:]
    assert line[12] == pytest.approx(0.5, abs=0.12)
    assert line[6] > 0.99
    assert line[18] < 0.01
    assert np.array_equal(blurred(mask, np.nan), mask)


def test_one_particle_becomes_a_map_in_its_own_axes():
    plans, n = FftPlans(effort="estimate"), 16
    z, y, x = (g - n // 2 for g in np.ogrid[:n, :n, :n])
    R = Rotation.from_euler("xyz", [30, 40, 50], degrees=True).as_matrix()

    def blobs(R):
        """Three blobs at R times their places in the reference."""
        places = R @ np.array([[4, 0, 0], [0, 3, 0], [0, 0, -4.0]]).T
        return sum(w * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2 + (z - p[2]) ** 2) / 4)
                   for w, p in zip((1, 2, 3), places.T, strict=True)).astype(np.float32)

    seen = np.ones((n, n, n // 2 + 1), np.float32)
    samples = BoxSamples(plans.rfft3(blobs(R)), seen, np.eye(3))
    found = particle_map(samples, R, plans)
    assert np.corrcoef(found.ravel(), blobs(np.eye(3)).ravel())[0, 1] > 0.99
    assert np.corrcoef(found.ravel(), blobs(R.T).ravel())[0, 1] < 0.9
    # what was not measured stays empty
    noise = np.random.default_rng(1).standard_normal((n, n, n)).astype(np.float32)
    seen[4:12] = 0
    half_seen = particle_map(BoxSamples(plans.rfft3(noise) * seen, seen, np.eye(3)), np.eye(3),
                             plans)
    assert np.isfinite(half_seen).all()
    assert half_seen.std() < 1


def test_coarse_map_keeps_its_values_and_centre_on_a_finer_grid():
    z, y, x = np.ogrid[:12, :12, :12]
    coarse = np.exp(-((x - 7) ** 2 + (y - 6) ** 2 + (z - 5) ** 2) / 4.0).astype(np.float32)
    fine = enlarged(coarse, 24)
    assert np.allclose(fine[::2, ::2, ::2], coarse, atol=0.02)
    assert np.unravel_index(np.argmax(fine), fine.shape) == (10, 12, 14)
