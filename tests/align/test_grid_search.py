"""The exhaustive search against views whose transform is analytic (simulate's phantom)."""

import numpy as np
import pytest

from sta_mpi.align.grid_search import (
    Band,
    pick_best,
    score_candidates,
    shift_phase_matrix,
    take_band,
)
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reference import prepare_reference
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations
from sta_mpi.geometry.sampling import local_rotations, shift_grid
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.tilts import tilt_matrix

BOX, VOXEL_A = 32, 6.0
PHANTOM = chiral_phantom(60.0, 4.0)
PLANS = FftPlans(effort="estimate")


def make_samples(R_p2t, shift_xyz_px, noise_sd=0.0, seed=0):
    """Samples of a particle displaced by +shift, from the phantom's own formula.

    A blob displaced by t (tomogram axes) lands at the first two components of R_tilt t on
    the image, and a displaced image has phases exp(-2 pi i k.t / n): written out here.
    """
    tilts = np.array([tilt_matrix(0.0, angle, 85.0) for angle in range(-60, 61, 12)])
    views = PHANTOM.views_rft(tilts @ R_p2t, BOX, VOXEL_A).astype(complex)
    ky, kx = np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)[None]
    for view, tilt in zip(views, tilts, strict=True):
        x, y, _ = tilt @ shift_xyz_px
        view *= np.exp(-2j * np.pi * (kx * x + ky * y))
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2, *views.shape)) * noise_sd / np.sqrt(2)
    data = views + noise[0] + 1j * noise[1]
    weight = np.ones(views.shape, np.float32)
    return TiltSamples(data.astype(np.complex64), weight, tilts, np.arange(len(tilts)))


def make_reference(lowpass_px=12.0):
    return prepare_reference(PHANTOM.truth_map(BOX, VOXEL_A), None, lowpass_px, PLANS)


def test_score_at_the_true_pose_is_the_largest_of_all_candidates():
    rng = np.random.default_rng(1)
    truth = random_rotations(1, rng)[0]
    turns = local_rotations(12.0, 6.0)
    shifts = shift_grid(2.0, 1.0)
    i_turn, i_shift = 11, 17
    samples = make_samples(truth, shifts[i_shift], noise_sd=0.5)
    band = take_band(samples, Band(1.0, 10.0))
    phases = shift_phase_matrix(band, shifts, BOX)
    candidates = truth @ turns[i_turn].T @ turns      # candidate i_turn is the truth
    scores = score_candidates(band, phases, make_reference(), candidates)
    best = pick_best(scores, 1.0, True, np.zeros((len(turns), len(shifts))))
    assert angular_distance_deg(candidates[best.i_rotation], truth) < 1e-3
    assert best.i_shift == i_shift


def test_grey_scale_of_truth_against_its_own_views_is_one():
    truth = random_rotations(1, np.random.default_rng(2))[0]
    band = take_band(make_samples(truth, np.zeros(3)), Band(1.0, 8.0))
    phases = shift_phase_matrix(band, np.zeros((1, 3)), BOX)
    scores = score_candidates(band, phases, make_reference(), truth[None])
    # trilinear interpolation on a doubly padded transform errs by about a per cent
    assert scores.cross[0, 0] / scores.power[0] == pytest.approx(1.0, abs=0.02)
    assert scores.ncc()[0, 0] > 0.995
    assert scores.ncc()[0, 0] < 1.0


def test_cross_term_of_all_shifts_equals_the_direct_sum():
    samples = make_samples(np.eye(3), np.array([0.7, -0.3, 0.2]), noise_sd=1.0)
    band = take_band(samples, Band(0.0, 6.0))
    shifts = np.array([[0.0, 0, 0], [1.5, -0.5, 0.75]])
    phases = shift_phase_matrix(band, shifts, BOX)
    scores = score_candidates(band, phases, make_reference(), np.eye(3)[None])
    from sta_mpi.align.grid_search import band_slices

    slices = band_slices(band, make_reference(), np.eye(3)[None])[0].astype(complex)
    for j, shift in enumerate(shifts):
        direct = 0.0
        for f, tilt in enumerate(band.rotation):
            x, y, _ = tilt @ shift
            turn = np.exp(2j * np.pi * (band.k[:, 0] * x + band.k[:, 1] * y) / BOX)
            direct += np.sum((slices[f].conj() * band.data[f] * turn).real)
        assert scores.cross[0, j] == pytest.approx(direct, rel=1e-4)


def test_loglik_differences_are_those_of_the_gaussian_model():
    """2 s c - s^2 p must differ between candidates as -sum |X - s V|^2 does."""
    samples = make_samples(np.eye(3), np.zeros(3), noise_sd=1.0)
    band = take_band(samples, Band(0.0, 6.0))
    phases = shift_phase_matrix(band, np.zeros((1, 3)), BOX)
    candidates = local_rotations(20.0, 20.0)[:3]
    scores = score_candidates(band, phases, make_reference(), candidates)
    from sta_mpi.align.grid_search import band_slices

    slices = band_slices(band, make_reference(), candidates).astype(complex)
    misfit = -np.sum(np.abs(band.data[None] - 0.8 * slices) ** 2, axis=(1, 2))
    ours = scores.loglik(0.8)[:, 0]
    assert np.allclose(ours - ours[0], misfit - misfit[0], rtol=1e-3, atol=1e-2)
    assert np.ptp(ours) > 1.0


def test_band_holds_one_of_each_pair_of_friedel_mates():
    samples = make_samples(np.eye(3), np.zeros(3))
    band = take_band(samples, Band(0.0, 9.0))
    pairs = {tuple(k) for k in band.k.astype(int)}
    assert len(pairs) == len(band.k)
    assert not any((-kx, -ky) in pairs for kx, ky in pairs)
    n_disc = sum(x * x + y * y <= 81 for x in range(-9, 10) for y in range(-9, 10)) - 1
    assert 2 * len(pairs) == n_disc
