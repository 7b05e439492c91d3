"""Dose limits: where the signal of a tilt ends, in whole bands, at a known price."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sta_mpi.align import dose_limits as module
from sta_mpi.align.dose_limits import dose_limits, limits_of_best, ring_bands, sample_counts
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.kernels.gather import prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom


@pytest.mark.parametrize(("dose", "s_per_A"), [(60.0, 0.2), (120.0, 0.2), (30.0, 0.3)])
def test_limit_is_where_critical_exposure_leaves_the_share(dose, s_per_A):
    """Grant & Grigorieff (2015): D^2 = exp(-N / (0.245 s^-1.665 + 2.81))."""
    share = np.exp(-dose / (0.245 * s_per_A**-1.665 + 2.81))
    n, pixel_A = 1000, 1.0    # index 200 is 0.2 / Angstrom
    expected = round(n * pixel_A * s_per_A)
    assert dose_limits([dose], n, pixel_A, share * 0.999)[0] == expected
    assert dose_limits([dose], n, pixel_A, share * 1.001)[0] == expected - 1


def test_examples_are_right():
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert (found.failed, found.attempted) == (0, 3)


def test_limit_with_a_b_factor_is_that_of_a_gaussian():
    """D^2 = exp(-B N s^2 / 2), so s = sqrt(2 ln(1 / share) / (B N))."""
    limit = dose_limits([50.0], 2000, 1.0, 1e-3, b_factor_per_dose_A2=4.0)[0]
    assert limit == int(2000 * np.sqrt(2 * np.log(1e3) / 200))


def test_dose_that_is_not_known_limits_nothing_but_its_own_b_factor_does():
    limits = dose_limits([np.nan, -1.0, np.nan, 0.0], 64, 4.0, ctf_b_factor_A2=[0, 0, 2000.0, 0])
    assert limits.tolist()[:2] == [32, 32]
    assert limits[3] == 32
    assert limits[2] == int(256 * np.sqrt(2 * np.log(1e3) / 2000))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, np.nan])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share is"):
        dose_limits([1.0], 64, 4.0, share)


@given(n_rings=st.integers(1, 30), r_min=st.floats(0, 5),
       limits=st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_counts_hold_every_sample_within_the_limit_and_one_band_more_at_most(
        n_rings, r_min, limits):
    bands = ring_bands(15.0, [4.0, 8.0, 15.0], n_rings)
    layout = make_layout(32, bands.radii, r_min)
    radius = np.hypot(layout.kx.astype(float), layout.ky)
    counts = sample_counts(layout, np.array(limits))
    for count, limit in zip(counts, limits, strict=True):
        assert not (radius[count:] <= limit).any()
        edges = layout.band_start[layout.band_start < count]
        if len(edges):
            assert radius[edges.max():count].min() <= limit
    assert set(counts) <= set(layout.band_start.tolist())


def test_a_tilt_without_signal_has_no_samples():
    layout = make_layout(32, [4.0, 8.0, 15.0], 2.0)
    assert sample_counts(layout, np.array([0, 1, 15])).tolist() == [0, 0, layout.n_samples]


@given(n_rings=st.integers(1, 40), r_max=st.floats(8, 90))
def test_rings_keep_the_wanted_radii_and_waste_little(n_rings, r_max):
    wanted = [r_max / 4, r_max / 2, r_max]
    bands = ring_bands(r_max, wanted, n_rings)
    assert [bands.radii[i - 1] for i in bands.stages] == wanted
    assert list(bands.radii) == sorted(set(bands.radii))
    areas = np.diff(np.square([0.0, *bands.radii])) / r_max**2
    # a ring next to one that was left out is wider by up to half a pixel on either side
    assert areas.max() <= max(1.0, 1 / n_rings + 2 * 1.0 / r_max) + 1e-9


@pytest.mark.parametrize(("wanted", "n_rings"), [
    ([], 4), ([4.0, 4.0, 8.0], 4), ([8.0, 4.0], 4), ([4.0, 7.0], 4), ([0.0, 8.0], 4),
    ([4.0, 8.0], 0)])
def test_bands_that_make_no_sense_are_refused(wanted, n_rings):
    with pytest.raises(ValueError, match="expected"):
        ring_bands(8.0, wanted, n_rings)


def test_stages_of_rings_are_those_of_the_wanted_bands():
    """The same samples in each stage of the polish, in another order."""
    bands = ring_bands(20.0, [5.0, 10.0, 20.0], 12)
    plain, rings = make_layout(48, [5.0, 10.0, 20.0]), make_layout(48, bands.radii)
    for i, stage in enumerate(bands.stages):
        sets = [set(zip(layout.kx[:end].tolist(), layout.ky[:end].tolist(), strict=True))
                for layout, end in ((plain, plain.band_start[i + 1]),
                                    (rings, rings.band_start[stage]))]
        assert sets[0] == sets[1]


N, R_MAX, PIXEL_A, SD = 48, 20.0, 2.0, 6.0


def test_limits_keep_the_accuracy_of_the_pose_and_most_of_its_information():
    """At 120 e/A^2 the samples left out hold less than 1 % of the information."""
    rng, plans = np.random.default_rng(3), FftPlans(effort="estimate")
    phantom = chiral_phantom(13.0, 1.6)
    tilts = Rotation.from_euler("y", np.linspace(-60, 60, 21)[:, None], degrees=True).as_matrix()
    dose = np.linspace(0, 120, 21)[np.argsort(np.argsort(np.abs(np.linspace(-60, 60, 21))))]
    s = np.hypot(np.fft.fftfreq(N)[:, None], np.arange(N // 2 + 1) / N) / PIXEL_A
    with np.errstate(divide="ignore"):
        damping = np.exp(-dose[:, None, None] / (2 * (0.245 * s**-1.665 + 2.81)))
    bands = ring_bands(R_MAX, [5.0, 10.0, R_MAX], 12)
    layout = make_layout(N, bands.radii)
    volume = prepare_gather(plans.rfft3(phantom.truth_map(N, 1.0)), plans, 2.0, R_MAX)
    count = sample_counts(layout, dose_limits(dose, N, PIXEL_A))
    assert 0.3 < count.sum() / (21 * layout.n_samples) < 0.9
    settings = PolishSettings(bands=bands.stages, grey_scale=1.0)
    errors, information = [], []
    for _ in range(12):
        R = Rotation.random(rng=rng).as_matrix()
        X = damping * phantom.views_rft(tilts @ R, N, 1.0)
        X = X + np.fft.rfft2(rng.normal(scale=SD, size=(21, N, N)), norm="ortho")
        packed = pack_samples((damping * X / SD**2).astype(np.complex64),
                              (damping**2 / SD**2).astype(np.float32), layout)
        problem = PoseProblem(volume, packed, layout, tilts, N)
        found = [polish_pose(problem, Pose(R, np.full(3, 0.3)), settings, c)
                 for c in (None, count)]
        errors.append([np.linalg.norm(Rotation.from_matrix(R.T @ f.R_p2t).as_rotvec())
                       for f in found])
        information.append([np.linalg.slogdet(f.information)[1] for f in found])
    rms = np.sqrt(np.mean(np.square(errors), axis=0))
    assert rms[0] > 0
    # the two estimates differ by the noise of 1 % of the information: 10 % of an error
    assert rms[1] == pytest.approx(rms[0], rel=0.1)
    assert np.abs(np.diff(information, axis=1)).max() < 0.06    # of log det, 6 x 1 %


def test_limits_of_the_best_tilt_leave_out_a_thousandth_of_what_is_known():
    dose = 3.0 * np.arange(41)
    limits = limits_of_best(dose, 192, 1.35)
    s = np.arange(97) / (192 * 1.35)
    with np.errstate(divide="ignore"):
        exposure = 0.24499 * s**-1.6649 + 2.8141      # Grant and Grigorieff (2015)
    power = np.exp(-dose[:, None] / exposure)
    is_out = np.arange(97) > limits[:, None]
    share = np.where(is_out, power, 0.0).sum(axis=0) / power.sum(axis=0)
    assert share.max() < 1.01e-3
    assert is_out.mean() > 0.4
    assert limits[0] == 96


@pytest.mark.parametrize("dose", [[100.0, 103.0], [np.nan, 5.0], [-1.0, -1.0]])
def test_limits_of_the_best_tilt_leave_no_frequency_without_samples(dose):
    assert limits_of_best(dose, 192, 1.35).max() == 96
