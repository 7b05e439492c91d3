"""Gathering and insertion against theory: slice theorem, adjointness, symmetry, recovery."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.kernels.gather import gather_box, gather_slices, pack_volume, prepare_gather
from sta_mpi.kernels.gridding import correct_gridding, gridding_correction
from sta_mpi.kernels.insert import insert_box, insert_slices
from sta_mpi.kernels.planes import axes_of_slices
from sta_mpi.signal.fft import FftPlans, radius_rft

# blobs without any symmetry: xyz [px from the centre], height; all of one width
CENTRES = np.array([[6.0, 1.5, -3.0], [-4.0, 5.0, 2.0], [0.5, -6.5, 4.5], [2.0, 3.0, 7.0]])
HEIGHTS = np.array([1.0, 0.7, 1.4, 0.5])
SIGMA = 1.6


@pytest.fixture(scope="module")
def plans():
    return FftPlans(effort="estimate")


def blobs_3d(n, centres=CENTRES):
    x = np.arange(n) - n // 2
    volume = np.zeros((n, n, n))
    for (cx, cy, cz), height in zip(centres, HEIGHTS, strict=True):
        gx, gy, gz = (np.exp(-((x - c) ** 2) / (2 * SIGMA**2)) for c in (cx, cy, cz))
        volume += height * gz[:, None, None] * gy[:, None] * gx
    return volume.astype(np.float32)


def blobs_projected(n, M):
    """Images of the blobs looked at along row 2 of M, from the formula in real space."""
    x = np.arange(n) - n // 2
    images = []
    for rotation in M:
        image = np.zeros((n, n))
        for (cx, cy, _), height in zip(CENTRES @ rotation.T, HEIGHTS, strict=True):
            gx, gy = (np.exp(-((x - c) ** 2) / (2 * SIGMA**2)) for c in (cx, cy))
            image += height * np.sqrt(2 * np.pi) * SIGMA * gy[:, None] * gx
        images.append(image)
    return np.array(images, np.float32)


def full_inner(a, b):
    """Real part of the inner product over full Hermitian transforms of half transforms."""
    n = a.shape[-2]
    times = np.full(a.shape[-1], 2.0)
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    return float((times * (a.astype(complex) * b.conj().astype(complex)).real).sum())


@pytest.mark.parametrize(("n", "pad"), [(32, 2.0), (33, 2.0), (32, 4.0), (48, 1.5)])
def test_slice_is_transform_of_projection_of_turned_blobs(plans, n, pad):
    M = Rotation.random(6, rng=1).as_matrix()
    volume = prepare_gather(plans.rfft3(blobs_3d(n)), plans, pad)
    r_max = n // 2 - 1
    slices = gather_slices(volume, M[:, :2], n, r_max)
    expected = plans.rfft2(blobs_projected(n, M))
    expected[:, radius_rft(expected.shape[1:]) > r_max] = 0
    error = np.linalg.norm(slices - expected) / np.linalg.norm(expected)
    # linear interpolation leaves ghosts of about (x / n_pad)^2 a axis; blobs are at x of 8 px
    n_pad = round(n * pad)
    assert 0.3 * (8 / n_pad) ** 2 < error < 2.5 * (8 / n_pad) ** 2


def test_slice_with_transposed_or_mirrored_matrix_is_wrong(plans):
    n, M = 32, Rotation.random(6, rng=1).as_matrix()
    volume = prepare_gather(plans.rfft3(blobs_3d(n)), plans)
    expected = plans.rfft2(blobs_projected(n, M))
    for wrong in (M.transpose(0, 2, 1), -M, M * [1, 1, -1], M[:, [1, 0, 2]]):
        slices = gather_slices(volume, wrong[:, :2], n, 15)
        assert np.linalg.norm(slices - expected) > 0.3 * np.linalg.norm(expected)


def test_gathered_box_is_transform_of_turned_blobs(plans):
    n, R = 32, Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    volume = prepare_gather(plans.rfft3(blobs_3d(n)), plans)
    # box axes to volume axes is R, so a blob at c in the volume is at R^T c in the box
    expected = plans.rfft3(blobs_3d(n, CENTRES @ R))
    found = gather_box(volume, R, n, 15)
    expected[radius_rft(expected.shape) > 15] = 0
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 2.5 * (8 / 64) ** 2  # as above, padded to 64


def test_smaller_image_gets_the_same_frequencies(plans):
    volume = prepare_gather(plans.rfft3(blobs_3d(32)), plans)
    axes = Rotation.random(2, rng=3).as_matrix()[:, :2]
    large, small = gather_slices(volume, axes, 32, 7), gather_slices(volume, axes, 20, 7)
    np.testing.assert_array_equal(small[:, :8, :8], large[:, :8, :8])
    np.testing.assert_array_equal(small[:, -7:, :8], large[:, -7:, :8])


@pytest.mark.parametrize(("n", "pad"), [(16, 1), (17, 1), (16, 2), (15, 2)])
def test_insertion_is_the_adjoint_of_gathering(n, pad):
    rng = np.random.default_rng(n)
    n_pad, r_max = n * pad, n // 2
    V = np.fft.rfftn(rng.normal(size=(n_pad,) * 3)).astype(np.complex64)
    X = np.fft.rfft2(rng.normal(size=(5, n, n))).astype(np.complex64)
    axes = Rotation.random(5, rng=2).as_matrix()[:, :2]
    slices = gather_slices(pack_volume(V, n), axes, n, r_max)
    sums = np.zeros((n_pad, n_pad, n_pad // 2 + 1, 4), np.float32)
    insert_slices(sums, X, np.ones(X.shape, np.float32), axes, r_max, pad)
    left, right = full_inner(slices, X), full_inner(V, sums[..., 0] + 1j * sums[..., 1])
    size = np.linalg.norm(slices) * np.linalg.norm(X)
    assert abs(left - right) < 1e-6 * size  # float32 sums
    assert abs(left) > 1e-3 * size


@pytest.mark.parametrize("n", [16, 17])
def test_inserted_sums_are_hermitian_and_count_each_sample_once(n):
    rng = np.random.default_rng(n)
    X = np.fft.rfft2(rng.normal(size=(4, n, n))).astype(np.complex64)
    # one slice lies exactly in the plane kx = 0, where a sample and its mate both land
    axes = np.concatenate([Rotation.random(3, rng=2).as_matrix()[:, :2],
                           [[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]])
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    insert_slices(sums, X, np.ones(X.shape, np.float32), axes, n // 2)
    planes = [0, n // 2] if n % 2 == 0 else [0]
    for x in planes:
        plane = sums[:, :, x]
        mate = np.roll(plane[::-1, ::-1], 1, (0, 1)) * [1, -1, 1, 1]
        np.testing.assert_allclose(plane, mate, atol=2e-6 * np.abs(plane).max())
        assert np.abs(plane).max() > 0
    k = np.fft.fftfreq(n, 1 / n)
    inside = (k[:, None] ** 2 + k**2 <= (n // 2) ** 2) & (2 * np.abs(k) != n)
    inside &= (2 * np.abs(k) != n)[:, None]
    times = np.full(n // 2 + 1, 2.0)
    times[planes] = 1
    total = (times[:, None] * sums).sum((0, 1, 2), dtype=float)
    assert total[3] == pytest.approx(4 * inside.sum(), rel=1e-6)
    assert total[2] == pytest.approx(total[3], rel=1e-6)


def test_slice_in_the_plane_of_the_grid_is_stored_unchanged():
    n = 16
    X = np.fft.rfft2(np.random.default_rng(0).normal(size=(1, n, n))).astype(np.complex64)
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    insert_slices(sums, X, np.ones(X.shape, np.float32), np.eye(3)[None, :2], 7)
    inside = radius_rft(X.shape[1:]) <= 7
    found = (sums[..., 0] + 1j * sums[..., 1])[0]
    # the column kx = 0 is the mean of a sample and its mate, equal but for rounding
    np.testing.assert_allclose(found[inside], X[0][inside], rtol=1e-5)
    assert not sums[1:, ..., :].any()


@pytest.mark.parametrize(("pad", "scale_error", "error"), [(1, 0.03, 0.08), (2, 0.003, 0.025)])
def test_slices_of_all_directions_rebuild_the_blobs(plans, pad, scale_error, error):
    n, m = 32, 1500
    M = Rotation.random(m, rng=4).as_matrix()
    images = plans.rfft2(blobs_projected(n, M))
    n_sums = pad * n
    sums = np.zeros((n_sums, n_sums, n_sums // 2 + 1, 4), np.float32)
    insert_slices(sums, images, np.ones(images.shape, np.float32), M[:, :2], 15, pad)
    mean = (sums[..., 0] + 1j * sums[..., 1]) / np.maximum(sums[..., 2], 1e-3)
    inside = slice(n_sums // 2 - n // 2, n_sums // 2 + n // 2)
    rebuilt = plans.irfft3(mean.astype(np.complex64))[inside, inside, inside] / pad
    rebuilt = correct_gridding(rebuilt, pad)
    truth = blobs_3d(n)
    x = np.arange(n) - n // 2
    ball = (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2) < 12**2
    scale = (rebuilt * truth)[ball].sum() / (truth**2)[ball].sum()
    assert abs(scale - 1) < scale_error
    # ghosts of linear interpolation, about (x / n_sums)^2 a axis with blobs at x of 8 px
    assert np.linalg.norm((rebuilt - truth)[ball]) < error * np.linalg.norm(truth[ball])


@pytest.mark.parametrize("n", [16, 15])
def test_box_turned_by_a_grid_symmetry_moves_every_sample_to_its_place(plans, n):
    volume = np.random.default_rng(0).normal(size=(n, n, n)).astype(np.float32)
    rft = plans.rfft3(volume)
    R = Rotation.from_euler("Z", 90, degrees=True).as_matrix()  # box x to y of the sums
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    insert_box(sums, rft, np.full(rft.shape, 2, np.float32), R, (n - 1) // 2)
    kx, ky, kz = 2, -3, 1
    # k = (2, -3, 1) goes to R k = (3, 2, 1)
    value = sums[kz, kx, -ky]
    expected = rft[kz, ky % n, kx]
    assert value[0] + 1j * value[1] == pytest.approx(expected, rel=1e-4)
    assert value[2] == pytest.approx(2, rel=1e-5)
    assert value[3] == pytest.approx(1, rel=1e-5)


def test_same_insertion_twice_gives_the_same_bits():
    X = np.fft.rfft2(np.random.default_rng(0).normal(size=(3, 33, 33))).astype(np.complex64)
    axes = Rotation.random(3, rng=2).as_matrix()[:, :2]
    sums = [np.zeros((33, 33, 17, 4), np.float32) for _ in range(2)]
    for acc in sums:
        insert_slices(acc, X, np.ones(X.shape, np.float32), axes, 16)
    np.testing.assert_array_equal(*sums)


def test_gridding_factors_undo_linear_interpolation_of_a_point():
    # a point at x has the transform exp(-2 pi i k x / n); linear interpolation halfway
    # between k and k + 1 makes it smaller, which the mean over all fractions shows: sinc^2
    n, x = 32, 5
    t = np.linspace(0, 1, 2001)[:-1]
    wave = np.exp(-2j * np.pi * x / n * np.array([0, 1]))
    kept = np.mean(((1 - t) * wave[0] + t * wave[1]) * np.exp(2j * np.pi * x / n * t)).real
    assert 1 / gridding_correction(n)[n // 2 + x] == pytest.approx(kept, abs=1e-6)
    assert gridding_correction(n, 2)[n // 2] == 1


def test_axes_of_slices_are_the_first_two_rows_of_the_rotations_between():
    rotation, R = (Rotation.random(n, rng=3).as_matrix() for n in (4, None))
    np.testing.assert_allclose(axes_of_slices(rotation, R), (rotation @ R)[:, :2], atol=1e-15)


def test_bad_shapes_and_bands_are_refused():
    volume = pack_volume(np.ones((8, 8, 5), np.complex64), 8, 3)
    sums = np.zeros((8, 8, 5, 4), np.float32)
    data, weight = np.ones((1, 8, 5), np.complex64), np.ones((1, 8, 5), np.float32)
    axes = np.eye(3)[None, :2]
    with pytest.raises(ValueError, match="packed up to 3"):
        gather_slices(volume, axes, 8, 4)
    with pytest.raises(ValueError, match="expected \\(m, 2, 3\\)"):
        gather_slices(volume, np.eye(3)[None], 8, 3)
    with pytest.raises(ValueError, match="unit length"):
        gather_slices(volume, 1.5 * axes, 8, 3)
    with pytest.raises(ValueError, match="unit length"):
        insert_slices(sums, data, weight, np.nan * axes, 3)
    with pytest.raises(ValueError, match=r"from 0 to 4 .* and 2 "):
        insert_slices(sums, data, weight, axes, 3, pad=2)
    for radius, limit in ((np.nan, 3.0), (-1.0, 3.0), (5.0, 5.0), (3.0, np.nan), (3.0, -1.0)):
        with pytest.raises(ValueError, match=r"from 0 to 4 .* and 4 "):
            insert_slices(sums, data, weight, axes, radius, limits_px=np.array([limit]))
    with pytest.raises(ValueError, match=r"limits have shape \(2,\), expected \(1,\)"):
        insert_slices(sums, data, weight, axes, 3, limits_px=np.ones(2))
    with pytest.raises(ValueError, match=r"expected \(m, 3, 3\)"):
        axes_of_slices(axes, np.eye(3))
    with pytest.raises(ValueError, match="expected both"):
        insert_slices(sums, data, weight[:, :, :4], axes, 3)
    with pytest.raises(ValueError, match="device is 'tpu'"):
        insert_slices(sums, data, weight, axes, 3, device="tpu")
