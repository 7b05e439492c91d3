"""The command `seed`: its files, frames and refusals, and the real VLP spheres of a project."""

import json
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial import cKDTree

from sta_mpi.cli.main import cli
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.formats.imod_model import model_from_points, write_imod_model
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms

pytestmark = pytest.mark.usefixtures("empty_figures")

SIZE_PX, PIXEL_A, BINNING = (400, 360, 200), 5.0, 4.0


def series(name):
    P = np.zeros((3, 3, 4))
    P[:, :, :3] = np.eye(3)
    z = np.zeros(3)
    return TiltSeries(name, PIXEL_A, Optics(300.0, 2.7, 0.1), P, z, z, z, z, z, z + 1, z,
                      tomogram_size_px=SIZE_PX)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tomogram table of TS_1 and TS_2, whose volumes are binned 4 times; TS_1 has one."""
    folder = tmp_path_factory.mktemp("tomograms")
    write_mrc(folder / "rec.mrc", np.random.default_rng(0).normal(size=(50, 90, 100)).astype("f4"),
              PIXEL_A * BINNING)
    tomograms = TomogramSet.from_tilt_series([series("TS_1"), series("TS_2")])
    volumes = {"TS_1": (str(folder / "rec.mrc"),), "TS_2": ("absent.mrc",)}
    tomograms.with_volumes(volumes, BINNING).write(folder / "tomograms.star", folder)
    return folder / "tomograms.star"


@pytest.fixture(scope="module")
def run(tables):
    """A function that runs the command in this process."""
    def start(out, *words, given=("--tomograms", tables)):
        return CliRunner().invoke(cli, ["seed", *map(str, (*given, *words)), "--quiet", "-o",
                                        str(out)])

    return start


def read(folder, tables):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_particles(folder / "particles.star", read_tomograms(tables))


def test_model_with_sizes_makes_spheres_at_relions_coordinates(run, tables, tmp_path):
    index = np.array([[50.0, 45, 25], [30, 30, 20]])     # voxels of the binned volume
    write_imod_model(tmp_path / "TS_1.mod", model_from_points(
        index, (100, 90, 50), PIXEL_A * BINNING, radii_px=[10.0, 6.0]))
    done = run(tmp_path / "out", "--points", tmp_path / "TS_1.mod", "--lattice-A", "80")
    assert done.exit_code == 0, done.output
    found = read(tmp_path / "out", tables)
    # voxel i lies at binning i from the corner, the centre at half the size
    centres = (index * BINNING - np.array(SIZE_PX) / 2) * PIXEL_A
    number = np.array([int(v) for v in found.columns["rlnTomoManifoldIndex"]])
    for k, radius in ((1, 200.0), (2, 120.0)):
        out = found.xyz_A[number == k] - centres[k - 1]
        # STAR files carry 6 decimals
        np.testing.assert_allclose(np.linalg.norm(out, axis=1), radius, atol=1e-5)
        np.testing.assert_allclose(found.R_p2t[number == k][:, :, 2], out / radius, atol=1e-6)
        expected = 2 * 4 * np.pi * radius**2 / (np.sqrt(3) / 2 * 6400)
        assert (number == k).sum() == round(expected)


def test_written_priors_are_the_normals_and_keep_clear_of_the_poles(run, tables, tmp_path):
    (tmp_path / "TS_2.csv").write_text("x_A,y_A,z_A,radius_A\n0,0,0,150\n")
    assert run(tmp_path / "out", "--points", tmp_path / "TS_2.csv", "--spacing-A", "40",
               "--halves", "random").exit_code == 0
    found = read(tmp_path / "out", tables)
    np.testing.assert_allclose(prior_orientations(found)[:, :, 2], found.xyz_A / 150.0, atol=1e-6)
    assert set(map(float, found.columns["rlnAngleTiltPrior"])) == {90.0}
    assert abs((found.half == 1).sum() - (found.half == 2).sum()) <= 1
    members = read_optimisation_set(tmp_path / "out" / "optimisation_set.star")
    assert members.tomograms.name == "tomograms.star"
    assert members.particles == tmp_path / "out" / "particles.star"


def test_star_with_names_and_radii_seeds_each_tomogram(run, tables, tmp_path):
    (tmp_path / "spheres.star").write_text(
        "data_\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
        "_rlnCoordinateZ #4\n_rlnSphereRadius #5\n"
        "TS_2 50 45 25 8\nTS_1 50 45 25 8\nTS_2 20 20 25 8\n\n")
    assert run(tmp_path / "out", "--points", tmp_path / "spheres.star", "--lattice-A", "80",
               "--halves", "objects").exit_code == 0
    found = read(tmp_path / "out", tables)
    counts = np.bincount(found.i_tomo)
    assert counts[1] == 2 * counts[0]
    number = np.array([int(v) for v in found.columns["rlnTomoManifoldIndex"]])
    assert all(len(set(found.half[number == k])) == 1 for k in (1, 2, 3))
    assert set(found.half) == {1, 2}
    # seeds of equal spheres are turned against each other
    a, b = (found.xyz_A[number == k] for k in (1, 2))
    assert cKDTree(a).query(b)[0].max() > 1.0


def test_filament_has_z_along_it_and_turns_by_the_twist(run, tables, tmp_path):
    lines = ["contour,x_A,y_A,z_A"] + [f"7,{x},0,20" for x in (-300, 0, 300)]
    (tmp_path / "TS_1_tube.csv").write_text("\n".join(lines))
    assert run(tmp_path / "out", "--points", tmp_path / "TS_1_tube.csv", "--shape", "tube",
               "--rise-A", "50", "--twist-per-rise-deg", "30").exit_code == 0
    found = read(tmp_path / "out", tables)
    np.testing.assert_allclose(found.xyz_A[:, 0], np.arange(-300, 301, 50), atol=1e-4)
    np.testing.assert_allclose(found.R_p2t[:, :, 2], np.tile([1.0, 0, 0], (13, 1)), atol=1e-6)
    step = found.R_p2t[:-1].transpose(0, 2, 1) @ found.R_p2t[1:]
    np.testing.assert_allclose(np.degrees(np.arctan2(step[:, 1, 0], step[:, 0, 0])), 30, atol=1e-4)
    assert list(found.columns["rlnHelicalTubeID"]) == [b"1"] * 13


def test_surface_points_of_a_contour_are_fitted(run, tables, tmp_path):
    from sta_mpi.pick.even_points import golden_spiral

    points = golden_spiral(30) * 220.0 + [100.0, 50, -20]
    text = "\n".join(["x_A,y_A,z_A", *(f"{x},{y},{z}" for x, y, z in points)])
    (tmp_path / "TS_1.csv").write_text(text)
    assert run(tmp_path / "out", "--points", tmp_path / "TS_1.csv", "--fit", "--spacing-A",
               "50").exit_code == 0
    found = read(tmp_path / "out", tables)
    np.testing.assert_allclose(np.linalg.norm(found.xyz_A - [100, 50, -20], axis=1), 220, atol=1e-4)


def test_mask_of_a_tomogram_is_seeded_on_its_surface(run, tables, tmp_path):
    z, y, x = np.mgrid[:50, :90, :100]
    ball = ((x - 60) ** 2 + (y - 40) ** 2 + (z - 25) ** 2 <= 15**2).astype(np.int8) * 3
    write_mrc(tmp_path / "TS_1_labels.mrc", ball, PIXEL_A * BINNING)
    words = ("--mask", tmp_path / "TS_1_labels.mrc", "--spacing-A", "60")
    assert run(tmp_path / "out", *words, "--label", "3", "--offset-A", "40").exit_code == 0
    found = read(tmp_path / "out", tables)
    centre = (np.array([60.0, 40, 25]) * BINNING - np.array(SIZE_PX) / 2) * PIXEL_A
    distance = np.linalg.norm(found.xyz_A - centre, axis=1)
    # 15 voxels of 20 A, less 0.3 voxel for the blur, and 40 A outward; voxels are coarse by 0.5
    np.testing.assert_allclose(distance, 15 * 20 - 6 + 40, atol=12)
    assert run(tmp_path / "none", *words, "--label", "7").exit_code == 3


def test_tomogram_without_a_table_is_seeded_too(run, tables, tmp_path):
    (tmp_path / "points.csv").write_text("x,y,z\n50,45,25\n")
    write_mrc(tmp_path / "other.mrc", np.zeros((50, 90, 100), np.float32), 20.0)
    done = run(tmp_path / "out", "--points", tmp_path / "points.csv", "--radius-A", "160",
               "--lattice-A", "80", given=("--tomogram", tmp_path / "other.mrc"))
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "particles.star").read_text()
    assert "other/1" in text
    assert not (tmp_path / "out" / "optimisation_set.star").exists()


def test_seeds_outside_are_left_out_and_told(run, tables, tmp_path):
    (tmp_path / "TS_1.csv").write_text("x_A,y_A,z_A,radius_A\n0,0,400,300\n")
    assert run(tmp_path / "out", "--points", tmp_path / "TS_1.csv", "--lattice-A",
               "80").exit_code == 0
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    # a cap above z = 500: the part of the sphere within 100 A of its centre in z is kept
    assert job["results"]["left_out"] / (job["results"]["left_out"] + job["results"]["seeds"]) \
        == pytest.approx(1 / 3, abs=0.02)
    assert any("left out" in text for text in job["warnings"])


def test_same_seed_gives_the_same_file_and_another_one_not(run, tables, tmp_path):
    (tmp_path / "TS_1.csv").write_text("x_A,y_A,z_A,radius_A\n0,0,0,200\n")
    words = ("--points", tmp_path / "TS_1.csv", "--lattice-A", "80", "--twist", "random")
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(tmp_path / name, *words, "--seed", seed).exit_code == 0
        texts.append((tmp_path / name / "particles.star").read_bytes())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("text", "words", "code", "message"), [
    ("x_A,y_A,z_A\n0,0,0\n", ["--lattice-A", "80"], 3, "no radius"),
    ("x_A,y_A,z_A,radius_A\n0,0,0,-3\n", ["--lattice-A", "80"], 3, "more than 0"),
    ("x_A,y_A,z_A,radius_A\n0,0,oops,3\n", ["--lattice-A", "80"], 3, "line 2: z_a is 'oops'"),
    ("1,2,3\n", ["--lattice-A", "80"], 3, "expected column names"),
    ("", ["--lattice-A", "80"], 3, "empty"),
    ("x,y,z,colour\n", ["--lattice-A", "80"], 3, "unknown column 'colour'"),
    ("x,y,z,radius\n", ["--lattice-A", "80"], 3, "no points"),
    ("x,y,z,radius,tomogram\n1,1,1,5,nobody\n", ["--lattice-A", "80"], 3, "nobody"),
    ("x_A,y_A,z_A,radius_A\n0,0,9e5,30\n", ["--lattice-A", "80"], 3, "other units"),
    ("x_A,y_A,z_A,radius_A\n0,0,0,1e5\n", ["--lattice-A", "0.1"], 2, "at most"),
    ("x_A,y_A,z_A\n0,0,0\n", [], 2, "--lattice-A"),
    ("x_A,y_A,z_A\n0,0,0\n", ["--spacing-A", "9", "--lattice-A", "9"], 2, "exclude"),
    ("x_A,y_A,z_A\n0,0,0\n", ["--shape", "tube", "--spacing-A", "9"], 3, "at least 2"),
    ("x_A,y_A,z_A\n0,0,0\n", ["--shape", "stalk"], 3, "expected 2"),
    ("x_A,y_A,z_A\n0,0,0\n", ["--shape", "ellipsoid", "--spacing-A", "9"], 3, "half axes")])
def test_wrong_input_is_refused_in_one_line(run, tmp_path, text, words, code, message):
    (tmp_path / "TS_1.csv").write_text(text)
    done = run(tmp_path / "out", "--points", tmp_path / "TS_1.csv", *words)
    assert done.exit_code == code, done.output
    assert message in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out" / "particles.star").exists()


def test_mask_of_another_size_is_refused(run, tmp_path):
    mask = np.zeros((50, 90, 60), np.int8)
    mask[20:30, 20:30, 20:30] = 1
    write_mrc(tmp_path / "TS_1.mrc", mask, PIXEL_A * BINNING)
    done = run(tmp_path / "out", "--mask", tmp_path / "TS_1.mrc", "--spacing-A", "60")
    assert done.exit_code == 3
    assert "60 x 90 x 50 voxels of 20 Å, tomogram TS_1 has 100 x 90 x 50" in done.output


@pytest.mark.parametrize(("name", "content", "message"), [
    ("TS_1.mod", b"IMODV1.2 and no more", "TS_1.mod"),
    ("TS_1.star", b"data_\n\nloop_\n_rlnTomoName #1\nTS_1\n", "rlnCoordinateX"),
    ("TS_1.txt", b"1 2 3", "expected .mod, .star or .csv"),
    ("TS_1.csv", b"\x00\xff\xfe", "expected column names")])
def test_damaged_file_of_points_is_refused(run, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    done = run(tmp_path / "out", "--points", tmp_path / name, "--lattice-A", "80")
    assert done.exit_code == 3, done.output
    assert message in done.output
    assert "Traceback" not in done.output


def test_file_of_no_tomogram_is_refused(run, tmp_path):
    (tmp_path / "somewhere.csv").write_text("x_A,y_A,z_A,radius_A\n0,0,0,30\n")
    done = run(tmp_path / "out", "--points", tmp_path / "somewhere.csv", "--lattice-A", "80")
    assert done.exit_code == 3
    assert "begins with none of the tomograms" in done.output


@pytest.mark.data
def test_real_particles_lie_on_the_seeded_spheres_and_face_outward(run, data_dir, tmp_path):
    """HIV-1 VLPs picked as spheres, and what RELION's refinement made of 9442 of their seeds."""
    project = data_dir / "relion5_empiar10164_hiv"
    table = project / "Denoise/job008/tomograms.star"
    words = [w for path in sorted((project / "Picks/job009/annotations").glob("*.star"))
             for w in ("--points", path)]
    assert run(tmp_path / "out", *words, "--lattice-A", "80",
               given=("--tomograms", table)).exit_code == 0
    seeds = read(tmp_path / "out", table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real = read_particles(project / "Refine3D/job023/run_data.star", read_tomograms(table))
    assert len(real) == 9442
    distance, angle = np.empty(len(real)), np.empty(len(real))
    for i, name in enumerate(real.tomo_names):
        a, b = real.i_tomo == i, seeds.i_tomo == seeds.tomo_names.index(name)
        distance[a], j = cKDTree(seeds.position_A[b]).query(real.position_A[a])
        cosine = (seeds.R_p2t[b][j][:, :, 2] * real.R_p2t[a][:, :, 2]).sum(axis=1)
        angle[a] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    # seeds are 57 A apart, particles moved up to some 50 A in the refinement: measured 30 A, 7 deg
    assert np.median(distance) < 40
    assert (distance < 100).mean() > 0.97
    assert np.median(angle) < 10
    assert (angle < 30).mean() > 0.93
