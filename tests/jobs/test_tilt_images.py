"""Tilt images of a series: which they are, and how many are in memory."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.tilt_images import series_images


@pytest.fixture
def series(tmp_path):
    """Three images, the last one in a file of its own."""
    write_mrc(tmp_path / "stack.mrcs", np.arange(24, dtype=np.float32).reshape(2, 3, 4), 1.0)
    write_mrc(tmp_path / "alone.mrc", np.full((1, 3, 4), 7.0, np.float32), 1.0)
    names = ["2@stack.mrcs", "1@stack.mrcs", "alone.mrc"]
    return SimpleNamespace(name="TS_01", n_tilts=3,
                           image_names=[name.replace("stack", str(tmp_path / "stack")).replace(
                               "alone", str(tmp_path / "alone")) for name in names])


def test_images_come_in_the_order_of_the_table(series):
    first = [float(image[0, 0]) for image in series_images(series, [])]
    assert first == [12.0, 0.0, 7.0]
    (chosen,) = series_images(series, [], [1])
    np.testing.assert_array_equal(chosen, np.arange(12).reshape(3, 4))


def test_no_more_than_one_image_is_in_memory(series):
    images = series_images(series, [])
    image = next(images)
    before = weakref.ref(image)
    image = next(images)
    assert before() is None
    assert image.shape == (3, 4)


def test_an_image_that_a_stack_does_not_hold_is_named_with_its_tilt(series):
    series.image_names[1] = series.image_names[1].replace("1@", "3@")
    with pytest.raises(InputError, match=r"TS_01, tilt 2 of 3: .*expected 1 to 2"):
        list(series_images(series, []))
