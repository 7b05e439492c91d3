"""Fixed-point sums: order does not matter, accuracy is known, overflow does not pass."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.errors import DataError, InputError
from sta_mpi.kernels.fixed_point import RUN, add_quantised, largest_magnitude
from sta_mpi.parallel.exact import BLOCK, ExactSum, ExactSums, FixedPoint, merge_partial
from sta_mpi.parallel.job import Partial, SumSpec


def total_of(terms, spec):
    total = ExactSum("x", spec)
    for term in terms:
        total.add(term, total.check(term))
    return total


def test_sum_has_the_same_bits_for_any_order_where_floats_do_not():
    rng = np.random.default_rng(1)
    terms = [(rng.standard_normal(200) * 10.0 ** rng.integers(-6, 5)).astype(np.float32)
             for _ in range(50)]
    spec = SumSpec((200,), 1e7)
    first = total_of(terms, spec)
    other = total_of([terms[i] for i in rng.permutation(50)], spec)
    np.testing.assert_array_equal(first.data, other.data)
    plain = [sum(np.float32(t[k]) for t in terms) for k in range(200)]
    shuffled = [sum(np.float32(t[k]) for t in terms[::-1]) for k in range(200)]
    assert plain != shuffled, "the test data must be such that float sums differ"


def test_sum_differs_from_the_true_sum_by_less_than_its_quantum_a_term():
    rng = np.random.default_rng(2)
    terms = [rng.standard_normal(64) * 10.0 ** rng.integers(-9, 3) for _ in range(40)]
    spec = SumSpec((64,), 1e5)
    total = total_of(terms, spec)
    quantum = Fraction(1, 2 ** total.fixed.shift)
    for k in range(64):
        truth = sum((Fraction(float(t[k])) for t in terms), Fraction(0))
        assert abs(int(total.data[k]) * quantum - truth) <= 40 * quantum / 2


@given(bound=st.floats(1e-200, 1e200))
def test_bound_maps_below_2_to_60_and_above_2_to_58(bound):
    units = Fraction(bound) * Fraction(2) ** FixedPoint.for_bound(bound).shift
    assert 2 ** 58 <= units <= 2 ** 60


@given(values=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=200),
       kind=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=50, deadline=None)
def test_added_values_come_back_within_half_a_quantum(values, kind):
    array = np.array(values, kind)
    total = total_of([array], SumSpec(array.shape, 1.0))
    # a float64 of that size has fewer digits than the quantum allows for
    assert np.abs(total.fixed.restore(total.data) - array).max() <= 2.0 ** -total.fixed.shift


@given(values=st.lists(st.floats(width=32), min_size=1, max_size=50),
       kind=st.sampled_from([np.float32, np.float64]))
@settings(deadline=None)
def test_largest_magnitude_is_that_of_numpy_or_not_finite(values, kind):
    array = np.array(values, kind)
    if np.isfinite(array).all():
        assert largest_magnitude(array) == np.abs(array).max()
    else:
        assert not math.isfinite(largest_magnitude(array))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_runs_of_zeros_are_left_alone_and_halves_go_to_even(kind):
    units = np.arange(3 * RUN + 5)
    values = np.zeros(len(units), kind)
    values[[1, RUN - 1, 2 * RUN, len(units) - 1]] = 0.5, 1.5, -2.5, -3.25
    expected = units + np.rint(values).astype(np.int64)
    add_quantised(units, values, 1.0)
    np.testing.assert_array_equal(units, expected)


def test_non_finite_contributions_are_bad_data():
    spec = SumSpec((3,), 10.0)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="NaN or infinity"):
            ExactSum("x", spec).check(np.array([0.0, value, 0.0]))


def test_contribution_above_its_bound_is_bad_data():
    with pytest.raises(DataError, match="out of scale"):
        ExactSum("x", SumSpec((3,), 10.0)).check(np.array([0.0, -11.0, 0.0]))


def test_running_sum_that_leaves_its_bound_is_reported():
    with pytest.raises(InputError, match="'x' leaves its declared bound 1"):
        total_of([np.full(3, 1.0)] * 20, SumSpec((3,), 1.0))


def test_contributions_that_cancel_may_add_up_to_more_than_the_bound():
    total = ExactSum("x", SumSpec((2,), 1.0))
    for _ in range(100):
        total.add(np.array([1.0, -1.0]), 1.0)
        total.add(np.array([-1.0, 1.0]), 1.0)
    assert total.data.tolist() == [0, 0]


def test_a_unit_with_one_bad_sum_leaves_all_sums_as_they_were():
    sums = ExactSums.on_rank({"a": SumSpec((2,), 1.0), "b": SumSpec((2,), 1.0)})
    with pytest.raises(DataError):
        merge_partial(sums, Partial({"a": np.ones(2), "b": np.array([np.nan, 0.0])}))
    assert sums["a"].data is None


def test_sums_larger_than_a_block_are_complete():
    n = 2 * BLOCK + 17
    total = ExactSum("x", SumSpec((n,), float(n)), first_block=1)
    total.add(np.arange(n, dtype=np.float64), n - 1.0)
    np.testing.assert_array_equal(total.fixed.restore(total.data), np.arange(n))
    again = ExactSum("x", SumSpec((n,), float(n)))
    again.add_units(0, total.data[:BLOCK])
    again.add_units(BLOCK, total.data[BLOCK:])
    np.testing.assert_array_equal(again.data, total.data)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_bound_must_be_positive_and_finite(bound):
    with pytest.raises(ValueError, match="bound"):
        FixedPoint.for_bound(bound)


def test_wrong_shapes_and_names_are_refused():
    sums = ExactSums.on_rank({"a": SumSpec((2,), 1.0)})
    with pytest.raises(ValueError, match="declared is"):
        sums.add({"a": np.ones(3)})
    with pytest.raises(ValueError, match="not declared"):
        sums.add({"c": np.ones(2)})
