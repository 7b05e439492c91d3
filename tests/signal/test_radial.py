"""Curves looked up at distinct radii, against the radius of each frequency."""

import numpy as np
import pytest

from sta_mpi.signal.fft import radius_rft
from sta_mpi.signal.radial import radial_grid

SHAPES = [(8, 5), (9, 5), (64, 33), (10, 10, 6), (7, 7, 4), (192, 97)]


@pytest.mark.parametrize("shape", SHAPES)
def test_radii_in_their_places_are_those_of_all_frequencies_bit_by_bit(shape):
    grid = radial_grid(shape)
    assert np.array_equal(grid.radii[grid.place], radius_rft(shape))
    assert np.all(np.diff(grid.radii) > 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_curve_over_shells_is_interpolated_as_at_each_frequency(shape):
    curve = np.random.default_rng(1).normal(size=shape[0] // 2 + 1)
    expected = np.interp(radius_rft(shape), np.arange(len(curve)), curve).astype(np.float32)
    assert np.array_equal(radial_grid(shape).spread_shells(curve), expected)


def test_kept_grids_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match="read-only"):
        radial_grid((8, 5)).place[0, 0] = 3


@pytest.mark.parametrize("shape", [(8, 4), (8, 6, 5), (8, 8, 8)])
def test_shapes_that_are_no_half_transform_are_refused(shape):
    with pytest.raises(ValueError, match="half transform"):
        radial_grid(shape)
