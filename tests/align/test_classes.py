"""Class probabilities, splits and focused references."""

import numpy as np

from sta_mpi.align.classes import (
    class_flow,
    class_posteriors,
    class_shares,
    empty_classes,
    focus_references,
    random_labels,
    split_labels,
)


def test_probabilities_are_shares_times_evidence_and_unseen_particles_have_none():
    evidence = np.log(np.array([[0.9, 0.1], [0.5, 1.5], [1.0, 1.0]]))
    evidence[2] = np.nan
    posteriors = class_posteriors(evidence - 1000.0)
    assert np.allclose(posteriors, [[0.9, 0.1], [0.25, 0.75], [0, 0]], rtol=1e-12)
    assert np.allclose(class_shares(posteriors), [0.575, 0.425])


def test_flow_counts_every_particle_that_has_a_class_before_and_after_once():
    before, after = np.array([0, 0, 1, 2, -1, 1]), np.array([0, 2, 1, 2, 0, -1])
    flow = class_flow(before, after, 3)
    assert flow.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_outside_the_focus_all_classes_hold_the_weighted_mean():
    rng = np.random.default_rng(1)
    references = rng.normal(size=(2, 3, 4, 4, 4)).astype(np.float32)
    mask = np.zeros((4, 4, 4), np.float32)
    mask[1:3] = 1.0
    focused = focus_references(references, mask, np.array([3.0, 2.0, 1.0]))
    inside = mask > 0
    assert np.allclose(focused[..., inside], references[..., inside], atol=1e-6)
    mean = np.average(references, axis=1, weights=[3, 2, 1])
    for k in range(3):
        assert np.allclose(focused[:, k][..., ~inside], mean[..., ~inside], atol=1e-6)


def test_only_classes_below_the_share_are_empty_and_the_largest_never_is():
    shares = np.array([0.01, 0.6, 0.0, 0.39])
    assert empty_classes(shares, 0.02).tolist() == [2, 0]
    assert len(empty_classes(shares, 0.0)) == 0
    assert 1 not in empty_classes(shares, 0.9)


def test_an_empty_class_takes_half_of_the_largest_in_both_half_sets():
    half = np.tile([1, 2], 50).astype(np.int8)
    labels = np.zeros(100, np.intp)
    labels[:6], labels[6] = 2, -1
    after = split_labels(labels, half, np.array([1]), np.random.default_rng(1))
    assert after[6] == -1
    assert (after[:6] == 2).all()
    for h in (1, 2):
        sizes = np.bincount(after[(half == h) & (after >= 0)], minlength=3)
        assert abs(sizes[0] - sizes[1]) <= 1
    assert not np.array_equal(after, split_labels(
        labels, half, np.array([1]), np.random.default_rng(2)))


def test_random_classes_are_of_equal_size_in_both_half_sets():
    half = np.repeat([1, 2], [31, 32]).astype(np.int8)
    labels = random_labels(half, 3, np.random.default_rng(1))
    for h in (1, 2):
        sizes = np.bincount(labels[half == h], minlength=3)
        assert np.ptp(sizes) <= 1
