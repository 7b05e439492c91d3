"""Point groups: group axioms, orders, and axes where RELION's tables put them."""

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations, rotation_from_vector
from sta_mpi.geometry.symmetry import expand, is_group, symmetry_matrices

ORDERS = {"C1": 1, "C2": 2, "C6": 6, "C13": 13, "D1": 2, "D2": 4, "D7": 14,
          "T": 12, "O": 24, "I": 60, "I1": 60, "I2": 60, "I3": 60, "I4": 60}

# Axes as RELION prints them in its symmetry tables (fold, direction).
AXES = {
    "C6": [(6, (0, 0, 1))],
    "D7": [(7, (0, 0, 1)), (2, (1, 0, 0))],
    "T": [(3, (0, 0, 1)), (2, (0, 0.816496, 0.577350))],
    "O": [(3, (0.5773502, 0.5773502, 0.5773502)), (4, (0, 0, 1))],
    "I1": [(2, (1, 0, 0)), (5, (0.85065080702670, 0, -0.5257311142635)),
           (3, (0.9341723640, 0.3568220765, 0))],
    "I2": [(2, (0, 0, 1)), (5, (0.525731114, 0, 0.850650807)), (3, (0, 0.356822076, 0.934172364))],
    "I3": [(2, (-0.5257311143, 0, 0.8506508070)), (5, (0, 0, 1)),
           (3, (-0.4911234778630044, 0.3568220764705179, 0.7946544753759428))],
    "I4": [(2, (0.5257311143, 0, 0.8506508070)), (5, (0.8944271932547096, 0, 0.4472135909903704)),
           (3, (0.4911234778630044, 0.3568220764705179, 0.7946544753759428))],
}


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_point_group_is_a_group_of_the_right_order_with_identity_first(name, order):
    group = symmetry_matrices(name)
    assert group.shape == (order, 3, 3)
    assert is_group(group)
    assert np.array_equal(group[0], np.eye(3))
    assert np.allclose(np.linalg.det(group), 1.0, atol=1e-12)
    assert np.allclose(group @ group.transpose(0, 2, 1), np.eye(3), atol=1e-13)


@pytest.mark.parametrize(
    ("name", "fold", "axis"), [(n, f, a) for n, axes in AXES.items() for f, a in axes])
def test_axis_lies_where_relion_puts_it(name, fold, axis):
    unit = np.array(axis) / np.linalg.norm(axis)
    turn = rotation_from_vector(2 * np.pi / fold * unit)
    # Tables give 6 to 9 digits.
    assert angular_distance_deg(symmetry_matrices(name), turn).min() < 2e-4
    half_turn = rotation_from_vector(np.pi / fold * unit)
    assert angular_distance_deg(symmetry_matrices(name), half_turn).min() > 1.0


def test_icosahedral_group_has_the_right_number_of_each_turn():
    angles = angular_distance_deg(symmetry_matrices("I1"), np.eye(3)).round(3)
    counts = dict(zip(*np.unique(angles, return_counts=True), strict=True))
    assert counts == {0.0: 1, 72.0: 12, 120.0: 20, 144.0: 12, 180.0: 15}


def test_icosahedral_settings_are_turns_of_each_other_and_differ():
    settings = [symmetry_matrices(f"I{i}") for i in range(1, 5)]
    for i, first in enumerate(settings):
        for second in settings[i + 1:]:
            nearest = angular_distance_deg(first[:, None], second[None]).min(axis=1)
            assert nearest.max() > 1.0
    assert np.array_equal(symmetry_matrices("I"), settings[1])


def test_a_missing_or_doubled_operator_is_not_a_group():
    group = symmetry_matrices("D3")
    assert not is_group(group[:-1])
    assert not is_group(np.concatenate([group, group[:1]]))
    assert not is_group(group[1:])
    assert not is_group(1.001 * group)


def test_expanded_orientations_see_a_symmetric_object_alike():
    # An object of C3 points: turning it by R or by R S gives the same set of points.
    points = rotation_from_vector(
        np.radians([[0, 0, 0], [0, 0, 120], [0, 0, 240]])) @ np.array([1.0, 0.3, 0.5])
    R = random_rotations(4, np.random.default_rng(1))
    equivalent = expand(R, "C3")
    assert equivalent.shape == (4, 3, 3, 3)
    assert np.allclose(equivalent[:, 0], R)
    seen = np.einsum("nsij,pj->nspi", equivalent, points)
    for n in range(4):
        for s in range(3):
            gaps = np.linalg.norm(seen[n, s][:, None] - seen[n, 0][None], axis=-1)
            assert np.allclose(gaps.min(axis=1), 0.0, atol=1e-12)


def test_names_ignore_case_and_blanks():
    assert len(symmetry_matrices(" c6 ")) == 6
    assert len(symmetry_matrices("i2")) == 60


@pytest.mark.parametrize("name", ["", "C0", "C", "I5", "Oh", "Td", "C6v", "X3", "6", "C-2"])
def test_unknown_group_is_refused_with_what_to_use(name):
    with pytest.raises(InputError, match="I1 to I4"):
        symmetry_matrices(name)
