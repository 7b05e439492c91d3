"""Pictures of tomograms are drawn for awkward sizes, and show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from sta_mpi.report.figures.tomograms import points_on_slice, power_picture, tomogram_slices


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize(("shape", "depth"), [((1, 1), 1), ((7, 400), 3), ((900, 30), 50)])
def test_slices_of_any_shape_are_drawn(shape, depth):
    rng = np.random.default_rng(0)
    xy, xz = rng.normal(size=shape), np.zeros((depth, shape[1]))
    assert pixels(tomogram_slices(xy, xz, 10.0, "t")).std() > 0


def test_points_are_drawn_in_colour_where_they_are():
    image = np.random.default_rng(0).normal(size=(200, 300))
    seen = pixels(points_on_slice(image, [("seeds", [[60.0, 150.0]] * 1, [[0.0, 20.0]])], 10.0))
    colour = np.abs(seen - seen.mean(axis=2, keepdims=True)).max(axis=2) > 60
    height, width = colour.shape
    rows, columns = np.nonzero(colour[: int(0.85 * height)])     # above the legend
    assert len(rows) > 10
    # x = 60 of 300 is left, y = 150 to 170 of 200 is above the middle
    assert columns.max() < 0.4 * width
    assert rows.max() < 0.4 * height


@pytest.mark.parametrize("diameter_A", [None, 250.0])
def test_empty_groups_are_counted_and_no_trouble(diameter_A):
    image = np.zeros((20, 30))
    groups = [("seeds", np.zeros((0, 2)), None), ("others", [[3.0, 4.0]], None)]
    assert points_on_slice(image, groups, 10.0, diameter_A)[:4] == b"\x89PNG"


def test_power_is_drawn_with_the_edges_of_the_wedge():
    power = np.ones((32, 48))
    plain = pixels(power_picture(power, 10.0))
    marked = pixels(power_picture(power, 10.0, (-60.0, 60.0)))
    assert plain.shape == marked.shape
    assert (plain != marked).any()
