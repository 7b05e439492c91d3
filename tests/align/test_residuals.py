"""Noise of a search from residuals, on samples with noise of a known spectrum."""

import numpy as np
import pytest

from sta_mpi.align.grid_search import Band, take_band
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reference import prepare_reference
from sta_mpi.align.residuals import MOST_EXCESS, noise_gain, residual_sums
from sta_mpi.geometry.projection import tilt_rotation
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.signal.fft import FftPlans, radius_rft
from sta_mpi.signal.masks import soft_circle
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

BOX, VOXEL_A, SHELLS = 40, 4.0, 21
BAND = Band(0.0, 17.0)
PLANS = FftPlans(effort="estimate")
PHANTOM = chiral_phantom(60.0, 8.0)
CIRCLE = soft_circle(BOX, BOX / 2 - 5.0, 5.0)
EXCESS = 1.0 + 3.0 * np.exp(-((np.arange(SHELLS) - 5.0) / 3.0) ** 2)


def particle(rng, scale, excess):
    """Samples of 21 tilts with different weights, at a pose: w (s V + noise / sqrt(w)), masked."""
    R = random_rotations(1, rng)[0]
    tilts = tilt_rotation(0.0, np.linspace(-60, 60, 21), 0.0)
    weight = np.linspace(0.3, 1.5, 21)[:, None, None] * np.ones((21, BOX, BOX // 2 + 1))
    views = PHANTOM.views_rft(tilts @ R, BOX, VOXEL_A)
    noise = PLANS.rfft2(rng.standard_normal((21, BOX, BOX)).astype(np.float32))
    noise *= np.sqrt(np.interp(radius_rft((BOX, BOX // 2 + 1)), np.arange(SHELLS), excess))
    data = weight * scale * views + np.sqrt(weight) * noise
    data = PLANS.rfft2(PLANS.irfft2(data.astype(np.complex64), BOX) * CIRCLE)
    return TiltSamples(data, weight.astype(np.float32), tilts, np.arange(21)), R


def measured(scale, excess, turn=None):
    """Excess noise of 12 particles."""
    rng = np.random.default_rng(5)
    truth = PHANTOM.truth_map(BOX, VOXEL_A).astype(np.float32)
    reference = prepare_reference(truth, None, BAND.r_max, PLANS)
    total = np.zeros((2, SHELLS))
    for _ in range(12):
        samples, R = particle(rng, scale, excess)
        total += residual_sums(take_band(samples, BAND), reference, R if turn is None else turn,
                               SHELLS)
    return 1.0 / noise_gain(*total, float(np.mean(CIRCLE**2)))


@pytest.mark.parametrize("excess", [np.ones(SHELLS), EXCESS], ids=["as measured", "more"])
@pytest.mark.parametrize("scale", [0.01, 0.02])
def test_noise_of_a_known_spectrum_is_found_beside_a_particle(scale, excess):
    found = measured(scale, excess)[3:17]
    # the circle blurs spectra by a shell
    assert found == pytest.approx(excess[3:17], rel=0.15)
    assert np.abs(found / excess[3:17] - 1.0).max() > 1e-4


def test_a_reference_at_the_wrong_pose_leaves_its_signal_as_noise():
    right, wrong = (measured(0.2, np.ones(SHELLS), turn) for turn in (None, np.eye(3)))
    assert (wrong / right)[4:8].min() > 1.5


def test_shells_without_samples_take_the_noise_of_the_nearest_and_an_empty_sample_has_none():
    left, weight = np.array([0.0, 0.0, 2.0, 8.0, 0.0]), np.array([0.0, 0.0, 2.0, 4.0, 0.0])
    assert noise_gain(left, weight, 0.5) == pytest.approx([0.5, 0.5, 0.5, 0.25, 0.25])
    assert (noise_gain(np.zeros(4), np.zeros(4), 0.5) == 1.0).all()
    assert noise_gain(np.full(2, 1e9), np.ones(2), 0.5).min() == pytest.approx(1 / MOST_EXCESS)
