"""Averages of analytic views, against the phantom's own map."""

import numpy as np
import pytest

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reconstruct import (
    divide_plane,
    inverse_tau2_from_fsc,
    plane_shell_sums,
    shell_mean,
)
from sta_mpi.align.symmetrise import symmetrise_sums
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc
from sta_mpi.simulate.builtin_phantoms import chiral_phantom, cyclic_matrices, symmetric_phantom
from sta_mpi.simulate.tilts import tilt_matrix

BOX, GRID, VOXEL_A = 32, 64, 6.0
PLANS = FftPlans(effort="estimate")
TILTS = np.array([tilt_matrix(0.0, angle, 85.0) for angle in range(-60, 61, 10)])


def insert_views(phantom, rotations, transfer=1.0, sums=None):
    """Sums of the phantom's exact views at GRID px (its own box padded), weight = transfer^2."""
    sums = np.zeros((GRID, GRID, GRID // 2 + 1, 4), np.float32) if sums is None else sums
    for R in rotations:
        views = phantom.views_rft(TILTS @ R, GRID, VOXEL_A)
        weight = np.full(views.shape, transfer**2, np.float32)
        samples = TiltSamples((transfer**2 * views).astype(np.complex64), weight, TILTS,
                              np.arange(len(TILTS)))
        samples.insert(sums, GRID, R)
    return sums


def invert(sums, inverse_tau2=None):
    sums = sums.astype(np.float64)
    num, den = sums[..., 0] + 1j * sums[..., 1], sums[..., 2]
    total = sum(plane_shell_sums(den[z], GRID, z) for z in range(GRID))
    mean = shell_mean(total)
    rft = np.stack([divide_plane(num[z], den[z], GRID, z, mean, inverse_tau2)
                    for z in range(GRID)])
    inside = slice(GRID // 2 - BOX // 2, GRID // 2 + BOX // 2)
    return correct_gridding(PLANS.irfft3(rft)[inside, inside, inside], GRID / BOX)


def test_average_of_exact_views_is_the_phantom():
    phantom = chiral_phantom(60.0, 4.0)
    sums = insert_views(phantom, random_rotations(40, np.random.default_rng(3)))
    ours, truth = invert(sums), phantom.truth_map(BOX, VOXEL_A)
    curve = fsc(ours, truth)
    assert curve[1:13].min() > 0.995
    scale = np.vdot(ours, truth) / np.vdot(ours, ours)
    assert scale == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("mistake", ["transposed rotation", "mirrored tilt axis"])
def test_wrong_geometry_is_detected_by_the_comparison_with_truth(mistake):
    phantom = chiral_phantom(60.0, 4.0)
    rotations = random_rotations(40, np.random.default_rng(3))
    sums = np.zeros((GRID, GRID, GRID // 2 + 1, 4), np.float32)
    for R in rotations:
        views = phantom.views_rft(TILTS @ R, GRID, VOXEL_A)
        wrong_R = R.T if mistake == "transposed rotation" else R
        tilts = TILTS.transpose(0, 2, 1) if mistake == "mirrored tilt axis" else TILTS
        TiltSamples(views, np.ones(views.shape, np.float32), tilts, np.arange(len(tilts))).insert(
            sums, GRID, wrong_R)
    curve = fsc(invert(sums), phantom.truth_map(BOX, VOXEL_A))
    assert curve[5:13].mean() < 0.7


def test_weights_cancel_where_the_transfer_is_constant():
    phantom = chiral_phantom(60.0, 4.0)
    rotations = random_rotations(30, np.random.default_rng(4))
    full = invert(insert_views(phantom, rotations))
    weak = invert(insert_views(phantom, rotations, transfer=0.3))
    assert np.abs(full - weak).max() < 2e-3 * np.abs(full).max()


def test_symmetrised_sums_of_one_view_direction_equal_those_of_all_its_mates():
    phantom = symmetric_phantom(cyclic_matrices(6), 60.0, 4.0)
    rotations = random_rotations(25, np.random.default_rng(5))
    sums = insert_views(phantom, rotations)
    ours = invert(symmetrise_sums(sums.astype(np.float64), "C6"))
    curve = fsc(ours, phantom.truth_map(BOX, VOXEL_A))
    assert curve[1:12].min() > 0.99
    # a map without that symmetry is changed by it: the test can fail
    other = chiral_phantom(60.0, 4.0)
    wrong = invert(symmetrise_sums(insert_views(other, rotations).astype(np.float64), "C6"))
    assert fsc(wrong, other.truth_map(BOX, VOXEL_A))[3:12].mean() < 0.9


def test_wiener_division_damps_shells_by_the_fsc_of_both_halves():
    mean_den = np.array([4.0, 4.0])
    inverse = inverse_tau2_from_fsc(mean_den, np.array([0.5, 1 / 3]))
    # F = 1/2 of halves is 2/3 of both: gain den / (den + 1/tau^2) must be 2/3; 1/3 gives 1/2
    gain = mean_den / (mean_den + inverse)
    assert gain == pytest.approx([2 / 3, 1 / 2])


def test_symmetrised_planes_are_those_of_the_whole():
    rotations = random_rotations(5, np.random.default_rng(6))
    sums = insert_views(chiral_phantom(60.0, 4.0), rotations).astype(np.float64)
    whole = symmetrise_sums(sums, "D2")
    assert np.array_equal(symmetrise_sums(sums, "D2", slice(7, 19)), whole[7:19])
    assert np.abs(whole[7:19]).max() > 0
