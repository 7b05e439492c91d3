"""Windows of tilt images, at places inside, across and beyond their edges."""

import numpy as np
import pytest

from sta_mpi.align.cut import cut_patches, window_of

IMAGE = np.random.default_rng(1).normal(size=(20, 31)).astype(np.float32)


def by_index(image, at_px, size_px):
    """Every pixel by its own index, the nearest one inside the image."""
    x0, y0 = (at - size_px // 2 for at in at_px)
    rows = np.clip(np.arange(y0, y0 + size_px), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x0, x0 + size_px), 0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)]


@pytest.mark.parametrize("size_px", [1, 4, 7, 40])
def test_window_repeats_the_edges_of_the_image_wherever_it_lies(size_px):
    for x in range(-50, 82, 3):
        for y in range(-50, 72, 3):
            found = window_of(IMAGE, np.array([x, y]), size_px)
            assert np.array_equal(found, by_index(IMAGE, (x, y), size_px)), (x, y)


def test_window_inside_the_image_is_a_view():
    assert np.shares_memory(window_of(IMAGE, np.array([15, 10]), 8), IMAGE)
    assert not np.shares_memory(window_of(IMAGE, np.array([2, 10]), 8), IMAGE)


def test_patches_are_centred_at_the_rounded_position_and_the_rest_is_given_back():
    patches, rest = cut_patches([IMAGE, IMAGE], np.array([[10.4, 7.5], [11.0, 6.2]]), 5)
    assert np.array_equal(patches[:, 2, 2], [IMAGE[8, 10], IMAGE[6, 11]])
    assert rest == pytest.approx(np.array([[0.4, -0.5], [0.0, 0.2]]))
