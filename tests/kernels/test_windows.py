"""Windows of images in the order of transforms, against numpy's own ways to get there."""

import numpy as np
import pytest

from sta_mpi.kernels.windows import fill_masked, fill_masked_box, fill_window


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("n", [1, 6, 9])
@pytest.mark.parametrize(("x", "y"), [(10, 8), (1, 8), (17, 14), (10, 0), (-30, 60)])
def test_window_is_that_of_the_image_padded_with_its_edge(n, x, y, dtype):
    image = np.random.default_rng(n).integers(-99, 99, (15, 19)).astype(dtype)
    padded = np.pad(image, 80, mode="edge")
    rows, columns = (slice(80 + at - n // 2, 80 + at - n // 2 + n) for at in (y, x))
    out = np.full((n, n), np.nan, np.float32)
    fill_window(image, np.int64(x), np.int64(y), np.float32(0.5), out)
    np.testing.assert_array_equal(out, np.fft.ifftshift(padded[rows, columns]) - np.float32(0.5))


@pytest.mark.parametrize(("n", "b"), [(8, 8), (9, 9), (12, 6), (11, 6), (12, 5), (7, 1)])
def test_masked_part_is_the_middle_of_the_window_times_the_mask(n, b):
    rng = np.random.default_rng(n)
    window, mask = (rng.normal(size=(k, k)).astype(np.float32) for k in (n, b))
    kept = slice(n // 2 - b // 2, n // 2 - b // 2 + b)
    expected = np.fft.ifftshift(np.fft.fftshift(window)[kept, kept]) * mask
    out = np.full((b, b), np.nan, np.float32)
    fill_masked(window, mask, out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("n", [6, 7])
def test_a_box_times_its_mask_goes_in_with_the_origin_first(n):
    rng = np.random.default_rng(n)
    box, mask = rng.normal(size=(2, n, n, n)).astype(np.float32)
    out = np.empty_like(box)
    fill_masked_box(box, mask, out)
    assert np.array_equal(out, np.fft.ifftshift(box * mask))
