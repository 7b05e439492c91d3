"""Projection matrices against RELION's own numbers and hand-made tilts.

The oracle rows are from RELION's test project (3dem/relion, tomography Python programs,
series 220728_TS_01; EMPIAR-10164), written by RELION 4's own importer with both the angle
and shift columns and the matrix they stand for. Tomogram 4000 x 4000 x 3000 px, images
3710 x 3838 px of 1.35 A.
"""

import numpy as np
import pytest

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import (
    angles_from_projection,
    projection_from_angles,
    projection_from_relion4,
    relion4_from_projection,
    slice_axes,
    tilt_angles_from_rotation,
    tilt_rotation,
)
from sta_mpi.geometry.rotations import random_rotations

TOMOGRAM, IMAGE, PIXEL_A = (4000, 4000, 3000), (3710, 3838), 1.35

# y_tilt, z_rot [degrees], x and y shift [A] and rows X, Y, Z of rlnTomoProj (x_tilt is 0).
ORACLE = [
    (9.02, 85.267461, -64.15332, 2.585551,
     [0.0814842382114, -0.996590673923, 0.0129349948257, 3618.28940437],
     [0.984266480393, 0.0825045183301, 0.156244718125, -446.99385167],
     [-0.156779229641, 0, 0.987633645535, -1167.89200902]),
    (12.02, 85.275607, -70.67049, -32.61262,
     [0.0805570885151, -0.996602416039, 0.0171523300395, 3609.01364814],
     [0.974751876037, 0.0823628976941, 0.207545557971, -530.705379974],
     [-0.208253115416, 0, 0.978074967861, -1050.60622096]),
    (-23.98, 85.176744, -47.78284, 130.863991,
     [0.0768249845508, -0.996458828449, -0.0341725576622, 3710.13182873],
     [0.910451884115, 0.0840823501348, -0.404978532576, 634.335619994],
     [0.40641772747, 0, 0.91368740797, -2183.3665669]),
    (42.02, 85.379049, -86.71569, -128.92971,
     [0.0598514232617, -0.996749460697, 0.0539283038872, 3583.66977311],
     [0.740496357479, 0.0805633589625, 0.667214084766, -819.444049662],
     [-0.66938996315, 0, 0.742911219597, 224.413096905]),
]


@pytest.fixture
def oracle():
    columns = np.array([row[:4] for row in ORACLE])
    proj = np.array([[*row[4:], [0, 0, 0, 1]] for row in ORACLE], float)
    P = projection_from_angles(
        np.zeros(len(ORACLE)), columns[:, 0], columns[:, 1], columns[:, 2:], TOMOGRAM, PIXEL_A)
    return columns, proj, P


def random_tilts(n: int, seed: int):
    rng = np.random.default_rng(seed)
    return (rng.uniform(-5, 5, n), rng.uniform(-70, 70, n), rng.uniform(-180, 180, n),
            rng.uniform(-200, 200, (n, 2)))


def test_matrix_from_angles_is_relions_own_matrix(oracle):
    # The columns carry 6 decimals: 1e-6 degrees and A. Spec tolerance 1e-5 and 0.001 px.
    _, proj, P = oracle
    ours = relion4_from_projection(P, TOMOGRAM, IMAGE, PIXEL_A)
    assert np.abs(ours[:, :3, :3] - proj[:, :3, :3]).max() < 2e-7
    assert np.abs(ours[:, :2, 3] - proj[:, :2, 3]).max() < 2e-4
    assert np.abs(ours[:, 2, 3] - proj[:, 2, 3]).max() < 2e-3  # depth origin, 3000 px away


def test_angles_from_relion4_matrix_are_relions_own_columns(oracle):
    columns, proj, _ = oracle
    P = projection_from_relion4(proj, TOMOGRAM, IMAGE, PIXEL_A)
    x_tilt, y_tilt, z_rot, shift_A, residual = angles_from_projection(P, TOMOGRAM, PIXEL_A)
    assert np.abs(x_tilt).max() < 1e-6
    assert np.abs(y_tilt - columns[:, 0]).max() < 1e-5
    assert np.abs(z_rot - columns[:, 1]).max() < 1e-5
    assert np.abs(shift_A - columns[:, 2:]).max() < 3e-4
    assert residual.max() < 1e-7  # RELION built them from float32 sines


def test_point_of_the_tomogram_falls_on_the_pixel_relion_gives(oracle):
    _, proj, P = oracle
    corner_px = np.array([1234.0, 2345.0, 1610.0])
    expected = (proj @ [*corner_px, 1.0])[:, :2]
    xyz_A = (corner_px - np.array(TOMOGRAM) / 2.0) * PIXEL_A
    n = len(P)
    series = TiltSeries(
        "TS", PIXEL_A, Optics(300.0, 2.7, 0.1), P, *(np.zeros(n) for _ in range(7)),
        tomogram_size_px=TOMOGRAM, image_size_px=IMAGE)
    assert np.abs(series.position_px(xyz_A) - expected).max() < 1e-3


def test_relion4_table_of_a_real_project_turns_into_angles_and_back(data_dir):
    path = (data_dir / "particles_empiar10499_warp_70S"
            / "warptools_test_4-tomos_10-ptcls_box-32_angpix-12_tomograms.star")
    if not path.is_file():
        pytest.skip(f"real table not found: {path}")
    rows = [line.split()[:4] for line in path.read_text().splitlines() if line.strip()[:1] == "["]
    proj = np.array([[np.fromstring(cell.strip("[]"), sep=",") for cell in row] for row in rows])
    assert proj.shape[1:] == (4, 4)
    assert len(proj) > 140
    size, image, pixel_A = (4400, 6000, 1400), (4400, 6000), 1.667
    P = projection_from_relion4(proj, size, image, pixel_A)
    *angles, shift_A, residual = angles_from_projection(P, size, pixel_A)
    assert residual.max() < 1e-6  # float32 matrices in the file
    again = projection_from_angles(*angles, shift_A, size, pixel_A)
    assert np.abs(again[:, :, :3] - P[:, :, :3]).max() < 1e-6
    assert np.abs(again[:, :, 3] - P[:, :, 3]).max() < 1e-6 * 6000 * pixel_A
    assert np.abs(angles[1]).max() > 30  # a real tilt range, not a pile of identities


def test_tilt_turns_the_specimen_about_y_then_the_axis_in_plane():
    # Tilt 90: the point on the specimen's +z comes to +x; the axis then turns by z_rot.
    assert np.allclose(tilt_rotation(0, 90, 0)[0] @ [0, 0, 1], [1, 0, 0], atol=1e-15)
    assert np.allclose(tilt_rotation(0, 90, 90)[0] @ [0, 0, 1], [0, 1, 0], atol=1e-15)
    assert np.allclose(tilt_rotation(90, 0, 0)[0] @ [0, 0, 1], [0, -1, 0], atol=1e-15)


def test_tilt_angles_round_trip():
    x, y, z, _ = random_tilts(1000, 1)
    back = tilt_angles_from_rotation(tilt_rotation(x, y, z))
    for ours, truth in zip(back, (x, y, z), strict=True):
        assert np.abs(ours - truth).max() < 1e-10


@pytest.mark.parametrize("tilt", [90.0, -90.0, 90.0 - 1e-10, -90.0 + 1e-8])
def test_tilt_of_ninety_degrees_still_gives_the_same_rotation(tilt):
    M = tilt_rotation(3.0, tilt, 40.0)
    x, y, z = tilt_angles_from_rotation(M)
    assert np.abs(tilt_rotation(x, y, z) - M).max() < 3e-9  # the 1e-9 cut of the gimbal


@pytest.mark.parametrize("size", [(4000, 4000, 3000), (4001, 4000, 3000), (511, 513, 255)])
def test_ten_round_trips_do_not_drift(size):
    x, y, z, shift_A = random_tilts(41, 2)
    P = first = projection_from_angles(x, y, z, shift_A, size, 2.0)
    for _ in range(10):
        *angles, shift, _ = angles_from_projection(P, size, 2.0)
        P = projection_from_angles(*angles, shift, size, 2.0)
    assert np.abs(P - first).max() < 1e-10


@pytest.mark.parametrize("size", [(4000, 4000, 3000), (4001, 3999, 2999), (511, 512, 255)])
@pytest.mark.parametrize("image", [(3710, 3838), (3711, 3837)])
def test_relion4_matrices_follow_the_integer_half_formula(size, image):
    # Independent: the chain T(c_img) T(shift/px) R T(-c_tomo) multiplied out as 4x4.
    x, y, z, shift_A = random_tilts(5, 3)
    pixel_A = 2.5

    def translation(vector):
        T = np.eye(4)
        T[:3, 3] = vector
        return T

    ours = relion4_from_projection(
        projection_from_angles(x, y, z, shift_A, size, pixel_A), size, image, pixel_A)
    for i in range(5):
        R = np.eye(4)
        R[:3, :3] = tilt_rotation(x[i], y[i], z[i])[0]
        chain = (translation([image[0] // 2, image[1] // 2, 0])
                 @ translation([*(shift_A[i] / pixel_A), 0]) @ R
                 @ translation([-(s // 2) for s in size]))
        assert np.abs(ours[i] - chain).max() < 1e-9


def test_relion4_round_trip():
    rng = np.random.default_rng(4)
    P = np.zeros((7, 3, 4))
    P[:, :, :3] = 1.002 * random_rotations(7, rng)  # a magnification survives
    P[:, :2, 3] = rng.uniform(-100, 100, (7, 2))
    size, image = (999, 1000, 301), (1001, 1000)
    proj = relion4_from_projection(P, size, image, 1.7)
    assert np.abs(projection_from_relion4(proj, size, image, 1.7) - P).max() < 1e-9


def test_depth_is_zero_at_the_tomogram_centre():
    x, y, z, shift_A = random_tilts(9, 5)
    P = projection_from_angles(x, y, z, shift_A, (401, 400, 201), 3.0)
    assert not P[:, 2, 3].any()


def test_magnified_matrix_reports_its_residual():
    P = projection_from_angles([0.0], [10.0], [85.0], [[0.0, 0.0]], (400, 400, 200), 1.0)
    P[:, :, :3] *= 1.01
    *_, residual = angles_from_projection(P, (400, 400, 200), 1.0)
    assert np.allclose(residual, 0.01 * np.sqrt(3))


def test_slice_axes_are_orthonormal_and_seen_along_the_beam():
    P = projection_from_angles(*random_tilts(6, 6), (400, 400, 200), 1.0)
    R_p2t = random_rotations(4, np.random.default_rng(7))
    axes = slice_axes(P, R_p2t)
    assert axes.shape == (4, 6, 2, 3)
    assert np.allclose(axes @ np.swapaxes(axes, -1, -2), np.eye(2), atol=1e-14)
    # A particle point along its own axes lands on the image at (u . x, v . x).
    point = np.array([3.0, -2.0, 7.0])
    landed = P[2, :2, :3] @ (R_p2t[1] @ point)
    assert np.allclose(axes[1, 2] @ point, landed, atol=1e-13)
