"""Guinier fit, weighting and sharpening: RELION's own tables, and curves made by hand."""

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_fsc import read_postprocess
from sta_mpi.post.guinier import (
    NO_AMPLITUDE,
    b_factor_beyond_doubt,
    fit_guinier,
    log_amplitudes,
)
from sta_mpi.post.particle_fsc import particle_fsc, solvent_factor_of_mask, solvent_factor_of_mass
from sta_mpi.post.sharpen import Sharpening, mtf_of_shells, sharpen
from sta_mpi.signal.filters import b_factor_map, lowpass_map
from sta_mpi.signal.fsc import fsc_weight, resolution_A

JOBS = ("job022", "job026", "job029", "job079")


def white(n, seed):
    return np.random.default_rng(seed).standard_normal((n, n, n)).astype(np.float32)


@pytest.fixture(params=JOBS)
def real_table(data_dir, request):
    """A postprocess.star of RELION's tutorial."""
    path = data_dir / "relion5_empiar10164_hiv" / "PostProcess" / request.param / "postprocess.star"
    if not path.is_file():
        pytest.skip(f"real table not found: {path}")
    return request.param, read_postprocess(path)


def test_real_b_factor_comes_out_of_the_guinier_table(real_table):
    job, table = real_table
    if job != "job079":
        assert "guinier_slope" not in table.general
        return
    fit = fit_guinier(table.guinier_s2_per_A2, table.guinier["weighted"], low_A=10.0)
    # RELION states -82.70203; columns of 5 decimals over 63 shells give that to 1e-3
    assert abs(fit.b_factor_A2 - table.general["b_factor_A2"]) < 1e-3
    assert abs(fit.b_factor_A2 + 82.70) < 0.005
    assert abs(fit.intercept - table.general["guinier_intercept"]) < 1e-4
    assert abs(fit.r_squared - table.general["guinier_correlation"]) < 1e-5


def test_real_b_factor_rests_on_shells_beyond_the_resolution(real_table):
    # Up to 3.32 Å the line of job 079 is flatter: -59.6 by numpy's polyfit on these 53 rows
    job, table = real_table
    x, y = table.guinier_s2_per_A2, table.guinier["weighted"]
    limit_A = table.general["final_resolution_A"]
    fit = fit_guinier(x, y)
    within = b_factor_beyond_doubt(x, y, fit, 10.0, limit_A)
    if job == "job079":
        assert abs(within + 59.6) < 0.1
    assert b_factor_beyond_doubt(x, y, fit, 10.0, limit_A, tolerance=9.0) is None
    assert b_factor_beyond_doubt(x, y, fit, 10.0, 10.0) is None


def test_real_weighted_amplitudes_are_the_original_ones_times_the_fsc_weight(real_table):
    _, table = real_table
    weight = fsc_weight(table.curves["corrected"])
    gone = weight == 0.0
    assert np.array_equal(table.guinier["weighted"] <= NO_AMPLITUDE, gone)
    error = table.guinier["weighted"] - table.guinier["original"] - np.log(weight + gone)
    # 5 decimals of the logarithms, 6 of an FSC that is down to 5e-3 in the last shells
    assert np.abs(error[~gone]).max() < 2e-4


def test_real_sharpened_amplitudes_follow_from_the_b_factor(real_table):
    job, table = real_table
    if job != "job079":
        assert "sharpened" not in table.guinier
        return
    used = table.guinier["weighted"] > NO_AMPLITUDE
    gain = -0.25 * table.general["b_factor_A2"] * table.guinier_s2_per_A2
    error = table.guinier["sharpened"] - table.guinier["weighted"] - gain
    # |k| varies within a shell of one voxel: s^2 by +-1/k, so B s^2 / 4 by a percent at s = 0.3
    assert np.abs(error[used]).max() < 0.03


def test_real_resolutions_and_particle_curves_follow_from_their_tables(real_table):
    _, table = real_table
    box = 2 * (len(table.s_per_A) - 1)
    voxel_A = 1.0 / (box * table.s_per_A[1])
    found = resolution_A(table.curves["corrected"], voxel_A, box)
    assert abs(found - table.general["final_resolution_A"]) < 2e-3  # s has 6 decimals
    curve = particle_fsc(table.curves["unmasked"], table.general["fraction_solvent_mask"])
    # 6 decimals of F, magnified by the factor of 10.7
    assert np.abs(curve - table.curves["particle_mask_fraction"]).max() < 1e-4


def test_b_factor_of_a_blurred_white_map_is_found():
    blurred = b_factor_map(white(64, 1), 1.5, 120.0)
    found = sharpen(blurred, 1.5, Sharpening(auto_b_factor=True, fit_low_A=10.0))
    # scatter of the mean amplitude of a shell: 0.52 / sqrt(samples / 2), over shells 10 to 32
    assert abs(found.b_factor_A2 + 120.0) < 3.0
    assert found.fit.r_squared > 0.99


def test_sharpening_by_a_given_b_undoes_a_blur():
    map_ = lowpass_map(white(48, 2), 2.0, 6.0)
    back = sharpen(b_factor_map(map_, 2.0, 80.0), 2.0, Sharpening(b_factor_A2=-80.0)).map
    assert np.abs(back - map_).max() < 1e-4 * np.abs(map_).max()


def test_mtf_is_divided_out_at_the_frequency_of_the_detector():
    # exp(-f) of the detector, whose pixel is half the voxel: shell s of n is f = s / (2 n)
    frequency = np.linspace(0, 0.5, 200)
    shells = mtf_of_shells(frequency, np.exp(-frequency), 1.0, 64, 2.0)
    assert np.abs(shells - np.exp(-np.arange(33) / 128)).max() < 1e-5
    done = sharpen(white(64, 3), 2.0, Sharpening(mtf=shells))
    gain = done.log_amplitudes["mtf_corrected"] - done.log_amplitudes["original"]
    # samples of shell 1 lie at |k| 1 to 1.41: on the mean 0.3 further out, 1/128 of that each
    assert np.abs(gain - np.arange(33) / 128).max() < 3e-3


def test_log_amplitudes_are_those_of_white_noise():
    n = 32
    rft = np.fft.rfftn(white(n, 4)).astype(np.complex64)
    # |F| / n^3 of unit noise has the Rayleigh mean sqrt(pi)/2 n^(-3/2)
    expected = np.log(np.sqrt(np.pi) / 2 * n**-1.5)
    assert np.abs(log_amplitudes(rft)[6:] - expected).max() < 0.1
    assert (log_amplitudes(0 * rft) == NO_AMPLITUDE).all()


def test_weight_and_lowpass_leave_nothing_beyond_the_resolution():
    done = sharpen(white(32, 5), 2.0, Sharpening(weight=np.ones(17), lowpass_A=8.0))
    power = np.abs(np.fft.rfftn(done.map)) ** 2
    k = np.sqrt(sum(np.meshgrid(*(np.fft.fftfreq(32, 1 / 32) ** 2,) * 2, np.arange(17.0) ** 2,
                                indexing="ij")))
    assert power[k > 9.5].max() < 1e-9 * power.max()
    assert power[k < 6.5].mean() > 1e3


def test_fit_with_too_few_shells_is_refused_with_what_to_do():
    with pytest.raises(InputError, match="--b-fit-low-A"):
        fit_guinier(np.arange(8) ** 2 / 1e4, np.zeros(8), low_A=10.0)
    with pytest.raises(InputError, match="--mtf-pixel-A"):
        sharpen(white(16, 6), 2.0, Sharpening(mtf=np.linspace(1, 0, 9)))


def test_particle_fsc_is_that_of_the_volume_without_its_solvent():
    # Noise everywhere, signal in the particle alone: in the box its ratio is f times smaller
    snr, f = np.array([10.0, 1.0, 0.1]), 6.0
    in_box = (snr / f) / (snr / f + 1.0)
    assert np.allclose(particle_fsc(in_box, f), snr / (snr + 1.0))
    assert np.array_equal(particle_fsc([0.3], 1.0), [0.3])
    assert (np.abs(particle_fsc(np.linspace(-1, 1, 50), 30.0)) <= 1).all()


def test_factors_of_equal_volumes_agree():
    mask = np.zeros((40, 40, 40), np.float32)
    mask[10:30, 10:30, 10:30] = 1
    mass_kDa = 0.81 * (20 * 3.0) ** 3 / 1000
    assert abs(solvent_factor_of_mask(mask) / solvent_factor_of_mass(mass_kDa, 120.0) - 1) < 1e-6
    with pytest.raises(InputError, match="no volume"):
        solvent_factor_of_mask(0 * mask)
