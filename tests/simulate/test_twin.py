"""A twin of a real RELION 5 project: its geometry, poses and half-sets."""

import numpy as np
import pytest
from pydantic import ValidationError

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.jobs.simulate_output import stack_writer, write_project
from sta_mpi.jobs.simulate_scene import build_scene
from sta_mpi.simulate.image import render_tilt


@pytest.fixture(scope="module")
def real(data_dir):
    folder = data_dir / "relion5_empiar10164_hiv"
    if not folder.is_dir():
        pytest.skip(f"no RELION 5 project at {folder}")
    return folder


def twin(real, output, **values):
    like = {"like": real / "Refine3D/job023/run_optimisation_set.star", "binning": 8,
            "phantom": "C6", "phantom_radius_A": 60, "phantom_detail_A": 10, **values}
    return build_scene(SimulateParameters(output=output, **like))


def test_twin_has_the_real_geometry_and_half_sets(real, tmp_path):
    scene = twin(real, tmp_path, series=("TS_43",))
    s = scene.series[0]
    table = read_star(real / "Denoise/job008/tilt_series/TS_43.star").first
    assert s.written.pixel_A == pytest.approx(8 * 1.35)
    assert s.written.image_size_px == (500, 500)
    assert s.written.tomogram_size_px == (500, 500, 250)
    assert np.array_equal(s.written.tilt_deg, table.floats("rlnTomoYTilt"))
    assert np.array_equal(s.written.defocus_u_A, table.floats("rlnDefocusU"))
    assert np.array_equal(s.written.scale, table.floats("rlnCtfScalefactor", 1.0))
    assert s.written.hand == -1
    particles = read_star(real / "Refine3D/job023/run_data.star")["particles"]
    here = particles.strings("rlnTomoName") == "TS_43"
    assert len(s.targets) == here.sum()
    assert np.array_equal(s.half, particles.integers("rlnRandomSubset")[here])


def test_simulators_reading_of_the_tables_agrees_with_the_programs(real, tmp_path):
    tomograms = read_tomograms(real / "Denoise/job008/tomograms.star")
    scene = twin(real, tmp_path, n_particles=5)
    assert [s.name for s in scene.series] == tomograms.names
    for s in scene.series:
        ts = tomograms.tilt_series(s.name)
        for i, view in enumerate(s.written.views()):
            # the program's pixels are unbinned; both centres lie on size // 2
            at_px, depth_A = s.written.position_px(view, s.targets.xyz_A)
            from_centre_A = (at_px - 250) * s.written.pixel_A
            expected_A = s.targets.xyz_A @ ts.P[i, :2, :3].T + ts.P[i, :2, 3]
            assert np.abs(from_centre_A - expected_A).max() < 1e-6
            assert s.written.depth_defocus_A(depth_A) == pytest.approx(
                ts.defocus_offset_A(s.targets.xyz_A)[:, i], abs=1e-6)


def test_neighbours_on_the_real_lattice_keep_its_spacing(real, tmp_path):
    s = twin(real, tmp_path, series=("TS_01",)).series[0]
    gaps = np.linalg.norm(s.targets.xyz_A[:, None] - s.targets.xyz_A[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    # hexagons of immature capsid are about 75 Å apart
    assert np.median(gaps.min(axis=1)) == pytest.approx(75, abs=6)


def test_cropped_twin_is_small_and_reads_back(real, tmp_path):
    values = {"series": ("TS_01",), "n_particles": 12, "crop": True}
    scene = twin(real, tmp_path, **values)
    s = scene.series[0]
    assert max(s.written.image_size_px) < 120
    image = render_tilt(s.objects, s.true, s.true.n_tilts // 2)
    assert image.min() < -3 * image.std()
    writer = stack_writer(tmp_path, s.true, "float32")
    for i in range(s.true.n_tilts):
        writer.write(i, image)
    writer.finish((-1.0, 1.0, 0.0, 1.0))
    write_project(tmp_path, scene, SimulateParameters(
        output=tmp_path, like=real / "Refine3D/job023/run_optimisation_set.star"))
    tomograms = read_tomograms(tmp_path / "tomograms.star")
    particles = read_particles(tmp_path / "particles.star", tomograms)
    at_px = tomograms.tilt_series("TS_01").position_px(particles.position_A)
    assert np.abs(at_px - np.array(s.written.image_size_px) // 2).max() < 60
    assert np.abs(particles.R_p2t - s.targets.R_p2t).max() < 1e-6


def test_crop_images_the_same_particles(real, tmp_path):
    values = {"series": ("TS_01",), "n_particles": 4}
    whole = twin(real, tmp_path, **values).series[0]
    part = twin(real, tmp_path, crop=True, **values).series[0]
    i = 3
    big, small = (render_tilt(s.objects, s.true, i) for s in (whole, part))
    at, to = (s.true.position_px(s.true.view(i), s.targets.xyz_A)[0][0] for s in (whole, part))
    moved = np.round(at - to).astype(int)
    assert at - to == pytest.approx(moved, abs=1e-6)
    height, width = small.shape
    same = big[moved[1]:moved[1] + height, moved[0]:moved[0] + width]
    assert np.abs(same - small).max() < 1e-3 * np.abs(big).max()


def test_wrong_names_are_refused(real, tmp_path):
    with pytest.raises(InputError, match="no such series"):
        twin(real, tmp_path, series=("TS_99",))
    with pytest.raises(ValidationError, match="go together"):
        SimulateParameters(output=tmp_path, tomograms=real / "Denoise/job008/tomograms.star")


def test_tomograms_and_particles_do_without_a_set(real, tmp_path):
    scene = twin(real, tmp_path, like=None, series=("TS_01",), n_particles=3,
                 tomograms=real / "Denoise/job008/tomograms.star",
                 particles=real / "Refine3D/job023/run_data.star")
    assert len(scene.series[0].targets) == 3
