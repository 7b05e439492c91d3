"""Transforms against numpy, scaling against theory, and bits against other processes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sta_mpi.parallel.memory import process_bytes
from sta_mpi.signal.fft import (
    FftPlans,
    Window,
    crop_rft2,
    crop_rft3,
    frequency_grid_rft2,
    shell_index_rft,
    shift_phases,
    shift_phases_3d,
)

ROOT = Path(__file__).resolve().parents[2]
SIZES = [1, 2, 7, 31, 32, 33]


@pytest.fixture(scope="module")
def plans():
    return FftPlans(effort="estimate")


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("n", SIZES)
def test_2d_transform_is_numpys_with_the_origin_at_the_centre(plans, n):
    images = noise(3, n, n)
    expected = np.fft.rfft2(np.fft.ifftshift(images, axes=(1, 2)), norm="ortho")
    found = plans.rfft2(images)
    np.testing.assert_allclose(found, expected, atol=2e-6)  # float32
    np.testing.assert_allclose(plans.irfft2(found), images, atol=2e-6)


def test_2d_transform_of_a_rectangle_returns(plans):
    image = noise(30, 47)
    rft = plans.rfft2(image)
    assert rft.shape == (30, 24)
    np.testing.assert_allclose(plans.irfft2(rft, width=47), image, atol=2e-6)


@pytest.mark.parametrize("n", SIZES)
def test_3d_transform_is_numpys_over_n(plans, n):
    volume = noise(n, n, n)
    expected = np.fft.rfftn(np.fft.ifftshift(volume)) / n
    found = plans.rfft3(volume)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(plans.irfft3(found), volume, atol=1e-5)


def test_white_noise_keeps_its_variance_per_frequency(plans):
    rft = plans.rfft2(3 * noise(50, 32, 32))
    assert np.mean(np.abs(rft[:, :, 1:-1]) ** 2) == pytest.approx(9, rel=0.02)


def test_central_section_equals_transform_of_projection(plans):
    volume = noise(12, 12, 12)
    np.testing.assert_allclose(
        plans.rfft3(volume)[0], plans.rfft2(volume.sum(axis=0)), atol=1e-5)


def test_point_at_the_centre_voxel_has_a_flat_real_transform(plans):
    for n in (8, 9):
        volume = np.zeros((n, n, n), np.float32)
        volume[n // 2, n // 2, n // 2] = n
        np.testing.assert_allclose(plans.rfft3(volume), 1, atol=1e-6)


PROGRAM = """
import sys, hashlib, numpy as np
from sta_mpi.signal.fft import FftPlans
plans = FftPlans(bytes.fromhex(sys.stdin.read()))
if sys.argv[1] == "other sizes first":
    plans.prepare([(20, 20), (40, 40, 40)])
x = np.random.default_rng(0).normal(size=(5, 48, 48)).astype("f")
v = np.random.default_rng(1).normal(size=(48, 48, 48)).astype("f")
parts = [plans.rfft2(x), plans.irfft2(plans.rfft2(x)), plans.rfft3(v), plans.irfft3(plans.rfft3(v))]
print(hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest())
"""


@pytest.mark.parametrize("effort", ["measure", "estimate"])
def test_two_processes_with_the_same_wisdom_give_the_same_bits(effort):
    plans = FftPlans(effort=effort).prepare([(48, 48), (48, 48, 48)])
    wisdom = plans.wisdom()
    assert (len(wisdom) > 200) == (effort == "measure")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = {subprocess.run([sys.executable, "-c", PROGRAM, order], env=env, text=True,
                            input=wisdom.hex(), capture_output=True, check=True, timeout=60).stdout
             for order in ("these sizes first", "other sizes first")}
    x = np.random.default_rng(0).normal(size=(5, 48, 48)).astype("f")
    v = np.random.default_rng(1).normal(size=(48, 48, 48)).astype("f")
    here = [plans.rfft2(x), plans.irfft2(plans.rfft2(x)),
            plans.rfft3(v), plans.irfft3(plans.rfft3(v))]
    found.add(hashlib.sha256(b"".join(p.tobytes() for p in here)).hexdigest() + "\n")
    assert len(found) == 1


def test_batch_of_one_gives_the_bits_of_a_batch_of_five(plans):
    images = noise(5, 33, 33)
    together = plans.rfft2(images)
    np.testing.assert_array_equal(together, [plans.rfft2(image) for image in images])
    np.testing.assert_array_equal(
        plans.irfft2(together), [plans.irfft2(rft) for rft in together])


@pytest.mark.parametrize(("edge", "kept"), [(64, 20), (63, 21), (40, 15), (36, 1), (24, 24)])
def test_window_gives_back_the_middle_rows_of_the_whole_transform(plans, edge, kept):
    window = plans.window(Window(edge, kept))
    image = noise(edge, edge)
    window.real[...] = image
    window.to_half()
    half = window.half.copy()
    np.testing.assert_allclose(half, np.fft.rfft2(image), rtol=0, atol=1e-3)
    window.real[...] = np.nan
    window.half[...] = half
    window.to_real()
    rows = np.arange(kept) - kept // 2
    np.testing.assert_allclose(window.real[rows], edge**2 * image[rows], rtol=0, atol=edge / 50)


def test_windows_of_one_wisdom_have_the_same_bits():
    first = FftPlans().prepare([Window(48, 16)])
    second = FftPlans(first.wisdom()).prepare([(20, 20), (48, 48), Window(48, 16)])
    bits = []
    for plans in (first, second):
        window = plans.window(Window(48, 16))
        window.real[...] = np.random.default_rng(3).normal(size=(48, 48))
        window.to_half()
        window.to_real()
        bits.append(window.real[np.arange(-8, 8)].tobytes())
    assert bits[0] == bits[1]
    again = FftPlans(first.wisdom()).prepare([Window(48, 16)]).wisdom()
    assert set(again.splitlines()) == set(first.wisdom().splitlines())


def test_large_volumes_leave_nothing_behind_and_keep_their_bits():
    n = 208    # above LARGE: 36 MiB real, as much again for its transform
    volume = np.random.default_rng(4).normal(size=(n, n, n)).astype(np.float32)
    before = process_bytes()
    plans = FftPlans(effort="estimate").prepare([(n, n, n), (8, 8)])
    rft = plans.rfft3(volume)
    out = plans.irfft3(rft)
    assert process_bytes() - before - rft.nbytes - out.nbytes < 20 * 2**20
    np.testing.assert_allclose(out, volume, atol=2e-5)
    np.testing.assert_array_equal(plans.rfft3(volume), rft)
    expected = np.fft.rfftn(np.fft.ifftshift(volume)) / n
    np.testing.assert_allclose(rft, expected, atol=1e-3)


def test_bad_wisdom_sizes_and_effort_are_refused(plans):
    with pytest.raises(ValueError, match="wisdom of effort 'nonsense'"):
        FftPlans(b"nonsense")
    with pytest.raises(ValueError, match="not readable"):
        FftPlans(b"measure\nnonsense").rfft2(noise(8, 8))
    with pytest.raises(ValueError, match="effort"):
        FftPlans(effort="hard")
    with pytest.raises(ValueError, match="cubic"):
        plans.rfft3(noise(4, 5, 4))
    with pytest.raises(ValueError, match="last axis must be"):
        plans.irfft2(np.zeros((8, 8), np.complex64))
    with pytest.raises(ValueError, match="out is"):
        plans.rfft2(noise(8, 8), out=np.zeros((8, 8), np.complex64))


@pytest.mark.parametrize(("n", "larger"), [(8, 12), (8, 9), (7, 12), (7, 9), (12, 30), (2, 5)])
def test_padding_and_cropping_back_changes_nothing(plans, n, larger):
    image, volume = plans.rfft2(noise(2, n, n)), plans.rfft3(noise(n, n, n))
    np.testing.assert_allclose(crop_rft2(crop_rft2(image, larger), n), image, atol=1e-6)
    np.testing.assert_allclose(crop_rft3(crop_rft3(volume, larger), n), volume, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(12, 24), (24, 12), (7, 21), (21, 7), (8, 24), (24, 8)])
def test_resized_cosine_is_the_cosine_on_the_other_grid(plans, n, m):
    def wave(size):  # 2.0 and -3.0 cycles a box edge, and a Nyquist wave of the smaller box
        x = (np.arange(size) - size // 2) / size
        image = np.cos(2 * np.pi * (2 * x[:, None] - 3 * x[None] + 0.1))
        if min(n, m) % 2 == 0:
            image = image + np.cos(np.pi * min(n, m) * x)[:, None]
            image = image + 0.5 * np.cos(np.pi * min(n, m) * x)[None]
        return image.astype(np.float32)

    # values of the transform are kept: sqrt(number of pixels) changes the grey scale
    found = plans.irfft2(crop_rft2(plans.rfft2(wave(n)), m)) * (m / n)
    np.testing.assert_allclose(found, wave(m), atol=2e-6)


def test_cropped_volume_of_a_section_is_the_cropped_section(plans):
    volume = noise(16, 16, 16)
    rft = plans.rfft3(volume)
    section = crop_rft2(plans.rfft2(volume.sum(axis=0)), 9)
    np.testing.assert_allclose(crop_rft3(rft, 9)[0], section, atol=1e-5)


@pytest.mark.parametrize("n", [8, 9])
def test_whole_pixel_shift_is_a_roll(plans, n):
    image, volume = noise(n, n), noise(n, n, n)
    moved = plans.irfft2(plans.rfft2(image) * shift_phases(n, [2, -1]))
    np.testing.assert_allclose(moved, np.roll(image, (-1, 2), (0, 1)), atol=2e-6)
    moved = plans.irfft3(plans.rfft3(volume) * shift_phases_3d(n, [1, 2, -3]))
    np.testing.assert_allclose(moved, np.roll(volume, (-3, 2, 1), (0, 1, 2)), atol=1e-5)


def test_subpixel_shift_moves_a_blob_by_that_much(plans):
    x = np.arange(32) - 16

    def blob(cx, cy):
        return np.exp(-((x[:, None] - cy) ** 2 + (x - cx) ** 2) / 8).astype(np.float32)

    moved = plans.irfft2(plans.rfft2(blob(1, 2)) * shift_phases(32, [[1.3, -0.7]])[0])
    np.testing.assert_allclose(moved, blob(2.3, 1.3), atol=1e-5)


@pytest.mark.parametrize("n", [6, 7])
def test_grids_and_shells_follow_fft_order(n):
    ky, kx = frequency_grid_rft2(n)
    assert ky[-1, 0] == -1
    assert kx[0, -1] == n // 2
    shells = shell_index_rft((n, n, n // 2 + 1))
    assert shells[0, 0, 0] == 0
    assert shells[-2, 1, 2] == 3  # |(-2, 1, 2)| = 3
    assert shells[1, 1, 1] == 2  # 1.73
    np.testing.assert_array_equal(shell_index_rft((n, n // 2 + 1)), shells[0])
    with pytest.raises(ValueError, match="not the half transform"):
        shell_index_rft((n, n))
