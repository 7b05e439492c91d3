"""FSC: invariants, known signal-to-noise, the phase-randomised correction, RELION's tables."""

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.signal.fsc import (
    corrected_fsc,
    fsc,
    fsc_masked,
    fsc_weight,
    mean_crossing_shell,
    phase_randomise,
    resolution_A,
    resolution_shell,
    snr_from_fsc,
    true_fsc,
    unavailable_fsc,
)
from sta_mpi.signal.masks import soft_sphere


def white(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n, n), np.float32)


def radii(n: int) -> np.ndarray:
    k2 = np.fft.fftfreq(n, 1 / n) ** 2
    return np.sqrt(k2[:, None, None] + k2[:, None] + k2)


def coloured(n: int, seed: int, amplitude) -> np.ndarray:
    """White noise filtered to an amplitude per frequency, by the full complex transform."""
    transform = np.fft.fftn(white(n, seed)) * amplitude(radii(n))
    return np.fft.ifftn(transform).real.astype(np.float32)


def shell_sizes(n: int) -> np.ndarray:
    return np.bincount(np.rint(radii(n)).astype(int).ravel())[: n // 2 + 1]


@pytest.mark.parametrize("n", [7, 16, 31, 32])
def test_fsc_of_map_with_itself_is_one(n):
    curve = fsc(white(n, 1), white(n, 1))
    assert curve.shape == (n // 2 + 1,)
    assert np.abs(curve - 1.0).max() < 1e-12


@pytest.mark.parametrize("n", [16, 31])
def test_fsc_matches_a_direct_sum_over_the_full_transform(n):
    a, b = white(n, 2), (white(n, 2) + white(n, 3)).astype(np.float32)
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    shell = np.rint(radii(n)).astype(int)
    for s, value in enumerate(fsc(a, b)):
        if s:
            sel = shell == s
            expected = (fa[sel] * fb[sel].conj()).sum().real / np.sqrt(
                (np.abs(fa[sel]) ** 2).sum() * (np.abs(fb[sel]) ** 2).sum())
            assert abs(value - expected) < 1e-5  # single precision transforms


def test_fsc_ignores_scale_and_common_shift_and_sees_a_sign():
    a, b = white(16, 4), (white(16, 4) + white(16, 5)).astype(np.float32)
    base = fsc(a, b)
    assert np.allclose(fsc(7 * a, 0.1 * b), base, atol=1e-5)
    moved = fsc(np.roll(a, (2, 3, 5), (0, 1, 2)), np.roll(b, (2, 3, 5), (0, 1, 2)))
    assert np.allclose(moved, base, atol=1e-5)
    assert np.allclose(fsc(a, -b)[1:], -base[1:], atol=1e-5)


def test_fsc_of_independent_noise_scatters_about_zero_as_theory_says():
    # Standard deviation 1 / sqrt(independent samples) = sqrt(2 / N) for N Hermitian samples.
    n = 48
    spread = np.sqrt(2.0 / shell_sizes(n))[4:]
    curve = fsc(white(n, 6), white(n, 7))[4:]
    assert (np.abs(curve) < 4.5 * spread).all()
    assert 0.5 < (curve / spread).std() < 1.6


def test_fsc_of_signal_with_noise_follows_the_known_snr():
    # Signal power S(k), noise power 1 in both halves: FSC = S / (S + 1).
    n = 48
    amplitude = lambda k: 3.0 * np.exp(-k / 12.0)  # noqa: E731
    signal = coloured(n, 8, amplitude)
    curve = fsc(signal + white(n, 9), signal + white(n, 10))
    power = amplitude(np.arange(n // 2 + 1)) ** 2
    expected = power / (power + 1.0)
    spread = np.sqrt(2.0 / shell_sizes(n))
    assert (np.abs(curve - expected) < 4.0 * spread + 0.01)[3:].all()
    # Error of F is (1 - F^2) spread, so that of ln(F / (1 - F)) is spread (1 + F) / F; the
    # power of this one signal scatters by another spread.
    error = np.abs(np.log(snr_from_fsc(curve)) - np.log(power))
    assert (error < 4.0 * spread * ((1.0 + expected) / expected + 1.0))[3:].all()


def test_snr_of_the_merged_map_is_twice_that_of_a_half_and_always_finite():
    assert np.allclose(snr_from_fsc([0.5, 0.2]), [1.0, 0.25])
    assert np.allclose(snr_from_fsc([0.5, 0.2], of_merged=True), [2.0, 0.5])
    assert np.isfinite(snr_from_fsc([1.0, -0.3])).all()
    assert (snr_from_fsc([1.0, -0.3]) > 0).all()


def test_fsc_weight_is_the_correlation_of_the_merged_map_with_the_truth():
    # F = S/(S+N); merged map S + N/2; correlation with the signal sqrt(S / (S + N/2)).
    snr = np.array([100.0, 3.0, 1.0, 0.2])
    assert np.allclose(fsc_weight(snr / (snr + 1)), np.sqrt(snr / (snr + 0.5)))
    assert np.array_equal(fsc_weight([1.0, 0.5, 0.0, 0.5])[2:], [0.0, 0.0])


def test_randomised_map_keeps_amplitudes_and_low_shells():
    map_ = coloured(32, 11, lambda k: np.exp(-k / 6.0))
    random = phase_randomise(map_, 6, np.random.default_rng(1))
    before, after = np.fft.rfftn(map_), np.fft.rfftn(random)
    scale = np.abs(before).max()
    assert np.abs(np.abs(before) - np.abs(after)).max() < 1e-5 * scale
    low = (np.rint(radii(32)) < 6)[:, :, :17]
    assert np.abs(before - after)[low].max() < 1e-5 * scale
    assert np.abs(fsc(map_, random)[8:]).max() < 5 * np.sqrt(2 / shell_sizes(32)[8])


def test_randomised_phases_are_uniform():
    random = phase_randomise(white(32, 12), 4, np.random.default_rng(2))
    high = (np.rint(radii(32)) >= 4)[:, :, 1:16]
    phases = np.angle(np.fft.rfftn(random)[:, :, 1:16][high])
    counts, _ = np.histogram(phases, bins=8, range=(-np.pi, np.pi))
    expected = len(phases) / 8
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def tight_mask_halves(n: int = 64):
    """Halves that share only a smooth blob, cut by a hard tight mask: no detail is common."""
    blob = 20.0 * soft_sphere(n, 10.0, 12.0)
    halves = [(blob + white(n, seed)).astype(np.float32) for seed in (13, 14)]
    return *halves, soft_sphere(n, 14.0, 0.0)


def test_corrected_fsc_of_noise_under_a_tight_mask_is_zero_though_the_masked_is_not():
    result = corrected_fsc(*tight_mask_halves(), 2.0, np.random.default_rng(3))
    beyond = slice(result.randomised_from_shell + 4, None)
    assert result.masked[beyond].mean() > 0.1
    assert abs(result.corrected[beyond].mean()) < 0.03
    assert abs(result.unmasked[beyond].mean()) < 0.03


def test_corrected_fsc_keeps_true_signal():
    # Shared white detail of power 1 and noise of power 1: FSC 0.5 under any mask.
    n = 64
    detail = white(n, 15)
    first, second, mask = tight_mask_halves(n)
    halves = [(half + detail).astype(np.float32) for half in (first, second)]
    result = corrected_fsc(*halves, mask, 2.0, np.random.default_rng(4))
    high = slice(result.randomised_from_shell + 4, None)
    assert abs(result.corrected[high].mean() - 0.5) < 0.05


def test_correction_starts_two_shells_beyond_the_first_randomised_one():
    result = corrected_fsc(*tight_mask_halves(32), 2.0, np.random.default_rng(5))
    start = result.randomised_from_shell
    assert result.unmasked[start] < 0.8 <= result.unmasked[1:start].min()
    assert np.array_equal(result.corrected[: start + 2], result.masked[: start + 2])
    assert not np.array_equal(result.corrected[start + 2:], result.masked[start + 2:])


def test_randomisation_can_start_at_a_given_resolution():
    result = corrected_fsc(
        *tight_mask_halves(32), 2.0, np.random.default_rng(5), randomise_at_A=8.0)
    assert result.randomised_from_shell == 8


def test_perfect_halves_need_no_correction():
    map_ = white(16, 16)
    result = corrected_fsc(
        map_, map_, soft_sphere(16, 4, 2), 2.0, np.random.default_rng(6))
    assert result.randomised_from_shell is None
    assert np.array_equal(result.corrected, result.masked)
    assert result.resolution_A() == 4.0  # Nyquist


def test_same_seed_gives_the_same_bits():
    first, second = (
        corrected_fsc(*tight_mask_halves(32), 2.0, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.corrected, second.corrected)


def test_resolution_of_a_known_curve_by_both_rules():
    curve = np.array([1.0, 0.9, 0.5, 0.243, 0.043, 0.3, 0.0])
    assert resolution_shell(curve) == 3.0
    assert abs(resolution_shell(curve, rule="interpolated") - 3.5) < 1e-12
    assert resolution_A(curve, 2.0, 12) == 12 * 2.0 / 3
    assert resolution_shell(curve, 0.5) == 2.0
    assert resolution_shell(np.ones(9)) == 8.0
    assert resolution_A(np.array([1.0, 0.0, 0.0]), 2.0, 4) == float("inf")


def test_mean_crossing_is_the_mean_of_crossings_over_thresholds():
    rng = np.random.default_rng(3)
    curve = np.sort(rng.uniform(0.0, 1.0, 60))[::-1]
    thresholds = np.linspace(0.1, 0.4, 200_001)
    shells_above = [np.count_nonzero(curve[1:] >= t) for t in thresholds]
    assert mean_crossing_shell(curve, 0.2) == pytest.approx(np.mean(shells_above), abs=1e-3)


def test_mean_crossing_of_a_step_is_its_shell_and_what_returns_after_it_counts_for_nothing():
    curve = [1.0, 1.0, 1.0, 0.9, 0.05, 0.6, 0.6, 0.0]
    assert mean_crossing_shell(curve) == resolution_shell(curve) == 3.0
    assert mean_crossing_shell([1.0, 0.9, 0.9, 0.9]) == 3.0
    assert mean_crossing_shell([1.0, 0.05, 0.9]) == 0.0
    assert np.isnan(mean_crossing_shell([np.nan] * 5))


def test_mean_crossing_scatters_less_than_the_crossing_of_one_threshold():
    # a curve that lies along the threshold for some shells, with the scatter of an FSC
    shells = np.arange(97)
    smooth = np.clip(0.143 - 0.03 * (shells - 82) + 0.03 * np.tanh(shells - 82.0), 0.0, 1.0)
    rng = np.random.default_rng(4)
    curves = smooth + rng.normal(0.0, 0.003, (400, 97))
    means = [mean_crossing_shell(c) for c in curves]
    assert np.std(means) < 0.3 * np.std([resolution_shell(c) for c in curves])
    one_shell_on = np.concatenate([[1.0], smooth[:-1]])
    assert mean_crossing_shell(one_shell_on) - mean_crossing_shell(smooth) == pytest.approx(1.0)


def test_curve_that_is_not_available_claims_no_resolution():
    """One half map is empty: neither Nyquist, nor infinity, nor 0."""
    found = unavailable_fsc(12, 2.0)
    for curve in (found.unmasked, found.masked, found.randomised, found.corrected):
        assert curve.shape == (7,)
        assert np.isnan(resolution_shell(curve))
        assert np.isnan(resolution_A(curve, 2.0, 12, rule="interpolated"))
    assert np.isnan(found.resolution_A())


# Job, resolution and randomisation the real tables state; 192 px box of 1.35 A.
POSTPROCESS = [("job022", 5.082353, 8.64), ("job026", 3.987692, 7.854546),
               ("job029", 3.868657, 7.854546), ("job079", 3.323077, 7.005406)]


@pytest.mark.parametrize(("job", "stated_A", "randomised_A"), POSTPROCESS)
def test_real_postprocess_tables_are_reproduced_from_their_own_curves(
        data_dir, job, stated_A, randomised_A):
    path = data_dir / "relion5_empiar10164_hiv" / "PostProcess" / job / "postprocess.star"
    if not path.is_file():
        pytest.skip(f"real table not found: {path}")
    block = path.read_text().split("data_fsc")[1].split("data_guinier")[0].splitlines()
    labels = [line.split()[0] for line in block if line.startswith("_rln")]
    rows = np.array([line.split() for line in block if line[:12].strip().isdigit()], float)
    column = dict(zip(labels, rows.T, strict=True))
    corrected = column["_rlnFourierShellCorrelationCorrected"]
    unmasked = column["_rlnFourierShellCorrelationUnmaskedMaps"]
    masked = column["_rlnFourierShellCorrelationMaskedMaps"]
    randomised = column["_rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"]
    box, voxel_A = 192, 1.35
    assert len(corrected) == box // 2 + 1

    # Resolution by RELION's rule, and between shells by ours: never more than a shell away.
    assert abs(resolution_A(corrected, voxel_A, box) - stated_A) < 1e-5
    shell = resolution_shell(corrected, rule="interpolated")
    assert 0 <= shell - resolution_shell(corrected) < 1
    # First shell below 0.8, and the correction from two shells beyond it.
    from_shell = int(np.flatnonzero(unmasked[1:] < 0.8)[0]) + 1
    assert abs(box * voxel_A / from_shell - randomised_A) < 1e-5
    # Columns carry 6 decimals, 5 where negative; 1 - n magnifies that at most twice here.
    assert np.abs(true_fsc(masked, randomised, from_shell) - corrected).max() < 2e-5


def test_bad_maps_and_masks_are_refused_with_what_is_wrong():
    good = white(8, 17)
    with pytest.raises(InputError, match="one size"):
        fsc(good, white(6, 1))
    with pytest.raises(InputError, match="cubic"):
        fsc(good[:4], good[:4])
    bad = good.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="half map 2"):
        fsc(good, bad)
    with pytest.raises(InputError, match="within 0 and 1"):
        fsc_masked(good, good, 2 * np.ones_like(good))
    with pytest.raises(InputError, match="resample"):
        fsc_masked(good, good, np.ones((4, 4, 4), np.float32))
