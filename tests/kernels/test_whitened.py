"""Signal-to-noise power of weighted samples."""

import numpy as np
import pytest

from sta_mpi.kernels.polish import make_layout, pack_samples
from sta_mpi.kernels.whitened import power_of_stored, whitened_power


def samples(shape: tuple[int, int], scale: float = 1.0):
    """Complex data and weights (m, p), some of them 0."""
    rng = np.random.default_rng(shape[1])
    data = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    weight = (rng.random(shape) ** 6 * scale).astype(np.float32)
    weight[:, ::7] = 0.0
    return data, weight


def by_definition(data, weight) -> float:
    """The sum in double precision, with weights raised to a tenth of their row's mean."""
    wide = weight.astype(float)
    bottom = np.maximum(wide, 0.1 * wide.mean(axis=1, keepdims=True))
    return float((np.abs(data.astype(complex)) ** 2 / bottom).sum())


@pytest.mark.parametrize("shape", [(1, 1), (2, 15), (3, 16), (4, 37), (41, 896)])
@pytest.mark.parametrize("scale", [1e-6, 1e8])
def test_power_is_the_sum_in_double_precision(shape, scale):
    data, weight = samples(shape, scale)
    weight[:, 0] = scale
    assert whitened_power(data.real, data.imag, weight) == pytest.approx(
        by_definition(data, weight), rel=1e-5)


def test_rows_without_weight_count_for_nothing():
    data, weight = samples((3, 40))
    weight[1] = 0.0
    seen = [0, 2]
    assert whitened_power(data.real, data.imag, weight) == pytest.approx(
        by_definition(data[seen], weight[seen]), rel=1e-5)
    assert whitened_power(data.real, data.imag, np.zeros_like(weight)) == 0.0


def test_half_precision_has_the_power_of_what_it_stores():
    rng, shape, layout = np.random.default_rng(3), (5, 16, 9), make_layout(16, [3, 7])
    data = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64) * 1e6
    weight = rng.random(shape).astype(np.float32) * np.float32(1e9)
    full, half = (pack_samples(data, weight, layout, d) for d in (np.float32, np.float16))
    assert full.norm == power_of_stored(full.dre, full.dim, full.w, 1.0, 1.0)
    # values are rounded to 11 bits, and the mean of many is better than that
    assert 1e-8 < abs(half.norm / full.norm - 1) < 2.0**-10
