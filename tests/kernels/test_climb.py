"""A climb of the polish: one compiled call takes the steps that a dialogue takes; equal records."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.marching import marching_radii
from sta_mpi.align.pose import PolishSettings, Pose, Restraint
from sta_mpi.kernels.gather import prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.kernels.polish.climb import (
    ASKS,
    CONVERGED,
    RULES,
    STATE,
    STOPPED,
    ceilings,
    climb_by_sums,
    distinct,
    resume,
)
from sta_mpi.kernels.voxels import VoxelProblem, make_voxel_layout, pack_voxels
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

N = 32
PHANTOM = chiral_phantom(9.0, 1.3)
TILT = Rotation.from_euler("y", np.linspace(-60, 60, 9)[:, None], degrees=True).as_matrix()
R_BOX = Rotation.from_euler("zyz", [20, 35, -50], degrees=True).as_matrix()
TRUTH = Pose(Rotation.from_euler("zyz", [-70, 110, 15], degrees=True).as_matrix(),
             np.array([0.6, -0.4, 0.3]))
START = Pose(TRUTH.R_p2t @ Rotation.from_rotvec([0.05, -0.04, 0.06]).as_matrix(), np.zeros(3))


@pytest.fixture(scope="module")
def volume():
    plans = FftPlans(effort="estimate")
    return prepare_gather(plans.rfft3(PHANTOM.truth_map(N, 1.0)), plans, 2.0)


def of_tilts(volume, dtype):
    rng, layout = np.random.default_rng(1), make_layout(N, marching_radii(12))
    k_y, k_x = np.fft.fftfreq(N, 1 / N)[:, None], np.arange(N // 2 + 1)
    xy = (TILT @ TRUTH.shift_xyz_px)[:, :2, None, None]
    X = PHANTOM.views_rft(TILT @ TRUTH.R_p2t, N, 1.0) * np.exp(
        -2j * np.pi / N * (xy[:, 0] * k_x + xy[:, 1] * k_y))
    X = X + np.fft.rfft2(rng.normal(size=(len(TILT), N, N)), norm="ortho")
    packed = pack_samples(X.astype(np.complex64), np.ones(X.shape, np.float32), layout, dtype)
    return PoseProblem(volume, packed, layout, TILT, N), np.full(len(TILT), layout.n_samples)


def of_box(volume, dtype):
    rng, layout = np.random.default_rng(2), make_voxel_layout(N, marching_radii(12))
    moved = replace(PHANTOM, centre_A=(PHANTOM.centre_A @ TRUTH.R_p2t.T
                                       + TRUTH.shift_xyz_px) @ R_BOX)
    seen = moved.truth_map(N, 1.0)
    box = np.fft.ifftshift(seen + 0.3 * rng.normal(size=(N,) * 3))
    data = (np.fft.rfftn(box) / N).astype(np.complex64)
    packed = pack_voxels(data, np.ones(data.shape, np.float32), layout, dtype)
    return VoxelProblem(volume, packed, R_BOX, N), np.array([packed.layout.n_samples])


def climb_of(pose):
    record = np.zeros(1, STATE)
    record["next_R"], record["next_shift"] = pose.R_p2t, pose.shift_xyz_px
    return record


def rules_of(n_bands=1, **given):
    rules = np.zeros(n_bands, RULES)
    Restraint(START, PolishSettings(prior_angle_deg=5.0, max_shift_px=2.0)).enter(rules)
    for name, value in {"grey_scale": np.nan, "tolerance": 1e-3, "left": 0.5, "least": -np.inf,
                        "largest_turn_rad": 0.25, "largest_move_px": 1.0, "max_steps": 20,
                        **given}.items():
        rules[name] = value
    return rules


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", [of_tilts, of_box])
def test_a_climb_in_one_call_is_the_climb_that_is_answered_from_outside(volume, kind, dtype):
    problem, count = kind(volume, dtype)
    one, other, rules = climb_of(START), climb_of(START), rules_of()
    problem.climb(one, rules, count[None])
    climb_by_sums(other, rules, lambda R, shift, _: problem.sums(R, shift, count))
    assert one == other
    assert one["stage"][0] == CONVERGED
    assert one["n_evaluations"][0] > 2
    off = Rotation.from_matrix(TRUTH.R_p2t.T @ one["R"][0]).magnitude()
    # noise of half a degree at most, from 5 degrees away
    assert 1e-5 < off < np.radians(0.8)
    assert 1e-5 < np.abs(one["shift"][0] - TRUTH.shift_xyz_px).max() < 0.1


@pytest.mark.parametrize("may_leap", [False, True])
@pytest.mark.parametrize("kind", [of_tilts, of_box])
def test_a_climb_through_bands_is_one_climb_in_each_that_is_not_left_out(volume, kind, may_leap):
    problem, count = kind(volume, np.float32)
    ends = problem.layout.band_start[1:]
    assert len(ends) == 2
    used = np.minimum(np.repeat([[ends[0]], ends[:1], ends[1:]], len(count), axis=1), count)
    # the second band is as the first one: a leap over it is the same as staying in it
    rules = rules_of(3, radius=[7.0, 8.0, 12.0], tolerance=[1.0, 1.0, 1e-3], may_leap=may_leap)
    whole, steps, looks = climb_of(START), climb_of(START), 0
    problem.climb(whole, rules, used)
    assert whole["band"][0] == 2
    for band in (0, 2) if may_leap else (0, 1, 2):
        looks += steps["n_evaluations"][0]
        steps = climb_of(Pose(steps["R"][0], steps["shift"][0])) if looks else steps
        problem.climb(steps, rules[band : band + 1], used[band : band + 1])
    looks += steps["n_evaluations"][0]
    assert whole["n_evaluations"][0] == looks > len(rules)
    for name in set(STATE.names) - {"n_evaluations", "band"}:
        np.testing.assert_array_equal(whole[name], steps[name], err_msg=name)


def test_a_climb_without_steps_is_a_look_and_one_that_goes_on_from_it_is_the_same_climb(volume):
    problem, count = of_tilts(volume, np.float32)
    look, whole = climb_of(START), climb_of(START)
    problem.climb(look, rules_of(max_steps=0), count[None])
    assert look["stage"][0] == STOPPED
    assert look["n_evaluations"][0] == 1
    np.testing.assert_array_equal(look["R"][0], START.R_p2t)
    resume(look, rules_of())
    assert look["stage"][0] == ASKS
    problem.climb(look, rules_of(), count[None])
    problem.climb(whole, rules_of(), count[None])
    assert look == whole


def test_a_climb_that_cannot_reach_what_it_must_ends_where_it_is(volume):
    problem, count = of_tilts(volume, np.float32)
    look = climb_of(START)
    problem.climb(look, rules_of(max_steps=0), count[None])
    ceiling = float(ceilings(look)[0])
    assert ceiling > look["score"][0] + look["log_prior"][0]
    for least, stage in ((ceiling + 1e-6, STOPPED), (ceiling - 1e-6, ASKS)):
        record = look.copy()
        resume(record, rules_of(least=least))
        assert record["stage"][0] == stage


def test_of_poses_that_are_the_same_or_mates_the_first_is_kept():
    mates = Rotation.from_euler("z", [[0], [90], [180], [270]], degrees=True).as_matrix()
    turns = np.array([[0, 0, 0], [0, 0, 90.5], [0, 0, 3], [2, 0, 180], [0, 0, 3.4]])
    records = np.zeros(len(turns), STATE)
    # one standard deviation is a degree and a pixel
    records["information_all"] = np.diag([np.degrees(1.0) ** 2] * 3 + [1.0] * 3)
    records["R"] = TRUTH.R_p2t @ Rotation.from_rotvec(turns, degrees=True).as_matrix()
    assert distinct(records, mates, 1.0).tolist() == [True, False, True, True, False]
    assert distinct(records, mates[:1], 1.0).tolist() == [True, True, True, True, False]
    records["shift"][4] = [1.2, 0, 0]
    assert distinct(records, mates, 1.0).tolist() == [True, False, True, True, True]
