"""The analytic phantom: views against projections of its grid, symmetry, scale."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.simulate.builtin_phantoms import (
    BUILT_IN,
    chiral_phantom,
    cyclic_matrices,
    dihedral_matrices,
    gold_bead,
    symmetric_phantom,
)
from sta_mpi.simulate.phantom import GaussianPhantom

N, PIXEL_A = 64, 3.0


def real_view(phantom, M, n=N, pixel_A=PIXEL_A):
    rft = phantom.views_rft(M[None], n, pixel_A)[0]
    return np.fft.fftshift(np.fft.irfft2(rft, s=(n, n), norm="ortho"))


def rotated(phantom, M):
    return GaussianPhantom(phantom.centre_A @ M.T, phantom.sigma_A, phantom.mass)


@pytest.mark.parametrize("n", [63, 64])
def test_view_along_z_is_the_sum_of_the_map_over_z(n):
    phantom = chiral_phantom(60.0)
    projected = phantom.density_map(n, PIXEL_A).sum(axis=0, dtype=float)
    # blobs of 3 Å at 3 Å pixels alias at the level of exp(-2 pi^2 / 4)
    view = real_view(phantom, np.eye(3), n)
    assert np.abs(view - projected).max() < 0.01 * projected.max()


def test_view_in_any_orientation_is_the_projection_of_the_rotated_object():
    phantom = chiral_phantom(60.0, detail_A=4.5)
    for M in Rotation.random(4, random_state=2).as_matrix():
        projected = rotated(phantom, M).density_map(N, PIXEL_A).sum(axis=0, dtype=float)
        # 4.5 Å blobs at 3 Å are sampled safely: what is left is float32
        assert np.abs(real_view(phantom, M) - projected).max() < 2e-4 * projected.max()


def test_density_map_is_the_formula_at_one_voxel():
    phantom = chiral_phantom(60.0)
    here = np.array([12.0, -6.0, 3.0])
    r2 = ((phantom.centre_A - here) ** 2).sum(axis=1)
    expected = sum(m * np.exp(-r / (2 * s * s)) / (2 * np.pi * s * s) ** 1.5
                   for m, r, s in zip(phantom.mass, r2, phantom.sigma_A, strict=True))
    found = phantom.density_map(N, PIXEL_A)[N // 2 + 1, N // 2 - 2, N // 2 + 4]
    assert found == pytest.approx(expected, rel=1e-5)


def test_truth_map_agrees_with_the_density_where_sampling_is_fine():
    phantom = chiral_phantom(60.0, detail_A=4.5)
    density, truth = phantom.density_map(N, PIXEL_A), phantom.truth_map(N, PIXEL_A)
    assert np.abs(density - truth).max() < 2e-4 * density.max()


def test_truth_map_is_what_the_views_project():
    phantom = chiral_phantom(60.0, detail_A=2.0)
    truth = phantom.truth_map(N, 6.0)
    view = real_view(phantom, np.eye(3), N, 6.0)
    assert np.abs(truth.sum(axis=0, dtype=float) - view).max() < 1e-4 * view.max()


@pytest.mark.parametrize("n", [48, 49])
def test_chiral_phantom_has_no_mirror_or_rotation_that_keeps_it(n):
    phantom = chiral_phantom(60.0)
    density = phantom.density_map(n, 4.0).ravel()
    mirrored = GaussianPhantom(-phantom.centre_A, phantom.sigma_A, phantom.mass)
    turns = Rotation.random(60, random_state=1).as_matrix()
    alike = [np.corrcoef(density, rotated(mirrored, M).density_map(n, 4.0).ravel())[0, 1]
             for M in turns]
    assert max(alike) < 0.9


@pytest.mark.parametrize(("name", "matrices"), [
    ("C6", cyclic_matrices(6)), ("D2", dihedral_matrices(2))])
def test_symmetric_phantom_keeps_under_its_group_only(name, matrices):
    phantom = BUILT_IN[name](60.0, 3.0)
    density = phantom.density_map(48, 4.0).ravel()
    for turn in matrices:
        assert np.corrcoef(density, rotated(phantom, turn).density_map(48, 4.0).ravel())[0, 1] \
            > 0.99999
    for angle in (45.0, 90.0):
        turn = Rotation.from_euler("z", angle, degrees=True).as_matrix()
        assert np.corrcoef(density, rotated(phantom, turn).density_map(48, 4.0).ravel())[0, 1] \
            < 0.95


def test_dihedral_group_is_closed():
    group = dihedral_matrices(2)
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 3, 3)
    nearest = np.abs(products[:, None] - group[None]).max(axis=(2, 3)).min(axis=1)
    assert nearest.max() < 1e-12


@pytest.mark.parametrize(("name", "low", "high"), [
    ("chiral", 50, 100), ("70S", 110, 155), ("C6", 50, 110), ("D2", 50, 110)])
def test_built_in_phantoms_have_their_size_and_protein_like_density(name, low, high):
    phantom = BUILT_IN[name](60.0, 3.0)
    assert low < phantom.radius_A < high
    centre_of_mass = phantom.mass @ phantom.centre_A / phantom.mass.sum()
    assert np.linalg.norm(centre_of_mass) < 25.0
    density = phantom.density_map(80, 4.0)
    assert 0.5 < density[density > 0.3].mean() < 3.0


def test_gold_bead_holds_its_volume_times_density_and_looks_alike_from_everywhere():
    bead = gold_bead(100.0)
    views = bead.views_rft(Rotation.random(2, random_state=1).as_matrix(), 64, 4.0)
    assert np.array_equal(views[0], views[1])
    mass = float(views[0, 0, 0].real) * 64 * 4.0**3
    assert mass == pytest.approx(8.0 * 4 / 3 * np.pi * 50.0**3, rel=1e-3)
    assert bead.truth_map(64, 4.0)[32, 32, 32] == pytest.approx(8.0, rel=0.1)


def test_symmetric_phantom_of_the_trivial_group_is_one_unit():
    one = symmetric_phantom(np.eye(3)[None])
    assert len(one.mass) == len(chiral_phantom(30.0).mass)
