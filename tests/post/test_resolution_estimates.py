"""Mask sweep, ResLog, directional and map-model FSC against planted truth."""

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.map_model import compare_with_model
from sta_mpi.post.directional import directional_fsc
from sta_mpi.post.map_model import map_model_fsc, pad_to_cube
from sta_mpi.post.mask_sweep import depends_on_mask, mask_sweep
from sta_mpi.post.reslog import fit_reslog, predicted_reslog, spread
from sta_mpi.signal.filters import b_factor_map
from sta_mpi.signal.fsc import corrected_fsc, fsc, resolution_A
from sta_mpi.signal.masks import soft_sphere

N, VOXEL_A = 64, 2.0


def white(seed, n=N):
    return np.random.default_rng(seed).standard_normal((n, n, n)).astype(np.float32)


def halves(signal, noise, seed=1):
    return [(signal + noise * white(seed + i, len(signal))).astype(np.float32) for i in (0, 1)]


def ball_signal(radius, b_factor_A2, amplitude=12.0):
    """A ball of detail that falls with a B-factor."""
    return amplitude * b_factor_map(white(9), VOXEL_A, b_factor_A2) * soft_sphere(N, radius, 4)


# ---- masks ---------------------------------------------------------------------------------

def sweep(maps, mask):
    result = corrected_fsc(*maps, mask, VOXEL_A, np.random.default_rng(1))
    return mask_sweep(*maps, mask, VOXEL_A, np.random.default_rng(1),
                      from_shell=result.randomised_from_shell)


def test_resolution_of_a_map_without_solvent_does_not_depend_on_the_mask():
    maps = halves(12.0 * b_factor_map(white(9), VOXEL_A, 150.0), 1.0)
    points = sweep(maps, soft_sphere(N, 16, 4))
    assert len(points) >= 6
    assert not depends_on_mask(points)


def test_resolution_of_a_small_particle_in_a_wide_mask_depends_on_the_mask():
    points = sweep(halves(ball_signal(8, 150.0, 30.0), 4.0), soft_sphere(N, 14, 4))
    assert depends_on_mask(points, within_px=12)
    # solvent noise comes in with every voxel that the mask grows
    shells = [point.shell for point in points if point.grown_px >= 0]
    assert shells == sorted(shells, reverse=True)


def test_masks_of_a_sweep_grow_and_those_that_vanish_are_left_out():
    points = sweep(halves(ball_signal(8, 150.0), 1.0), soft_sphere(N, 2, 1))
    assert min(point.grown_px for point in points) > -4
    shares = [point.box_share for point in points]
    assert shares == sorted(shares)


# ---- particle numbers -----------------------------------------------------------------------

def test_predicted_reslog_is_the_resolution_of_that_many_particles():
    # Halves of n particles have noise 1/sqrt(n): measure at 100, predict 25 and 400, then measure.
    signal = b_factor_map(white(9), VOXEL_A, 200.0)
    measured = {n: fsc(*halves(signal, 6.0 / np.sqrt(n), seed=n)) for n in (25, 100, 400)}
    counts, predicted = predicted_reslog(measured[100], 100, VOXEL_A, N, (0.25, 1.0, 4.0))
    assert counts.tolist() == [25, 100, 400]
    for n, value in zip(counts, predicted, strict=True):
        truth = resolution_A(measured[int(n)], VOXEL_A, N, rule="interpolated")
        # the noise of one FSC curve near 0.143 moves the crossing by up to a shell
        assert abs(N * VOXEL_A / value - N * VOXEL_A / truth) < 1.5


def test_reslog_slope_is_the_b_factor_of_the_signal():
    # Signal exp(-B s^2 / 4) a particle, so n exp(-B s^2 / 2) is constant at the threshold
    s = np.arange(N // 2 + 1) / (N * VOXEL_A)
    power = 1e-2 * 100 * np.exp(-150.0 * s**2 / 2)
    counts, found = predicted_reslog(power / (1 + power), 100, VOXEL_A, N, (0.5, 1.0, 2.0, 4.0))
    fit = fit_reslog(counts, found)
    assert abs(fit.b_factor_A2 - 150.0) < 3.0  # linear interpolation between shells
    further = predicted_reslog(power / (1 + power), 100, VOXEL_A, N, (8.0,))[1][0]
    assert abs(fit.doubling_A - further) < 0.03
    assert fit_reslog([100], [4.0]) is None
    assert fit_reslog([100, 200], [4.0, np.inf]) is None


def test_spread_of_splits_leaves_out_maps_without_a_resolution():
    found = spread([8.0, 9.0, 10.0, np.inf])
    assert (found.mean, found.sd, found.lowest, found.highest, found.n) == (9.0, 1.0, 8.0, 10.0, 3)
    assert spread([]).n == 0


# ---- directions -----------------------------------------------------------------------------

def test_isotropic_map_is_isotropic_within_its_noise():
    maps = halves(6.0 * b_factor_map(white(9), VOXEL_A, 400.0), 1.0)
    found = directional_fsc(*maps, soft_sphere(N, 20, 6), VOXEL_A)
    assert 1.0 < found.anisotropy < 1.25
    whole = resolution_A(fsc(*maps), VOXEL_A, N, rule="interpolated")
    assert found.best_A < whole < found.worst_A


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 0, 0), (0.6, 0, 0.8)])
def test_direction_without_signal_is_found(axis):
    # no signal in a double cone of 45 degrees about the axis
    axis = np.array(axis, float)
    rft = np.fft.rfftn(white(9))
    k = np.fft.fftfreq(N, 1 / N)
    z, y, x = np.meshgrid(k, k, np.arange(N // 2 + 1.0), indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    cosine = np.abs(x * axis[0] + y * axis[1] + z * axis[2]) / np.maximum(r, 1)
    rft[(cosine > np.cos(np.radians(45))) & (r > 6)] = 0
    rft *= 6.0 * np.exp(-400.0 / 4 * (r / (N * VOXEL_A)) ** 2)
    maps = halves(np.fft.irfftn(rft, s=(N,) * 3, axes=(0, 1, 2)), 1.0)
    found = directional_fsc(*maps, soft_sphere(N, 24, 6), VOXEL_A)
    assert abs(found.axes_xyz[found.worst] @ axis) > np.cos(np.radians(25))
    assert found.anisotropy > 1.6


def test_cones_of_all_directions_average_to_the_shell():
    maps = halves(4.0 * b_factor_map(white(9), VOXEL_A, 150.0), 1.0)
    mask = np.ones((N,) * 3, np.float32)
    mean = directional_fsc(*maps, mask, VOXEL_A).curves.mean(axis=0)
    # the mean of ratios is not the ratio of means: a few hundredths in small shells
    assert np.abs(mean - fsc(*maps))[4:].max() < 0.05


# ---- models ----------------------------------------------------------------------------------

def test_map_is_padded_to_a_cube_about_itself():
    map_ = np.random.default_rng(1).normal(5.0, 1.0, (7, 12, 9)).astype(np.float32)
    cube, before = pad_to_cube(map_)
    assert cube.shape == (12, 12, 12)
    x, y, z = before
    assert np.array_equal(cube[z:z + 7, y:y + 12, x:x + 9], map_)
    assert abs(cube[0].mean() - 5.0) < 0.3


def test_offset_and_scale_of_a_map_do_not_change_its_fsc_with_a_model():
    model = b_factor_map(white(3), VOXEL_A, 100.0)
    mask = soft_sphere(N, 18, 5)
    map_ = model + 0.1 * white(4)
    first = map_model_fsc(map_, model, mask)
    second = map_model_fsc((40.0 + 7.0 * map_).astype(np.float32), model, mask)
    assert np.abs(first - second).max() < 1e-3


REAL = [("map_model_apoferritin_emd20026", "emd20026_prot.mrc", "3ajo_fitted_refined.pdb", 2.0),
        ("map_model_emd2566_3j6b_chain9", "2566_3J6B_9.mrc", "3J6B_9.pdb", 3.6)]


@pytest.mark.parametrize(("folder", "map_name", "model_name", "expected_A"), REAL)
def test_real_models_agree_with_their_maps_to_the_known_resolution(
        data_dir, folder, map_name, model_name, expected_A):
    # An independent program measured 1.9 and 3.6 Å at 0.5; masks and solvent differ.
    pytest.importorskip("gemmi")
    paths = [data_dir / folder / name for name in (map_name, model_name)]
    for path in paths:
        if not path.is_file():
            pytest.skip(f"real data not found: {path}")
    found = compare_with_model(read_mrc(paths[0]), paths[0], paths[1], 3.0, None)
    assert abs(found.resolution_A / expected_A - 1) < 0.06
    assert found.correlation > 0.6
