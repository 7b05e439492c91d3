"""The project that `simulate` writes, read back by the program and by formulas written here."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_motion import read_motion
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.jobs.simulate_output import stack_writer, write_project, write_truth
from sta_mpi.jobs.simulate_scene import build_scene
from sta_mpi.simulate.image import render_tilt

SMALL = {"n_series": 2, "n_particles": 6, "image_width_px": 160, "image_height_px": 128,
         "pixel_A": 8.0, "thickness_A": 800.0, "tilt_step_deg": 30.0, "phantom_radius_A": 50.0,
         "phantom_detail_A": 8.0}


def scene_of(folder, **values):
    return build_scene(SimulateParameters(output=folder, **values))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Folder of a written project with every kind of error planted, its scene and truth."""
    folder = tmp_path_factory.mktemp("project")
    parameters = SimulateParameters(
        output=folder, **SMALL, perturb_angle_deg=6, perturb_shift_A=10, motion_A=3,
        alignment_shift_error_A=4, alignment_tilt_error_deg=0.2, hand=1, truth_binnings=(2,),
        mtf_at_nyquist=0.6, n_crowders=3, n_gold=2, crowder_radius_A=40)
    scene = build_scene(parameters)
    for s in scene.series:
        writer = stack_writer(folder, s.true, "float32")
        for i in range(s.true.n_tilts):
            writer.write(i, render_tilt(s.objects, s.true, i))
        writer.finish((-1.0, 1.0, 0.0, 1.0))
    write_project(folder, scene, parameters)
    write_truth(folder, scene, parameters, None)
    return folder, scene, read_h5(folder / "truth.h5", "simulation truth")


def test_written_geometry_puts_true_particles_where_truth_says(project):
    folder, scene, _ = project
    tomograms = read_tomograms(folder / "tomograms.star")
    for s in scene.series:
        ts = tomograms.tilt_series(s.name)
        assert ts.image_size_px == (160, 128)
        found_px = ts.position_px(s.targets.xyz_A)
        for i, view in enumerate(s.written.views()):
            expected_px, depth_A = s.written.position_px(view, s.targets.xyz_A)
            # six decimals of angle [degrees] over some 1000 Å, in pixels of 8 Å
            assert found_px[:, i] == pytest.approx(expected_px, abs=1e-5)
            assert ts.defocus_offset_A(s.targets.xyz_A)[:, i] == pytest.approx(
                s.written.depth_defocus_A(depth_A), abs=1e-3)
        assert ts.hand == 1
        assert ts.pre_dose_e_per_A2 == pytest.approx(s.true.pre_dose_e_per_A2)


def test_angles_in_the_particle_file_are_relions(project):
    folder, scene, _ = project
    table = read_star(folder / "particles_truth.star")["particles"]
    angles = np.stack([table.floats(f"rlnAngle{a}") for a in ("Rot", "Tilt", "Psi")], 1)
    # spec of RELION: A(rot, tilt, psi) = inverse of the intrinsic ZYZ rotation
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    R = np.concatenate([s.targets.R_p2t for s in scene.series])
    assert np.abs(expected - R).max() < 1e-7
    xyz_A = np.stack([table.floats(f"rlnCenteredCoordinate{a}Angst") for a in "XYZ"], 1)
    assert np.abs(xyz_A - np.concatenate([s.targets.xyz_A for s in scene.series])).max() < 1e-5


def test_perturbed_poses_are_written_and_truth_is_kept(project):
    folder, scene, truth = project
    members = read_optimisation_set(folder / "optimisation_set.star")
    particles = read_particles(members.particles, read_tomograms(members.tomograms))
    R = np.concatenate([s.targets.R_p2t for s in scene.series])
    cosine = (np.trace(particles.R_p2t @ R.transpose(0, 2, 1), axis1=1, axis2=2) - 1) / 2
    angle_deg = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    assert angle_deg.min() > 0.1
    assert angle_deg.max() < 6.001
    assert np.allclose(truth.arrays["TS_01/R_p2t"], scene.series[0].targets.R_p2t)
    moved_A = np.linalg.norm(
        truth.arrays["TS_01/written_xyz_A"] - truth.arrays["TS_01/xyz_A"], axis=1)
    assert 0 < moved_A.max() <= 10


def test_truth_file_holds_what_the_microscope_did(project):
    _, scene, truth = project
    assert truth.attributes["seed"] == 1
    for s in scene.series:
        arrays = {name: truth.arrays[f"{s.name}/{name}"] for name in (
            "position_px", "defocus_u_A", "shift_error_A", "tilt_error_deg", "motion_A")}
        n, t = len(s.targets), s.true.n_tilts
        assert arrays["position_px"].shape == (n, t, 2)
        assert np.std(arrays["shift_error_A"]) == pytest.approx(4.0, rel=0.6)
        view = s.true.view(0)
        moved = s.targets.xyz_A + arrays["motion_A"][:, 0]
        expected_px, depth_A = s.true.position_px(view, moved)
        assert arrays["position_px"][:, 0] == pytest.approx(expected_px)
        assert arrays["defocus_u_A"][:, 0] == pytest.approx(s.true.defocus_u_A[0] + depth_A)
        first = int(np.argmin(s.true.pre_dose_e_per_A2))
        assert not arrays["motion_A"][:, first].any()


def test_trajectories_are_the_true_motion(project):
    folder, scene, _ = project
    tomograms = read_tomograms(folder / "tomograms.star")
    particles = read_particles(folder / "particles_truth.star", tomograms)
    motion_A = read_motion(folder / "motion_truth.star", particles, tomograms)
    assert np.abs(motion_A[:6] - scene.series[0].targets.motion_A).max() < 1e-5


def test_mtf_is_tabulated_for_the_project(project):
    folder, _, _ = project
    assert set(read_star(folder / "tomograms.star")["global"].strings("rlnMtfFileName")) == {
        "mtf.star"}
    table = read_star(folder / "mtf.star").first
    assert table.floats("rlnMtfValue")[[0, -1]] == pytest.approx([1.0, 0.6])


def test_half_sets_are_balanced_and_names_unique(project):
    folder, _, _ = project
    table = read_star(folder / "particles.star")["particles"]
    assert list(np.bincount(table.integers("rlnRandomSubset"))) == [0, 6, 6]
    assert len(set(table.strings("rlnTomoParticleName"))) == 12


def test_truth_map_has_the_pixel_and_the_particle_in_its_middle(project):
    folder, scene, _ = project
    truth, mask = read_mrc(folder / "truth.mrc"), read_mrc(folder / "truth_mask.mrc")
    assert truth.voxel_A == pytest.approx(8.0)
    assert np.array_equal(truth.data, scene.phantom.truth_map(scene.truth_box_px, 8.0))
    assert mask.data.min() == 0
    assert mask.data.max() == 1
    assert truth.data[mask.data > 0].sum() > 0.97 * truth.data.clip(0).sum()
    binned = read_mrc(folder / "truth_bin2.mrc")
    assert binned.voxel_A == pytest.approx(16.0)


def test_neighbours_keep_clear_of_particles(project):
    _, scene, _ = project
    for s in scene.series:
        assert [len(group) for group in s.others] == [3, 2]
        for group in s.others:
            gaps = np.linalg.norm(group.xyz_A[:, None] - s.targets.xyz_A[None], axis=2)
            assert gaps.min() >= group.phantom.radius_A + scene.phantom.radius_A - 1e-6


def test_scene_is_a_function_of_the_seed(tmp_path):
    a, b, c = (scene_of(tmp_path, **SMALL, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(a.series[1].targets.R_p2t, b.series[1].targets.R_p2t)
    assert np.array_equal(a.series[1].true.shift_A, b.series[1].true.shift_A)
    assert not np.array_equal(a.series[1].targets.xyz_A, c.series[1].targets.xyz_A)


def test_another_series_does_not_change_the_first(tmp_path):
    few, more = (scene_of(tmp_path, **{**SMALL, "n_series": n}) for n in (1, 3))
    assert np.array_equal(few.series[0].targets.xyz_A, more.series[0].targets.xyz_A)


def test_snr_sets_the_noise(tmp_path):
    low, high = (scene_of(tmp_path, **SMALL, snr=snr).series[0].noise_sd for snr in (0.01, 0.04))
    assert low == pytest.approx(2 * high)
    assert not scene_of(tmp_path, **SMALL, noise_sd=0).series[0].noise_sd.any()


def test_spheres_hold_lattices_with_outward_axes(tmp_path):
    scene = scene_of(tmp_path, **{**SMALL, "n_particles": None, "thickness_A": 900.0,
                                  "image_height_px": 160}, placement="spheres",
                     sphere_radius_A=250, lattice_spacing_A=110)
    s = scene.series[0]
    centre = s.targets.xyz_A.mean(axis=0)
    outward = (s.targets.xyz_A - centre) / 250
    assert np.abs(outward - s.targets.R_p2t[:, :, 2]).max() < 1e-9
    assert set(s.surface) == {1}


def test_particles_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="do not fit at random"):
        scene_of(tmp_path, **{**SMALL, "n_particles": 900})
    with pytest.raises(UsageError, match="thickness"):
        scene_of(tmp_path, **{**SMALL, "thickness_A": 60.0})
