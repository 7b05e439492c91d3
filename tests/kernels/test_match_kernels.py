"""The kernels of template matching do what their plain definitions say."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.kernels.gather import pack_volume
from sta_mpi.kernels.match import band_rows, keep_best, multiply_band, turn_band
from sta_mpi.kernels.match import reference as plain

SHAPES = [(1, 1, 1), (2, 7, 4), (7, 8, 9), (16, 6, 33)]


def complex_noise(shape, rng):
    """Random half transform of a real shape."""
    half = (*shape[:2], shape[2] // 2 + 1)
    return (rng.standard_normal(half) + 1j * rng.standard_normal(half)).astype(np.complex64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end_per_A", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("is_half_turned", [False, True])
def test_product_over_a_band_equals_the_reference(shape, end_per_A, is_half_turned):
    rng = np.random.default_rng(shape[0])
    a, b = complex_noise(shape, rng), complex_noise(shape, rng)
    rows = band_rows(shape, np.array([1.0, 1.1, 0.9]), end_per_A)
    found, expected = (np.full(a.shape, np.nan, np.complex64) for _ in range(2))
    multiply_band(a, b, rows, found, is_half_turned)
    plain.multiply_band(a, b, rows, expected, is_half_turned)
    # products rounded once or twice in single precision
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6 * np.abs(a).max()**2)


def test_band_holds_all_frequencies_up_to_its_end_and_no_others():
    shape, voxels = (7, 10, 8), np.array([10.0, 12.0, 9.0])
    rows = band_rows(shape, voxels, 0.03)
    z, y = (np.fft.fftfreq(n, v) for n, v in zip(shape[:2], voxels[:2], strict=True))
    s = np.sqrt(z[:, None, None]**2 + y[:, None]**2 + np.fft.rfftfreq(8, 9.0)**2)
    s[:, 5] = s[:, :, 4] = 1.0      # the Nyquist frequencies
    assert (plain.is_inside(rows, 5) == (s <= 0.03)).all()


@pytest.mark.parametrize("shape", [(7, 8, 9), (6, 12, 5)])
def test_turned_transform_equals_the_reference(shape):
    rng = np.random.default_rng(1)
    volume = pack_volume(complex_noise((16, 16, 16), rng), 16)
    R = Rotation.random(random_state=3).as_matrix()
    steps = np.array([1.1, 0.9, 1.3])
    # the longest row ends at a stored frequency of 7.8
    rows = band_rows(shape, 1.0 / (steps * np.array(shape)), 4.0 / 1.0)
    found, expected = (np.zeros((*shape[:2], shape[2] // 2 + 1), np.complex64) for _ in range(2))
    turn_band(volume, R, steps, rows, found)
    plain.turn_band(volume, R, steps, rows, expected)
    assert rows.sum() > 20
    # coordinates in single precision
    assert 0 < np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(("shape", "first"), [((3, 4, 5), (1, 1, 2)), ((8, 8, 9), (0, 0, 0)),
                                              ((17, 9, 12), (4, 2, 3))])
def test_best_scores_equal_the_reference_and_the_lowest_of_equals_stays(shape, first):
    rng = np.random.default_rng(shape[0])
    m = tuple(n - 2 * f for n, f in zip(shape, first, strict=True))
    sets = [[np.full(m, -9, np.float32), np.zeros(m, np.int32), np.full(m, 9, np.float32)]
            for _ in range(3)]
    tries = [(index, rng.integers(-2, 3, shape).astype(np.float32)) for index in range(1, 6)]
    for kept, function, order in zip(sets, (keep_best, plain.keep_best, keep_best),
                                     (tries, tries, tries[::-1]), strict=True):
        for index, scores in order:     # many ties
            function(scores, first, np.float32(0.5), index, *kept)
    for found, expected, backward in zip(*sets, strict=True):
        assert (found == expected).all()
        assert (found == backward).all()
    assert sets[0][1].max() > 0


def test_shapes_that_do_not_fit_are_refused():
    one, rows = np.zeros((4, 4, 3), np.complex64), np.zeros((4, 4), np.int32)
    with pytest.raises(ValueError, match="one shape"):
        multiply_band(one, np.zeros((6, 6, 4), np.complex64), rows, one)
    small = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="of a tile"):
        keep_best(np.zeros((3, 3, 3), np.float32), (2, 0, 0), 1.0, 0, small,
                  small.astype(np.int32), small)
    with pytest.raises(ValueError, match="rows"):
        turn_band(pack_volume(one, 4), np.eye(3), np.ones(3), rows[:2], one)
