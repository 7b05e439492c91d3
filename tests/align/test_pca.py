"""Principal components of vectors with missing parts, against those planted."""

import numpy as np
import pytest

from sta_mpi.align.band_maps import band_of_map, map_of_band, masked_band, particle_band
from sta_mpi.align.clusters import gaussian_mixture, k_means
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.pca import (
    SPREAD,
    Coordinates,
    coordinates,
    maximise,
    moment_products,
    principal_axes,
    shrink,
    unit_variance,
)
from sta_mpi.align.voxel_band import make_voxel_band
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.tilts import tilt_matrix

N, V = 400, 150


def planted(rng):
    """Data, weights (40 % of the voxels unseen, other ones for each particle), and the truth."""
    mean = rng.normal(size=V) + 1j * rng.normal(size=V)
    components = rng.normal(size=(2, V)) + 1j * rng.normal(size=(2, V))
    components *= np.array([[0.5], [0.3]])
    z = rng.normal(size=(N, 2))
    weight = np.where(rng.random((N, V)) < 0.6, rng.uniform(0.2, 1.0, (N, V)), 0.0)
    # noise of the data sum has the power of the weight, half in each part
    noise = (rng.normal(size=(N, V)) + 1j * rng.normal(size=(N, V))) * np.sqrt(weight / 2)
    return mean, components, z, weight * (mean + z @ components) + noise, weight


def expectation_maximisation(data, weight, rounds, rng):
    found = [Coordinates(rng.normal(size=2), np.zeros((2, 2)), 0.0) for _ in range(N)]
    for _ in range(rounds):
        numerators, products, square = np.zeros((3, V), complex), np.zeros((6, V)), np.zeros((2, 2))
        for d, w, z in zip(data, weight, found, strict=True):
            first, second = moment_products(z)
            numerators += first[:, None] * d
            products += second[:, None] * w
            square += z.covariance + np.outer(z.mean, z.mean)
        mean, components = maximise(numerators, products)
        components, power = principal_axes(unit_variance(components, square / N))
        found = [coordinates(d, w, mean, components) for d, w in zip(data, weight, strict=True)]
    return mean, components, power, found


def test_components_and_coordinates_are_found_through_missing_voxels():
    rng = np.random.default_rng(1)
    mean, components, z, data, weight = planted(rng)
    found_mean, found, power, at = expectation_maximisation(data, weight, 12, rng)
    # N particles of unit noise at a mean weight of 0.36: error of the mean 0.08 a voxel and more
    # for the chance mean of z
    assert np.sqrt(np.mean(abs(found_mean - mean) ** 2)) < 0.2
    # the planted components lie in the plane of those found
    basis = np.linalg.qr(found.T)[0]
    for planted_one in components:
        left = planted_one - basis @ (basis.conj().T @ planted_one)
        assert np.linalg.norm(left) < 0.25 * np.linalg.norm(planted_one)
    assert power[0] > power[1] > 0
    coordinate = np.array([c.mean for c in at])
    for planted_z in z.T:
        fit = coordinate @ np.linalg.lstsq(coordinate, planted_z, rcond=None)[0]
        assert np.corrcoef(fit, planted_z)[0, 1] > 0.95


def test_the_spread_of_coordinates_is_the_one_that_is_told():
    """Errors of coordinates in the true model, in units of the told standard deviation."""
    rng = np.random.default_rng(2)
    mean, components, z, data, weight = planted(rng)
    components = components * 0.2       # weak: the prior matters
    data = data + weight * (z @ components - 5 * z @ components)
    found = [coordinates(d, w, mean, components) for d, w in zip(data, weight, strict=True)]
    square = [(c.mean - t) @ np.linalg.solve(c.covariance, c.mean - t)
              for c, t in zip(found, z, strict=True)]
    # chi square of 2 degrees of freedom: mean 2, its standard error 2 / sqrt(N) = 0.1
    assert np.mean(square) == pytest.approx(2.0, abs=0.4)


def test_a_band_holds_a_map_and_the_merged_slices_of_a_particle_in_its_own_axes():
    phantom, band = chiral_phantom(8.0, 1.6), make_voxel_band(32, 7.0)
    truth = band_of_map(phantom.truth_map(32, 1.0), band)
    again = band_of_map(map_of_band(truth, band), band)
    assert np.allclose(again, truth, atol=1e-5 * abs(truth).max())
    tilts = np.array([tilt_matrix(0.0, a, 85.0) for a in range(-60, 61, 3)])
    R = random_rotations(1, np.random.default_rng(3))[0]
    images = phantom.views_rft(tilts @ R, 32, 1.0)
    samples = TiltSamples(images, np.ones(images.shape, np.float32), tilts, np.arange(len(tilts)))
    merged = particle_band(samples, R, band)
    seen = merged.weight > 0.3
    quotient = merged.data[seen] / merged.weight[seen]
    correlation = abs(np.vdot(quotient, truth[seen])) / (
        np.linalg.norm(quotient) * np.linalg.norm(truth[seen]))
    # trilinear interpolation without padding, and 0.2 of the voxels in the wedge
    assert correlation > 0.97
    assert 0.6 < seen.mean() < 0.98


def test_a_masked_band_holds_nothing_outside_the_mask():
    band = make_voxel_band(24, 6.0)
    rng = np.random.default_rng(4)
    vector = rng.normal(size=len(band.index)) + 1j * rng.normal(size=len(band.index))
    mask = np.zeros((24, 24, 24), np.float32)
    mask[8:16, 8:16, 8:16] = 1.0
    before, after = (np.abs(map_of_band(v, band)) ** 2
                     for v in (vector, masked_band(vector, mask, band)))
    share = [m[6:18, 6:18, 6:18].sum() / m.sum() for m in (before, after)]
    assert share[0] < 0.2
    assert share[1] > 0.8


@pytest.mark.parametrize("cluster", [k_means, gaussian_mixture])
def test_clusters_that_stand_apart_are_found_and_numbered_by_size(cluster):
    rng = np.random.default_rng(5)
    truth = np.repeat([2, 0, 1], [10, 60, 30])
    centres = np.array([[0.0, 0, 0], [6, 0, 0], [0, 8, 0]])
    points = centres[truth] + rng.normal(size=(100, 3))
    labels = cluster(points, 3, seed=1)
    assert np.mean(labels == truth) > 0.98
    assert np.array_equal(labels, cluster(points, 3, seed=1))


def test_a_mixture_finds_a_small_cluster_beside_a_wide_one():
    """Where k-means would cut the wide cluster."""
    rng = np.random.default_rng(6)
    truth = np.repeat([0, 1], [300, 30])
    points = rng.normal(size=(330, 2)) * np.where(truth == 0, 3.0, 0.4)[:, None]
    points[truth == 1, 0] += 11.0
    assert np.mean(gaussian_mixture(points, 2, 1) == truth) > 0.97
    assert np.mean(k_means(points, 2, 1) == truth) < 0.97


def test_shells_of_noise_are_scaled_down_and_those_of_signal_stay():
    rng = np.random.default_rng(7)
    radius = np.repeat([2.0, 6.0], 300)
    weight = np.full(600, 4.0)
    noise = rng.normal(size=600) + 1j * rng.normal(size=600)
    component = noise * np.sqrt(SPREAD / 4.0 / 2)
    component[:300] += 2.0 * np.exp(2j * np.pi * rng.random(300))
    products = np.stack([weight, weight, weight])
    ratio = abs(shrink(component[None], products, radius)[0] / component)
    assert np.allclose(ratio[:300], 1.0, atol=0.05)
    # noise of 300 voxels is known to 1 / sqrt(300)
    assert ratio[300:].max() < 0.2
