"""The exhaustive check: as good as the polish where that is right, better where it is not."""

import numpy as np
import pytest
from planted_particles import R_MAX, particle, problem, reference

from sta_mpi.align.grid_search import Band
from sta_mpi.align.oracle import oracle_search, score_pose
from sta_mpi.align.polish import Pose, polish_pose
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)

BAND = Band(0.0, R_MAX)
SD = 6.0
"""Noise at which a pose is known to about a degree."""

CLOSE = 0.1
"""Log-likelihood of a pose that is off by less than half a standard deviation."""


@pytest.fixture(scope="module")
def ref():
    return reference()


def flat(R, shifts_px):
    return np.zeros((len(R), len(shifts_px)))


def near(R, shift, rng):
    """A start a few degrees and a pixel away."""
    return Pose(R @ local_rotations(6.0, 3.0)[rng.integers(1, 20)],
                shift + rng.uniform(-1, 1, 3))


def search(samples, ref, start, log_prior=flat):
    return oracle_search(samples, ref, BAND, start.R_p2t @ local_rotations(9.0, 3.0), 3.0,
                         start.shift_xyz_px + shift_grid(2.0, 1.0), 1.0, log_prior)


def test_oracle_reaches_the_score_of_the_polish_within_the_margin(ref):
    rng = np.random.default_rng(1)
    gaps = []
    for R in random_rotations(4, rng):
        shift = rng.normal(size=3)
        samples = particle(R, shift, SD, rng)
        start = near(R, shift, rng)
        found = polish_pose(problem(samples, ref), start)
        polished = score_pose(samples, ref, BAND, Pose(found.R_p2t, found.shift_xyz_px))
        oracle = search(samples, ref, start)
        gaps.append(oracle.score - polished)
        assert angular_distance_deg(oracle.pose.R_p2t, R) < 3.0
    # never better by more; worse by what half a step of a last grid costs
    assert max(gaps) < CLOSE
    assert min(gaps) > -3 * CLOSE
    assert np.ptp(gaps) > 0


def test_score_of_the_oracle_is_that_of_the_polish_at_one_pose(ref):
    """Two programs of one likelihood: slices gathered whole, and samples one by one."""
    rng = np.random.default_rng(2)
    R, shift = random_rotations(1, rng)[0], rng.normal(size=3)
    samples = particle(R, shift, SD, rng)
    p = problem(samples, ref)
    cross, power = p.score(R, shift, np.full(p.n_tilts, p.layout.n_samples, np.int64))
    assert score_pose(samples, ref, BAND, Pose(R, shift)) == pytest.approx(
        cross * abs(cross) / power, rel=1e-3)


def test_oracle_finds_the_pose_that_a_polish_from_a_wrong_optimum_misses(ref):
    rng = np.random.default_rng(3)
    R, shift = random_rotations(1, rng)[0], rng.normal(size=3)
    samples = particle(R, shift, SD, rng)
    wrong = Pose(R @ np.diag([1.0, -1.0, -1.0]), shift)
    stuck = polish_pose(problem(samples, ref), wrong)
    assert angular_distance_deg(stuck.R_p2t, R) > 20
    oracle = oracle_search(
        samples, ref, BAND, np.concatenate([wrong.R_p2t[None], healpix_rotations(1, "C1")]),
        healpix_step_deg(1), shift + shift_grid(2.0, 2.0), 2.0, flat)
    assert oracle.score > stuck.score + 100 * CLOSE
    assert angular_distance_deg(oracle.pose.R_p2t, R) < 3.0


def test_oracle_stays_within_the_limits_of_the_search(ref):
    rng = np.random.default_rng(4)
    R, shift = random_rotations(1, rng)[0], rng.normal(size=3)
    samples = particle(R, shift, SD, rng)
    start = Pose(R @ local_rotations(6.0, 6.0)[3], shift)
    limit_deg = 2.0

    def within(rotations, shifts_px):
        turn = angular_distance_deg(start.R_p2t, rotations)
        angle = np.where(turn > limit_deg + 1e-6, -np.inf, 0.0)
        return angle[:, None] + np.zeros(len(shifts_px))

    oracle = oracle_search(samples, ref, BAND, start.R_p2t @ local_rotations(2.0, 1.0), 1.0,
                           shift + shift_grid(1.0, 1.0), 1.0, within)
    assert 1.0 < angular_distance_deg(oracle.pose.R_p2t, start.R_p2t) <= limit_deg + 1e-6
    assert oracle.score < search(samples, ref, start).score
