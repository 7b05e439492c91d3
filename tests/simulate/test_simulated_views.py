"""Absolute facts of the forward model, computed by hand here."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from sta_mpi.data import Optics
from sta_mpi.simulate.image import Objects, patch_size_px, render_tilt, signal_power
from sta_mpi.simulate.phantom import GaussianPhantom
from sta_mpi.simulate.tilts import (
    SeriesGeometry,
    acquisition_order,
    pre_doses,
    tilt_angles,
    tilt_matrix,
    tilt_scales,
)
from sta_mpi.simulate.wave import delocalisation_A, dose_damping, transfer, wavelength_A

PIXEL_A = 5.0


def series(tilts_deg, **changes):
    n = len(tilts_deg)
    zero = np.zeros(n)
    geometry = SeriesGeometry(
        "ts", PIXEL_A, Optics(300.0, 2.7, 0.1), zero, np.array(tilts_deg, float), zero,
        np.zeros((n, 2)), zero, zero, zero, zero, zero, np.ones(n), zero, -1,
        (256, 256, 128), (256, 200))
    return replace(geometry, **changes)


def one_blob(sigma_A=10.0, mass=1e4):
    return GaussianPhantom(np.zeros((1, 3)), np.array([sigma_A]), np.array([mass]))


def at(xyz, phantom=None):
    return [Objects(phantom or one_blob(), np.eye(3)[None], np.array([xyz], float))]


def blob_pixel(image):
    """Centroid x, y of a dark spot."""
    dark = np.clip(-image - 0.2 * (-image).max(), 0, None)
    y, x = center_of_mass(dark)
    return np.array([x, y])


def test_blob_lands_at_the_hand_computed_pixel_at_30_degrees():
    geometry = series([30.0])
    image = render_tilt(at((100.0, 60.0, 80.0)), geometry, 0)
    c, s = math.sqrt(3) / 2, 0.5
    expected = np.array([128 + (100 * c + 80 * s) / PIXEL_A, 100 + 60 / PIXEL_A])
    assert image.shape == (200, 256)
    assert np.abs(blob_pixel(image) - expected).max() < 0.02


def test_tilt_axis_angle_turns_x_towards_y():
    geometry = series([0.0], axis_deg=np.array([90.0]))
    assert np.abs(blob_pixel(render_tilt(at((100.0, 0, 0)), geometry, 0)) - [128, 120]).max() < 0.02


def test_shift_moves_the_image_by_itself():
    geometry = series([0.0], shift_A=np.array([[37.0, -21.0]]))
    expected = [128 + 37 / PIXEL_A, 100 - 21 / PIXEL_A]
    assert np.abs(blob_pixel(render_tilt(at((0, 0, 0)), geometry, 0)) - expected).max() < 0.02


def test_orientation_turns_the_particle_before_the_tilt():
    two = GaussianPhantom(np.array([[0, 0, 0], [80.0, 0, 0]]), np.full(2, 10.0),
                          np.array([1e4, 3e4]))
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    objects = [Objects(two, quarter[None], np.zeros((1, 3)))]
    image = render_tilt(objects, series([0.0]), 0)
    y, x = np.unravel_index(image.argmin(), image.shape)
    assert (x, y) == (128, 100 + 16)


def test_protein_is_dark_under_underfocus():
    geometry = series([0.0], defocus_u_A=np.array([3e4]), defocus_v_A=np.array([3e4]))
    image = render_tilt(at((0, 0, 0)), geometry, 0)
    assert image[100, 128] == image.min()
    assert abs(image.min()) > 2 * abs(image.max())


def test_matrix_equals_turns_about_fixed_axes():
    expected = Rotation.from_euler("xyz", [7, -33, 81], degrees=True).as_matrix()
    assert np.abs(tilt_matrix(7, -33, 81) - expected).max() < 1e-12


def test_wavelength_at_300_kV_is_the_textbook_value():
    assert wavelength_A(300) == pytest.approx(0.0196875, rel=1e-5)
    assert wavelength_A(200) == pytest.approx(0.0250793, rel=1e-5)


def test_transfer_at_zero_frequency_is_the_amplitude_contrast():
    zero = np.zeros(1)
    value = transfer(zero, zero, 2e4, 2e4, 0, voltage_kV=300, cs_mm=2.7, amp_contrast=0.1)
    assert value[0] == pytest.approx(0.1)


def test_first_zero_of_the_transfer_is_where_the_phase_completes_pi():
    s = np.linspace(1e-3, 0.05, 20000)
    values = transfer(s, 0 * s, 3e4, 3e4, 0, voltage_kV=300, cs_mm=2.7, amp_contrast=0.07)
    zero = s[np.flatnonzero(np.diff(np.sign(values)))[0]]
    expected = math.sqrt((math.pi - math.asin(0.07)) / (math.pi * 0.0196875 * 3e4))
    assert values[0] > 0
    assert zero == pytest.approx(expected, rel=1e-3)


def test_astigmatism_gives_defocus_u_along_its_angle():
    s = 0.03
    along = (s * math.cos(math.radians(25)), s * math.sin(math.radians(25)))
    optics = {"voltage_kV": 300, "cs_mm": 2.7, "amp_contrast": 0.1}
    astigmatic = transfer(np.array(along[0]), np.array(along[1]), 3e4, 2e4, 25, **optics)
    assert astigmatic == pytest.approx(
        transfer(np.array(s), np.array(0.0), 3e4, 3e4, 0, **optics), abs=1e-9)
    across = transfer(np.array(-along[1]), np.array(along[0]), 3e4, 2e4, 25, **optics)
    assert across == pytest.approx(
        transfer(np.array(s), np.array(0.0), 2e4, 2e4, 0, **optics), abs=1e-9)


def test_quarter_wave_phase_shift_gives_full_contrast_at_low_frequency():
    zero = np.zeros(1)
    value = transfer(zero, zero, 0, 0, 0, voltage_kV=300, cs_mm=2.7, amp_contrast=0.0,
                     phase_shift_deg=90)
    assert value[0] == pytest.approx(1.0)


@pytest.mark.parametrize("hand", [1, -1])
def test_defocus_follows_depth_with_the_sign_of_the_hand(hand):
    geometry = series([60.0], hand=hand)
    view = geometry.view(0)
    _, depth = geometry.position_px(view, np.array([[-100.0, 0, 0], [100.0, 0, 0]]))
    # at +60° about y a point at -x has gone up the beam by sin 60
    assert depth == pytest.approx([86.6025, -86.6025], abs=1e-3)
    assert geometry.depth_defocus_A(depth) == pytest.approx(hand * depth)


def test_wrong_hand_is_visible_in_the_image_of_a_tilted_particle():
    phantom = one_blob(2.5)
    geometry = series([50.0], defocus_u_A=np.array([2e4]), defocus_v_A=np.array([2e4]))
    here = (900.0, 0, 0)
    right = render_tilt(at(here, phantom), geometry, 0)
    wrong = render_tilt(at(here, phantom), replace(geometry, hand=1), 0)
    assert np.corrcoef(right.ravel(), wrong.ravel())[0, 1] < 0.97
    flat = series([0.0], defocus_u_A=np.array([2e4]), defocus_v_A=np.array([2e4]))
    assert np.array_equal(render_tilt(at(here, phantom), flat, 0),
                          render_tilt(at(here, phantom), replace(flat, hand=1), 0))


def test_dose_damping_at_its_critical_exposure_is_exp_of_minus_one_half():
    critical = 0.245 * 0.1**-1.665 + 2.81
    assert dose_damping(np.array(0.1), critical) == pytest.approx(math.exp(-0.5))
    assert dose_damping(np.array(0.1), 0.0) == 1.0
    assert dose_damping(np.array(0.1), 10.0, b_factor_per_dose_A2=4.0) == pytest.approx(
        math.exp(-4 * 10 * 0.01 / 4))


def test_dose_lowers_the_contrast_of_a_later_tilt():
    geometry = series([0.0, 0.0], pre_dose_e_per_A2=np.array([0.0, 100.0]))
    sharp = one_blob(3.0)
    first, later = (render_tilt(at((0, 0, 0), sharp), geometry, i) for i in range(2))
    assert later.min() > 0.8 * first.min()


def test_patch_holds_the_delocalised_image():
    geometry = series([0.0], defocus_u_A=np.array([4e4]), defocus_v_A=np.array([4e4]))
    phantom = one_blob()
    spread = delocalisation_A(0.1, 4e4, 300, 2.7)
    assert spread == pytest.approx(0.0196875 * 4e4 * 0.1, rel=0.01)
    assert patch_size_px(phantom, geometry) * PIXEL_A > 2 * (phantom.radius_A + spread)


def test_particle_half_outside_the_image_is_cut_not_wrapped():
    geometry = series([0.0])
    image = render_tilt(at((-128 * PIXEL_A, 0, 0)), geometry, 0)
    assert image[:, 0].min() == image.min()
    assert np.abs(image[:, -20:]).max() < 1e-3 * abs(image.min())


def test_images_of_two_particles_add():
    geometry = series([20.0])
    a, b = (10.0, 0, 30.0), (-90.0, 50.0, 0)
    both = [Objects(one_blob(), np.repeat(np.eye(3)[None], 2, 0), np.array([a, b]))]
    total = render_tilt(at(a), geometry, 0) + render_tilt(at(b), geometry, 0)
    assert np.abs(render_tilt(both, geometry, 0) - total).max() < 1e-6 * abs(total).max()


def test_signal_power_is_the_variance_over_the_disc():
    geometry = series([0.0], defocus_u_A=np.array([2e4]), defocus_v_A=np.array([2e4]))
    phantom = one_blob()
    image = render_tilt(at((0, 0, 0)), geometry, 0).astype(float)
    y, x = np.mgrid[:200, :256]
    disc = np.hypot(x - 128, y - 100) * PIXEL_A <= phantom.radius_A
    found = signal_power(phantom, geometry, np.eye(3)[None])
    assert found == pytest.approx(np.var(image[disc]), rel=1e-4)


def test_dose_symmetric_order_alternates_from_zero():
    angles = tilt_angles(-9, 9, 3)
    assert list(angles) == [-9, -6, -3, 0, 3, 6, 9]
    assert list(angles[acquisition_order(angles, "dose-symmetric")]) == [0, 3, -3, 6, -6, 9, -9]
    assert list(angles[acquisition_order(angles, "dose-symmetric", 2)]) == [0, 3, 6, -3, -6, 9, -9]
    assert list(angles[acquisition_order(angles, "bidirectional")]) == [0, 3, 6, 9, -3, -6, -9]
    assert list(acquisition_order(angles, "unidirectional")) == list(range(7))


def test_first_tilt_taken_has_no_dose_before_it():
    angles = tilt_angles(-60, 60, 3)
    dose = pre_doses(acquisition_order(angles, "dose-symmetric"), 3.0)
    assert dose[20] == 0
    assert dose.max() == 3.0 * 40
    assert dose[21] == 3.0


def test_ice_scale_at_60_degrees_is_one_more_slab():
    scale = tilt_scales(np.zeros(2), np.array([0.0, 60.0]), "ice", 1000.0, 3000.0)
    assert scale == pytest.approx([1.0, math.exp(-1 / 3)])
    assert tilt_scales(np.zeros(1), np.array([60.0]), "cosine") == pytest.approx([0.5])


def test_alignment_errors_have_their_size_and_leave_the_rest():
    geometry = series(np.zeros(400))
    wrong = geometry.with_alignment_errors(np.random.default_rng(1), 4.0, 0.2, 0.1)
    assert np.std(wrong.shift_A) == pytest.approx(4.0, rel=0.1)
    assert np.std(wrong.tilt_deg) == pytest.approx(0.2, rel=0.15)
    assert np.std(wrong.axis_deg) == pytest.approx(0.1, rel=0.15)
    assert np.array_equal(wrong.defocus_u_A, geometry.defocus_u_A)


@pytest.mark.parametrize("side", [-1, 1])
def test_particle_whose_patch_ends_beside_the_image_leaves_it_empty(side):
    geometry = series([0.0])
    half_px = 0.5 * (geometry.image_size_px[0] + patch_size_px(one_blob(), geometry))
    brightest = np.abs(render_tilt(at((0.0, 0.0, 0.0)), geometry, 0)).max()
    for beyond_px in (-1.0, 0.0, 0.6, 1.0):
        x_A = side * (half_px + beyond_px) * geometry.pixel_A
        image = render_tilt(at((x_A, 0.0, 0.0)), geometry, 0)
        assert np.abs(image).max() < 1e-3 * brightest
