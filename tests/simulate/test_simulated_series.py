"""Series of a plan, binned and cropped series, perturbation of poses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.data import Optics
from sta_mpi.simulate.noise import stream
from sta_mpi.simulate.series import (
    SeriesPlan,
    binned_series,
    crop_about,
    nearest_particles,
    perturbed_poses,
    planned_series,
)

PLAN = SeriesPlan(
    pixel_A=4.0, optics=Optics(300.0, 2.7, 0.1), tomogram_size_px=(256, 256, 100),
    image_size_px=(256, 256), tilt_range_deg=(-60, 60, 3), scheme="dose-symmetric", group=1,
    axis_deg=85.0, x_tilt_deg=0.0, shift_sd_A=20.0, dose_per_tilt_e_per_A2=3.0, defocus_A=3e4,
    defocus_sd_A=3000.0, defocus_tilt_sd_A=100.0, astigmatism_A=600.0, astig_deg=30.0,
    phase_shift_deg=0.0, hand=-1, scale_model="cosine", mean_free_path_A=3000.0)


def a_series(seed=1):
    return planned_series("TS_1", PLAN, stream(seed, "TS_1"))


def test_planned_series_is_what_was_planned():
    series = a_series()
    assert series.n_tilts == 41
    assert series.pre_dose_e_per_A2[20] == 0
    assert series.pre_dose_e_per_A2.max() == 120
    assert series.defocus_u_A - series.defocus_v_A == pytest.approx(np.full(41, 600.0))
    assert series.scale[0] == pytest.approx(0.5)
    assert np.std(series.shift_A) == pytest.approx(20.0, rel=0.3)


def test_planned_series_depends_on_the_seed_alone():
    assert np.array_equal(a_series().shift_A, a_series().shift_A)
    assert not np.array_equal(a_series().shift_A, a_series(2).shift_A)


def test_binning_keeps_where_things_are():
    series = a_series()
    binned = binned_series(series, 4)
    assert binned.tomogram_size_px == (64, 64, 26)
    xyz_A = np.array([[100.0, -50.0, 30.0]])
    for i in (0, 17):
        at_px, depth_A = series.position_px(series.view(i), xyz_A)
        binned_px, binned_depth_A = binned.position_px(binned.view(i), xyz_A)
        assert 4 * (binned_px - 32) == pytest.approx(at_px - 128)
        assert binned_depth_A == pytest.approx(depth_A)


@pytest.mark.parametrize("hand", [1, -1])
def test_crop_keeps_images_and_defocus_of_particles(hand):
    series = replace(a_series(), hand=hand)
    xyz_A = np.array([[150.0, -50.0, 130.0], [250.0, 30.0, 90.0]])
    cropped, centre_A = crop_about(series, xyz_A, 80.0)
    assert cropped.image_size_px[0] < 256
    for i, (view, cut) in enumerate(zip(series.views(), cropped.views(), strict=True)):
        before_px, depth_A = series.position_px(view, xyz_A)
        after_px, new_depth_A = cropped.position_px(cut, xyz_A - centre_A)
        moved = before_px - after_px
        assert moved == pytest.approx(np.round(moved), abs=1e-9), i
        assert np.ptp(moved, axis=0) == pytest.approx([0, 0], abs=1e-9)
        assert view.defocus_u_A + series.depth_defocus_A(depth_A) == pytest.approx(
            cut.defocus_u_A + cropped.depth_defocus_A(new_depth_A))
        assert np.all(after_px > 80.0 / 4 - 2)
        assert np.all(after_px < np.array(cropped.image_size_px) - 80.0 / 4 + 2)


def test_nearest_particles_are_a_neighbourhood():
    xyz_A = stream(3, "xyz").uniform(-1000, 1000, (500, 3))
    rows = nearest_particles(xyz_A, 12, stream(3, "choice"))
    assert len(set(rows)) == 12
    assert np.ptp(xyz_A[rows], axis=0).max() < 1000
    assert np.array_equal(nearest_particles(xyz_A, 600, stream(1, "x")), np.arange(500))


def test_perturbation_stays_within_its_bounds_and_fills_them():
    R = Rotation.random(2000, random_state=1).as_matrix()
    turned, moved = perturbed_poses(R, np.zeros((2000, 3)), 6.0, 8.0, stream(1, "p"))
    cosine = (np.trace(turned @ R.transpose(0, 2, 1), axis1=1, axis2=2) - 1) / 2
    angle_deg = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    assert 5.9 < angle_deg.max() <= 6.0 + 1e-6
    # uniform in a ball: the mean distance is 3/4 of the radius
    assert angle_deg.mean() == pytest.approx(4.5, rel=0.03)
    distance_A = np.linalg.norm(moved, axis=1)
    assert distance_A.max() <= 8.0
    assert distance_A.mean() == pytest.approx(6.0, rel=0.03)
    assert np.abs(moved.mean(axis=0)).max() < 0.3
