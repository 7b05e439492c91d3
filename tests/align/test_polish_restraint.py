"""Priors and limits of the polish, against finite differences and scipy's rotations."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.align.pose import Restraint
from sta_mpi.kernels.polish import PoseSums
from sta_mpi.kernels.polish.climb import climb_by_sums
from sta_mpi.kernels.polish.restraint import log_prior, step_between


def random_pose(rng):
    return Pose(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))


def turned_by(pose, degrees, rng):
    step = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(degrees) * step / np.linalg.norm(step))
    return Pose(pose.R_p2t @ turn.as_matrix(), pose.shift_xyz_px + rng.normal(size=3))


def prior_of(centre, settings, pose):
    return log_prior(centre.R_p2t, centre.shift_xyz_px, pose.R_p2t, pose.shift_xyz_px,
                     settings.terms.precision)


def tilt_deg(a, b):
    return np.degrees(np.arccos(np.clip(a.R_p2t[:, 2] @ b.R_p2t[:, 2], -1, 1)))


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1.0, 60.0, 120.0, 179.0, 179.9999])
def test_step_between_poses_is_scipys_rotation_vector(degrees):
    rng = np.random.default_rng(1)
    for _ in range(20):
        a = random_pose(rng)
        b = turned_by(a, degrees, rng)
        step = step_between(a.R_p2t, a.shift_xyz_px, b.R_p2t, b.shift_xyz_px)
        expected = Rotation.from_matrix(a.R_p2t.T @ b.R_p2t).as_rotvec()
        np.testing.assert_allclose(step[:3], expected, atol=1e-7)
        np.testing.assert_allclose(step[3:], b.shift_xyz_px - a.shift_xyz_px, rtol=1e-12)


@pytest.mark.parametrize("settings", [
    PolishSettings(prior_tilt_deg=5.0),
    PolishSettings(prior_angle_deg=8.0, prior_shift_px=1.5),
    PolishSettings(prior_angle_deg=20.0, prior_shift_px=2.0, prior_tilt_deg=3.0)])
@pytest.mark.parametrize("degrees", [0.001, 4.0, 50.0, 110.0])
def test_gradient_of_the_log_prior_is_that_of_finite_differences(settings, degrees):
    rng = np.random.default_rng(2)
    centre = random_pose(rng)
    pose = turned_by(centre, degrees, rng)
    gradient = prior_of(centre, settings, pose)[1]
    h = 1e-6
    for j in range(6):
        values = []
        for sign in (1, -1):
            step = np.zeros(6)
            step[j] = sign * h
            moved = Pose(pose.R_p2t @ Rotation.from_rotvec(step[:3]).as_matrix(),
                         pose.shift_xyz_px + step[3:])
            values.append(prior_of(centre, settings, moved)[0])
        slope = (values[0] - values[1]) / (2 * h)
        # values of up to 1e3 are known to 1e-13 of themselves
        assert gradient[j] == pytest.approx(slope, rel=1e-5, abs=1e-3)


def test_tilt_prior_leaves_turns_about_the_normal_free():
    rng = np.random.default_rng(3)
    centre = random_pose(rng)
    settings = PolishSettings(prior_tilt_deg=2.0)
    spun = Pose(centre.R_p2t @ Rotation.from_euler("z", 77, degrees=True).as_matrix(), np.ones(3))
    assert prior_of(centre, settings, spun)[0] == pytest.approx(0.0, abs=1e-9)
    tipped = Pose(spun.R_p2t @ Rotation.from_euler("x", 4, degrees=True).as_matrix(), np.ones(3))
    assert prior_of(centre, settings, tipped)[0] == pytest.approx(-2.0, rel=1e-6)
    information = prior_of(centre, settings, tipped)[2]
    expected = np.radians(2.0) ** -2 * np.array([1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(np.diag(information), expected)
    np.testing.assert_allclose(information,
                               PolishSettings(prior_tilt_deg=2.0).prior_information)


def test_tilt_limit_moves_the_normal_to_the_edge_by_the_shortest_turn():
    rng = np.random.default_rng(4)
    centre = random_pose(rng)
    restraint = Restraint(centre, PolishSettings(max_tilt_deg=10.0))
    for degrees in (20.0, 90.0, 170.0):
        pose = turned_by(centre, degrees, rng)
        if tilt_deg(centre, pose) <= 10:
            continue
        clipped = restraint.clip(pose)
        assert tilt_deg(centre, clipped) == pytest.approx(10.0, abs=1e-5)
        moved = Rotation.from_matrix(pose.R_p2t.T @ clipped.R_p2t).magnitude()
        assert np.degrees(moved) == pytest.approx(tilt_deg(centre, pose) - 10.0, abs=1e-5)
        assert restraint.holds(clipped)
        np.testing.assert_array_equal(clipped.shift_xyz_px, pose.shift_xyz_px)


def test_a_pose_inside_its_limits_is_left_alone():
    rng = np.random.default_rng(5)
    centre = random_pose(rng)
    settings = PolishSettings(max_angle_deg=180.0, max_shift_px=9.0, max_tilt_deg=12.0)
    restraint = Restraint(centre, settings)
    spun = Pose(centre.R_p2t @ Rotation.from_euler("zx", [130, 11], degrees=True).as_matrix(),
                centre.shift_xyz_px + 1)
    assert restraint.clip(spun) is spun
    assert not restraint.holds(spun)


def test_all_limits_hold_at_once():
    rng = np.random.default_rng(6)
    settings = PolishSettings(max_angle_deg=25.0, max_shift_px=0.5, max_tilt_deg=8.0)
    for degrees in (5.0, 24.0, 60.0, 150.0, 180.0):
        centre = random_pose(rng)
        clipped = Restraint(centre, settings).clip(turned_by(centre, degrees, rng))
        turn = Rotation.from_matrix(centre.R_p2t.T @ clipped.R_p2t).magnitude()
        assert np.degrees(turn) <= 25.0
        # the arc cosine of the test itself is good to 1e-6 degrees here
        assert tilt_deg(centre, clipped) <= 8.0 + 1e-6
        assert np.linalg.norm(clipped.shift_xyz_px - centre.shift_xyz_px) <= 0.5


def test_a_normal_turned_over_comes_back_to_the_limit():
    centre = Pose(np.eye(3), np.zeros(3))
    over = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    clipped = Restraint(centre, PolishSettings(max_tilt_deg=30.0)).clip(over)
    assert tilt_deg(centre, clipped) == pytest.approx(30.0, abs=1e-6)
    assert np.isfinite(prior_of(centre, PolishSettings(prior_tilt_deg=3.0), over)[0])


class Bowl:
    """A particle whose log-likelihood is a bowl around a pose: a stand-in for samples."""

    n, n_tilts = 64, 1

    class layout:
        band_start = np.array([0, 10])
        n_samples = 10

    def __init__(self, top, information):
        self._top, self._information = top, information

    def radius(self, n_samples):
        return 10.0

    def climb(self, state, rules, used):
        climb_by_sums(state, rules, lambda R, shift, band: self.sums(R, shift))

    def sums(self, R, shift):
        away = np.concatenate([
            Rotation.from_matrix(self._top.R_p2t.T @ R).as_rotvec(),
            shift - self._top.shift_xyz_px])
        # grey scale 1: log L = 2 cross - power, gradient 2 (gd - gw), information 2 H
        return PoseSums(-0.25 * float(away @ self._information @ away), 0.0,
                        -0.5 * self._information @ away, np.zeros(6), self._information / 2)


def test_polish_under_a_tilt_prior_finds_the_weighted_mean_of_prior_and_data():
    centre = Pose(np.eye(3), np.zeros(3))
    top = Pose(Rotation.from_rotvec(np.radians([3.0, 0, 0])).as_matrix(), np.zeros(3))
    per_degree = np.radians(1.0) ** -2
    bowl = Bowl(top, np.diag([per_degree] * 3 + [1.0] * 3))
    settings = PolishSettings(grey_scale=1.0, prior_tilt_deg=1.0, tolerance=1e-4)
    found = polish_pose(bowl, top, settings, around=centre)
    # equal weights: half way
    assert tilt_deg(centre, found) == pytest.approx(1.5, abs=0.01)
    spun = Pose(Rotation.from_euler("z", 50, degrees=True).as_matrix() @ top.R_p2t, np.zeros(3))
    free = polish_pose(Bowl(spun, bowl._information), spun, settings, around=centre)
    assert tilt_deg(centre, free) == pytest.approx(1.5, abs=0.01)
    turn = Rotation.from_matrix(spun.R_p2t.T @ free.R_p2t).as_rotvec()
    assert abs(np.degrees(turn[2])) < 0.01


def test_polish_stops_at_the_tilt_limit_and_says_so():
    centre = Pose(np.eye(3), np.zeros(3))
    top = Pose(Rotation.from_euler("zx", [40, 9], degrees=True).as_matrix(), np.zeros(3))
    bowl = Bowl(top, np.diag([3000.0] * 3 + [1.0] * 3))
    found = polish_pose(bowl, centre, PolishSettings(grey_scale=1.0, max_tilt_deg=5.0))
    assert found.has_hit_limit
    assert tilt_deg(centre, found) == pytest.approx(5.0, abs=0.01)
    free = polish_pose(bowl, centre, PolishSettings(grey_scale=1.0, max_tilt_deg=12.0))
    assert not free.has_hit_limit
    assert tilt_deg(top, free) == pytest.approx(0.0, abs=0.3)
