"""What is inserted into padded sums: samples of the box are enough where voxels see many slices."""

from types import SimpleNamespace

import numpy as np
import pytest

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.observe import TiltObservation
from sta_mpi.align.reconstruct import divide_plane, plane_shell_sums, shell_mean
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.fft import FftPlans, radius_rft
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_circle, soft_sphere
from sta_mpi.simulate.phantom import GaussianPhantom

BOX, GRID, VOXEL_A = 48, 96, 8.0
PLANS = FftPlans(effort="estimate")
PHANTOM = GaussianPhantom(
    np.array([[50.0, -40.0, 15.0], [-60.0, 30.0, 30.0], [15.0, 60.0, -50.0],
              [-20.0, -50.0, -50.0]]),
    np.array([7.0, 9.0, 6.0, 8.0]), np.array([5e3, 4e3, 3e3, 6e3]))


def no_limits(n_px):
    """Nothing is damped by a dose."""


def patches_of(n_slices, noise):
    """Masked patches (m, b, b) of single slices with noise, their orientations and weights."""
    rng = np.random.default_rng(3)
    R = random_rotations(n_slices, rng)
    images = PLANS.irfft2(PHANTOM.views_rft(R, BOX, VOXEL_A))
    images += rng.normal(0, noise * images.std(), images.shape).astype(np.float32)
    # weights that differ between slices, as those of CTFs do
    weight = np.linspace(0.2, 1.8, n_slices, dtype=np.float32)[:, None, None]
    return images * weight * soft_circle(BOX, 19.0, 5.0), R, weight


def average(patches, R, weight, way):
    """The map from samples of the padded grid, of the box, or of the box and low frequencies."""
    def constant(data, xyz_A, tilts, share=None, reach_px=None, limits_px=None):
        everywhere = np.broadcast_to(weight, data.shape).copy()
        return (data, everywhere) if share is None else share.of(data, everywhere)

    model = SimpleNamespace(weigh=constant, series=SimpleNamespace(rotation=R),
                            dose_limits_px=no_limits, coarser=lambda factor: SimpleNamespace(
                                weigh=constant, dose_limits_px=no_limits))
    seen = TiltObservation(model, PLANS, PLANS.rfft2(patches), np.zeros(3), np.arange(len(R)))
    samples = {"padded": lambda: seen.samples_to_insert(GRID), "box": lambda: seen.samples(BOX),
               "box and low": lambda: seen.samples_with_low(GRID)}[way]()
    sums = np.zeros((GRID, GRID, GRID // 2 + 1, 4), np.float32)
    samples.insert(sums, GRID, np.eye(3))
    num, den = sums[..., 0].astype(float) + 1j * sums[..., 1], sums[..., 2].astype(float)
    mean = shell_mean(sum(plane_shell_sums(den[z], GRID, z) for z in range(GRID)))
    rft = np.stack([divide_plane(num[z], den[z], GRID, z, mean, None) for z in range(GRID)])
    inside = slice(GRID // 2 - BOX // 2, GRID // 2 + BOX // 2)
    map_ = correct_gridding(PLANS.irfft3(rft)[inside, inside, inside], GRID / BOX)
    return map_ * soft_sphere(BOX, 17.0, 3.0)


@pytest.fixture(scope="module")
def truth():
    return PHANTOM.truth_map(BOX, VOXEL_A) * soft_sphere(BOX, 17.0, 3.0)


def snr(map_, truth):
    """Signal over noise in bands of shells, by the agreement with the truth."""
    curve = fsc(map_, truth)
    ratio = curve[1:] ** 2 / (1 - curve[1:] ** 2)
    return np.array([ratio[a - 1:b - 1].sum() for a, b in ((1, 6), (6, 12), (12, 18), (18, 23))])


def test_boxes_give_the_signal_to_noise_ratio_of_padded_samples(truth):
    """4 samples a voxel, half of what a command asks for."""
    noisy = patches_of(4 * 8 * BOX, 4.0)
    padded, boxes = (snr(average(*noisy, way), truth) for way in ("padded", "box and low"))
    assert np.abs(boxes / padded - 1.0).max() < 0.03
    assert (boxes != padded).all()


def test_boxes_without_noise_are_on_the_grey_scale_of_padded_samples(truth):
    clean = patches_of(4 * 8 * BOX, 0.0)
    errors = [np.sqrt(np.mean((average(*clean, way) - truth) ** 2) / np.mean(truth**2))
              for way in ("padded", "box and low", "box")]
    assert errors[0] < 0.06
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
    # scale and low frequencies are what is lacking without
    assert errors[2] > 0.5


def test_centred_and_scaled_samples_keep_their_low_frequencies():
    patches, R, _ = patches_of(3, 1.0)
    model = SimpleNamespace(
        weigh=lambda data, *_: (data, np.ones(data.shape, np.float32)),
        coarser=lambda f: model, series=SimpleNamespace(rotation=R), dose_limits_px=no_limits)
    seen = TiltObservation(model, PLANS, PLANS.rfft2(patches), np.zeros(3), np.arange(3))
    samples = seen.samples_with_low(GRID)
    moved = samples.centred(np.array([1.5, -2.0, 0.5])).scaled(0.25)
    assert isinstance(moved.low, TiltSamples)
    assert np.allclose(moved.low.weight_rft, 0.25)
    # frequency k of the box is 2k of the padded low box: the same shift and share
    ratio = moved.data_rft[:, 3, 4] / samples.data_rft[:, 3, 4]
    assert np.allclose(moved.low.data_rft[:, 6, 8] / samples.low.data_rft[:, 6, 8], ratio,
                       rtol=1e-3)


@pytest.mark.parametrize("way", ["padded", "box", "box and low"])
def test_tilts_are_inserted_up_to_the_limit_of_their_dose(way):
    patches, R, _ = patches_of(3, 1.0)
    limits = np.array([5.0, 20.0, 24.0])       # of a box, of 48 px of 8 A

    def inserted(is_limited):
        """Sums of the samples, or of those that are not set to zero beyond the limits."""
        def weigh(data, xyz_A, tilts, share=None, reach_px=None, limits_px=None):
            weight = np.ones(data.shape, np.float32)
            if not is_limited:
                limit = limits * (1 if data.shape[1] == BOX else 2)
                inside = radius_rft(data.shape[1:]) <= limit[:, None, None]
                data, weight = data * inside, weight * inside
            return (data, weight) if share is None else share.of(data, weight)

        def limits_px(n):
            """Of a grid of n px; that of the low frequencies has half the spacing as well."""
            return limits * (1 if n == BOX else 2) if is_limited else None

        low = SimpleNamespace(weigh=weigh, dose_limits_px=limits_px)
        model = SimpleNamespace(weigh=weigh, series=SimpleNamespace(rotation=R),
                                dose_limits_px=limits_px, coarser=lambda factor: low)
        seen = TiltObservation(model, PLANS, PLANS.rfft2(patches), np.zeros(3), np.arange(3))
        samples = {"padded": lambda: seen.samples_to_insert(GRID), "box": lambda: seen.samples(BOX),
                   "box and low": lambda: seen.samples_with_low(GRID)}[way]()
        sums = np.zeros((GRID, GRID, GRID // 2 + 1, 4), np.float32)
        samples.centred(np.array([0.4, -0.3, 0.2])).scaled(0.5).insert(sums, GRID, np.eye(3))
        return sums

    limited, whole = inserted(True), inserted(False)
    assert np.allclose(limited[..., :3], whole[..., :3], atol=1e-6 * np.abs(whole).max())
    # and samples that are left out are not counted
    assert limited[..., 3].sum() < 0.8 * whole[..., 3].sum()
