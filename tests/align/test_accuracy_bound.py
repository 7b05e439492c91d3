"""Pose errors of particles made by independent formulas, against their Cramer-Rao bound.

The particles (object, projection, CTF, coloured noise) and the bound (numerical derivatives in
float64) come from `benchmarks/accuracy/analytic_particles.py`, which shares nothing with the
package; the full-size measurement is `benchmarks/accuracy/ideal_model.py`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy"
TURN, MOVE = slice(0, 3), slice(3, 6)


@pytest.fixture(scope="module")
def accuracy():
    """The modules (analytic_particles, ideal_model)."""
    sys.path.insert(0, str(FOLDER))
    try:
        import analytic_particles
        import ideal_model
    finally:
        sys.path.remove(str(FOLDER))
    return analytic_particles, ideal_model


def assert_at_the_bound(point, scatter):
    """Limits of the issue; `scatter` is three times that of a ratio from so few particles."""
    assert np.degrees(point.bound_rms(TURN)) * np.sqrt(3) < 3
    for part in (TURN, MOVE):
        assert 0.85 - scatter < point.ratio(part) < 1.15 + scatter
    assert 0.8 - 2 * scatter < point.normalised() < 1.25 + 2 * scatter
    assert point.outliers == (0, 0)


NOISE = [0.25, 1.0, 2.0]
"""Bounds of 0.3, 1.2 and 2.4 degrees."""


@pytest.fixture(scope="module")
def points(accuracy):
    """24 particles at each noise level, polished from near the truth and found from nothing."""
    analytic, ideal = accuracy
    return ideal.run_points(analytic.lumpy_object(17.3, 1.0), 64, [24.0], NOISE, 24, seed=2)


@pytest.mark.parametrize("i", range(len(NOISE)))
def test_errors_of_independently_made_particles_reach_the_bound(points, i):
    # ratios from 24 particles scatter by 1 / sqrt(2 x 3 x 24) = 8 %, of which the limits
    # of the issue, 15 % either way, hold two
    assert_at_the_bound(points[i], 0.1)


@pytest.mark.parametrize("i", range(len(NOISE)))
def test_global_search_finds_every_particle_whose_bound_is_below_three_degrees(points, i):
    assert points[i].found == 1
    assert points[i].overlooked == 0
    assert (np.abs(points[i].found_error) > 0).all()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [11, 12])
def test_errors_of_many_particles_keep_the_limits_of_the_issue(accuracy, seed):
    analytic, ideal = accuracy
    blobs = analytic.lumpy_object(17.3, 1.0)
    points = ideal.run_points(blobs, 64, [24.0, 30.0], [0.125, 0.5, 1.0, 2.0], 100, seed=seed)
    assert len(points) == 8
    for point in points:
        # ratios from 100 particles scatter by 4 %
        assert_at_the_bound(point, 0.04)
        assert point.found > 0.99


def test_the_bound_agrees_with_the_curvature_of_the_likelihood(accuracy):
    """The independent information against second differences of the exact likelihood."""
    analytic, _ = accuracy
    rng = np.random.default_rng(4)
    blobs, n = analytic.lumpy_object(8.0, 1.2, n_blobs=40), 32
    tilts = analytic.draw_tilts(rng, n, 1.0, n_tilts=11)
    R, shift = np.eye(3), np.zeros(3)
    information, = analytic.fisher_information(blobs, tilts, R, shift, n, [12.0])
    disc = analytic.half_disc(n, 12.0)
    clean = tilts.transfer * analytic.project(blobs, tilts, R, shift, n)
    for j in range(6):
        step = np.zeros(6)
        step[j] = 2e-3
        loss = 0.0
        for sign in (1, -1):
            pose = analytic.moved(R, shift, sign * step)
            other = tilts.transfer * analytic.project(blobs, tilts, *pose, n)
            loss += np.sum((np.abs(other - clean) ** 2 / tilts.noise)[:, disc])
        # log L of noise-free data falls by sum |dX|^2 / s^2 = information step^2 / 2
        assert loss / 2e-3**2 == pytest.approx(information[j, j], rel=1e-3)


def test_analytic_map_is_the_object_that_is_projected(accuracy):
    """Without a package function: the untilted view is the sum of the map along z."""
    analytic, _ = accuracy
    n = 32
    blobs = analytic.lumpy_object(8.0, 1.2, n_blobs=40)
    tilts = analytic.Tilts(np.zeros(1), np.ones((1, n, n // 2 + 1)), np.ones((1, n, n // 2 + 1)))
    view = analytic.project(blobs, tilts, np.eye(3), np.zeros(3), n)[0]
    # the tilt axis of the formulas is turned by 85 degrees: turn the object back
    r = np.radians(analytic.AXIS_DEG)
    back = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    view = analytic.project(blobs, tilts, back, np.zeros(3), n)[0]
    summed = np.fft.rfft2(np.fft.ifftshift(blobs.volume(n).sum(axis=0)), norm="ortho")
    disc = analytic.half_disc(n, 14.0)
    assert np.abs(view - summed)[disc].max() < 1e-4 * np.abs(summed).max()
