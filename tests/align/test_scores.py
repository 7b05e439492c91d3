"""Weights on the shells: every sample alike (cc), or the best estimate of the structure (fsc)."""

import numpy as np
import pytest

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.scores import flat_gain, wiener_from_half_fsc, with_gain
from sta_mpi.signal.fft import radius_rft

N = 48
SHELLS = np.arange(N // 2 + 1)
POWER = np.exp(-SHELLS / 4.0)
"""|V|^2 falls by 400 over the band, as that of a protein does."""


def falling_weights(rng, shape):
    """Weights that fall towards high frequencies, with a scatter."""
    radius = radius_rft(shape[-2:] if len(shape) == 3 and shape[0] != N else shape)
    return (np.exp(-radius / 8.0) * rng.uniform(0.5, 1.5, shape)).astype(np.float32)


def tilts(rng):
    weight = falling_weights(rng, (3, N, N // 2 + 1))
    data = (weight * rng.normal(size=weight.shape)).astype(np.complex64)
    return TiltSamples(data, weight, np.broadcast_to(np.eye(3), (3, 3, 3)).copy(), np.arange(3))


def box(rng):
    weight = falling_weights(rng, (N, N, N // 2 + 1))
    return BoxSamples((weight * rng.normal(size=weight.shape)).astype(np.complex64), weight,
                      np.eye(3))


def expected_power(samples):
    """Mean of w |V|^2 over the samples of each shell, of the shells 2 to 18."""
    shape = samples.weight_rft.shape if isinstance(samples, BoxSamples) else (N, N // 2 + 1)
    radius = np.broadcast_to(radius_rft(shape), samples.weight_rft.shape)
    value = samples.weight_rft * np.exp(-radius / 4.0)
    return np.array([value[np.rint(radius) == s].mean() for s in range(2, 19)])


@pytest.mark.parametrize("make", [tilts, box])
def test_every_shell_counts_alike_in_the_constrained_correlation(make):
    samples = make(np.random.default_rng(0))
    before = expected_power(samples)
    assert before[0] / before[-1] > 100
    flat = with_gain(samples, flat_gain(samples, POWER))
    after = expected_power(flat)
    # a gain that grows by 1.45 a shell is a straight line between shells: 2 % too high at most
    assert after == pytest.approx(1.0, abs=0.05)


def test_gain_multiplies_data_and_weight_alike():
    samples = tilts(np.random.default_rng(1))
    changed = with_gain(samples, SHELLS + 1.0)
    ratio = changed.weight_rft / samples.weight_rft
    assert np.allclose(changed.data_rft, samples.data_rft * ratio, rtol=1e-5)
    assert ratio[0, 0, 5] == pytest.approx(6.0)
    assert ratio[0, 3, 4] == pytest.approx(6.0)


def test_shells_without_signal_do_not_count():
    samples = tilts(np.random.default_rng(2))
    power = np.where(SHELLS < 10, POWER, 0.0)
    gain = flat_gain(samples, power)
    assert (gain[10:] == 0).all()
    assert (gain[:10] > 0).all()
    assert not np.any(flat_gain(samples, np.zeros_like(POWER)))


def test_half_map_times_its_fsc_is_nearest_to_the_structure():
    """Wiener's filter by brute force: no other factor leaves a smaller error."""
    rng = np.random.default_rng(3)
    n, signal, noise = 40_000, 1.0, 1.6
    structure = signal * rng.normal(size=n)
    half1, half2 = (structure + noise * rng.normal(size=n) for _ in range(2))
    fsc = (half1 @ half2) / np.sqrt((half1 @ half1) * (half2 @ half2))
    factors = np.linspace(0, 1, 401)
    errors = [np.mean((f * half1 - structure) ** 2) for f in factors]
    # the correlation of 40,000 samples is known to 0.005
    assert wiener_from_half_fsc(np.array([1.0, fsc]))[1] == pytest.approx(
        factors[int(np.argmin(errors))], abs=0.02)


def test_filter_ends_at_the_first_zero_of_the_fsc():
    assert wiener_from_half_fsc(np.array([1.0, 1.1, 0.5, -0.1, 0.3])).tolist() == [
        1.0, 1.0, 0.5, 0.0, 0.0]


def test_without_an_fsc_nothing_is_filtered():
    assert wiener_from_half_fsc(np.full(4, np.nan)).tolist() == [1.0] * 4
