"""Phantoms from maps and from atomic models."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.data import Volume
from sta_mpi.data.atoms import Atoms
from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.structures import read_structure
from sta_mpi.simulate.atoms import density_of_atoms
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.grid_phantom import GridPhantom, recentred, resampled

gemmi = pytest.importorskip("gemmi", reason="gemmi is not installed: pip install 'sta_mpi[model]'")

N, VOXEL_A = 48, 4.0


def carbon(xyz, b_factor=30.0):
    return Atoms(np.atleast_2d(np.array(xyz, float)), np.array(["C"]), np.array([b_factor]),
                 np.ones(1))


def ball_of_carbon(radius=25.0, step=2.0):
    axis = np.arange(-radius, radius + 1, step)
    xyz = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    xyz = xyz[np.linalg.norm(xyz, axis=1) <= radius]
    n = len(xyz)
    return Atoms(xyz, np.array(["C"] * n), np.full(n, 30.0), np.ones(n))


def test_views_of_a_map_equal_the_analytic_views_to_a_per_cent():
    blobs = chiral_phantom(60.0, detail_A=5.0)
    grid = GridPhantom.of_map(Volume(blobs.truth_map(N, VOXEL_A), VOXEL_A))
    for M in Rotation.random(3, random_state=4).as_matrix():
        exact = blobs.views_rft(M[None], 64, VOXEL_A)[0]
        found = grid.views_rft(M[None], 64, VOXEL_A)[0]
        assert np.linalg.norm(found - exact) < 0.02 * np.linalg.norm(exact)


def test_map_smaller_than_the_patch_is_padded_about_its_centre():
    array = np.zeros((5, 6))
    array[2, 3] = 1
    assert recentred(array, (8, 9))[4, 4] == 1
    assert recentred(recentred(array, (8, 9)), (5, 6))[2, 3] == 1


@pytest.mark.parametrize(("n", "voxel_A"), [(32, 6.0), (63, 3.1)])
def test_resampled_map_is_the_phantom_on_the_new_grid(n, voxel_A):
    blobs = chiral_phantom(60.0, detail_A=6.0)
    found = resampled(Volume(blobs.truth_map(N, VOXEL_A), VOXEL_A), n, voxel_A)
    expected = blobs.truth_map(n, voxel_A)
    assert np.abs(found.data - expected).max() < 0.01 * expected.max()


def test_view_at_another_pixel_is_refused():
    grid = GridPhantom.of_map(Volume(chiral_phantom().truth_map(32, 6.0), 6.0))
    with pytest.raises(ValueError, match=r"6\.0000 Å a voxel"):
        grid.views_rft(np.eye(3)[None], 32, 5.0)


def test_carbon_in_vacuum_has_the_form_factor_of_the_table():
    n, voxel_A = 48, 1.0
    found = density_of_atoms(carbon([0.0, 0, 0]), n, voxel_A, centre_A=np.zeros(3), solvent=0.0)
    table = gemmi.Element("C").c4322
    hydrogen = gemmi.Element("H").c4322
    s = np.fft.fftfreq(n, voxel_A)[1:20]

    def factor(coefficients, b_factor):
        return sum(a * np.exp(-(b + b_factor) * s * s / 4)
                   for a, b in zip(coefficients.a, coefficients.b, strict=True))

    expected = factor(table, 30.0) + 1.5 * factor(hydrogen, 61.0)
    transform = np.fft.fftn(np.fft.ifftshift(found))[1:20, 0, 0].real
    ratio = transform / expected
    assert np.abs(ratio / ratio[0] - 1).max() < 0.01


def test_atom_off_centre_lands_on_its_voxel():
    found = density_of_atoms(carbon([13.0, 6.0, 1.0]), 48, 1.0, centre_A=np.array([3.0, 4.0, 5.0]),
                             solvent=0.0)
    assert np.unravel_index(found.argmax(), found.shape) == (24 - 4, 24 + 2, 24 + 10)


def test_map_of_a_ball_is_one_inside_and_solvent_lowers_its_contrast():
    ball = ball_of_carbon()
    inside = density_of_atoms(ball, 40, 3.0, centre_A=np.zeros(3))
    assert inside[18:23, 18:23, 18:23].mean() == pytest.approx(1.0, abs=0.4)
    assert abs(inside[2].mean()) < 0.02
    with pytest.raises(ValueError, match="no contrast"):
        density_of_atoms(ball, 40, 3.0, centre_A=np.zeros(3), solvent=20.0)


def test_map_of_atoms_does_not_depend_on_the_sampling():
    ball = ball_of_carbon(20.0)
    coarse = density_of_atoms(ball, 32, 4.0, centre_A=np.zeros(3))
    fine = Volume(density_of_atoms(ball, 64, 2.0, centre_A=np.zeros(3)), 2.0)
    assert np.corrcoef(resampled(fine, 32, 4.0).data.ravel(), coarse.ravel())[0, 1] > 0.999


def test_b_factor_of_the_caller_replaces_the_column():
    sharp = density_of_atoms(carbon([0, 0, 0], 5.0), 32, 1.5, centre_A=np.zeros(3), solvent=0.0)
    blurred = density_of_atoms(carbon([0, 0, 0], 5.0), 32, 1.5, centre_A=np.zeros(3), solvent=0.0,
                               b_factor_A2=200.0)
    assert blurred.max() / blurred.sum() < 0.5 * sharp.max() / sharp.sum()


def test_structure_that_is_missing_or_broken_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such atomic model"):
        read_structure(tmp_path / "none.cif")
    broken = tmp_path / "broken.cif"
    broken.write_text("data_x\nloop_\n_atom_site.id\n'unfinished\n")
    with pytest.raises((FormatError, InputError)):
        read_structure(broken)


def test_capsid_model_of_the_real_project_is_read(data_dir):
    path = data_dir / "relion5_empiar10164_hiv/ModelAngelo/job080/job080.cif"
    if not path.is_file():
        pytest.skip(f"no model at {path}")
    atoms = read_structure(path)
    assert len(atoms) == 12359
    assert set(atoms.elements) == {"C", "N", "O", "S"}
    density = density_of_atoms(atoms, 48, 5.4, centre_A=np.full(3, 129.6), b_factor_A2=60.0)
    assert density[24 - 5:24 + 14].sum() > 0.8 * density.sum()
    half_turn = np.roll(np.rot90(density, 2, (1, 2)), (1, 1), (1, 2))
    assert np.corrcoef(density.ravel(), half_turn.ravel())[0, 1] > 0.7
