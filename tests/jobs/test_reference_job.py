"""`reference` on simulated sets: methods, options, ranks, resume."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.align.map_fit import fit_map
from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.pick.poses import pose_distance_deg
from sta_mpi.signal.fft import FftPlans

PLANS = FftPlans(effort="estimate")
BOX = 32
COMMON = ("--box-px", BOX, "--pad", 1.5, "--quiet")


@pytest.fixture(scope="module", autouse=True)
def no_pages():
    """Pictures take most of the time; one test asks for the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sta_mpi.jobs.launch.write_job_page", lambda *_: None)
        yield


def run(*words, code=0):
    result = CliRunner().invoke(cli, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result


def results(folder):
    return json.loads((folder / "job.json").read_text())["results"]


@pytest.fixture(scope="module")
def chiral(tmp_path_factory):
    """32 asymmetric particles with their orientations thrown away."""
    folder = tmp_path_factory.mktemp("chiral") / "sim"
    run("simulate", "--n-series", 1, "--n-particles", 32, "--pixel-A", 6, "--image-width-px", 256,
        "--image-height-px", 256, "--thickness-A", 700, "--tilt-step-deg", 8, "--snr", 0.5,
        "--phantom-radius-A", 60, "--phantom-detail-A", 5, "--truth-box-px", BOX, "--quiet",
        "-o", folder)
    tomograms = read_tomograms(folder / "tomograms.star")
    particles = read_particles(folder / "particles.star", tomograms)
    write_particles(folder / "unknown.star", particles.with_poses(
        np.tile(np.eye(3), (len(particles), 1, 1)), particles.offset_A), tomograms)
    return folder


@pytest.fixture(scope="module")
def denovo(chiral, tmp_path_factory):
    """A reference from scratch."""
    out = tmp_path_factory.mktemp("denovo") / "out"
    run("reference", "--optimisation-set", chiral / "optimisation_set.star", "--particles",
        chiral / "unknown.star", *COMMON, "--starts", 1, "--iterations", 1, "-o", out)
    return out


def fitted(path, truth):
    """How well a map fits the truth, and how well its mirror image does."""
    data, fixed = read_mrc(path).data, read_mrc(truth).data
    mirror = np.ascontiguousarray(np.roll(data[:, :, ::-1], 1, 2))
    return [fit_map(m, fixed, None, 6.0, 4.0, PLANS)[1] for m in (data, mirror)]


def test_reference_from_scratch_is_the_object_in_its_own_hand(chiral, denovo):
    own, mirror = fitted(denovo / "merged.mrc", chiral / "truth.mrc")
    assert own > 0.85
    assert own > mirror + 0.03
    found = results(denovo)
    assert found["is_supported"]
    assert found["has_shape"]
    assert found["symmetry"] == "C1"


@pytest.mark.slow
def test_result_is_a_set_that_other_commands_take(chiral, denovo, tmp_path):
    members = read_optimisation_set(denovo / "optimisation_set.star")
    assert members.reference1 is not None
    assert members.reference1.name == "half1.mrc"
    run("average", "--optimisation-set", denovo / "optimisation_set.star", *COMMON,
        "-o", tmp_path / "average")
    ours = read_mrc(denovo / "merged.mrc").data
    again = read_mrc(tmp_path / "average/merged.mrc").data
    # posterior weights against the best pose alone
    assert np.corrcoef(ours.ravel(), again.ravel())[0, 1] > 0.9


def test_particles_of_noise_give_no_reference(tmp_path):
    folder = tmp_path / "noise"
    run("simulate", "--n-series", 1, "--n-particles", 30, "--pixel-A", 6, "--image-width-px", 256,
        "--image-height-px", 256, "--thickness-A", 700, "--tilt-step-deg", 10, "--snr", 1e-6,
        "--phantom-radius-A", 60, "--quiet", "-o", folder)
    run("reference", "--optimisation-set", folder / "optimisation_set.star", *COMMON, "--starts", 2,
        "-o", tmp_path / "out")
    job = json.loads((tmp_path / "out/job.json").read_text())
    assert not job["results"]["is_supported"]
    assert any("no reference is supported" in line for line in job["warnings"])
    assert not (tmp_path / "out/reference.mrc").exists()
    assert not (tmp_path / "out/particles.star").exists()


@pytest.fixture(scope="module")
def lattice(tmp_path_factory):
    """A C6 lattice on a sphere; seeds know normals within some degrees, and no twists."""
    folder = tmp_path_factory.mktemp("lattice") / "sim"
    run("simulate", "--n-series", 1, "--placement", "spheres", "--phantom", "C6",
        "--phantom-radius-A", 45, "--sphere-radius-A", 250, "--lattice-spacing-A", 80,
        "--pixel-A", 8, "--image-width-px", 128, "--image-height-px", 128, "--thickness-A", 800,
        "--tilt-step-deg", 6, "--snr", 0.5, "--truth-box-px", BOX, "--quiet", "-o", folder)
    tomograms = read_tomograms(folder / "tomograms.star")
    particles = read_particles(folder / "particles.star", tomograms)
    rng = np.random.default_rng(7)
    twist, tip = np.zeros((2, len(particles), 3))
    twist[:, 2] = rng.random(len(particles)) * 2 * np.pi
    tip[:, :2] = np.radians(3) * rng.normal(size=(len(particles), 2))
    write_particles(folder / "seeds.star", particles.with_poses(
        particles.R_p2t @ rotation_from_vector(tip) @ rotation_from_vector(twist),
        particles.offset_A + rng.normal(scale=3.0, size=(len(particles), 3))), tomograms)
    return folder


@pytest.mark.slow
def test_lattice_on_a_sphere_gets_axis_twist_and_polarity(lattice, tmp_path):
    """The true frames have x towards the nearest neighbour and z outwards."""
    angle = 20.0
    run("reference", "--optimisation-set", lattice / "optimisation_set.star", "--particles",
        lattice / "seeds.star", *COMMON, "--cone-deg", 12, "--starts", 2, "--lowpass-A", 32,
        "--iterations", 1, "--lattice-direction-deg", angle, "-o", tmp_path / "out")
    found = results(tmp_path / "out")
    assert found["symmetry"] == "C6"
    tomograms = read_tomograms(lattice / "tomograms.star")
    truth = read_particles(lattice / "particles.star", tomograms)
    ours = read_particles(tmp_path / "out/particles.star", tomograms)
    # a neighbour at angle a of our axes is at 0 of the true ones: R_ours Rz(a) = R_true
    turn = rotation_from_vector([0, 0, np.radians(angle)])
    away = pose_distance_deg(ours.R_p2t @ turn, truth.R_p2t, symmetry_matrices("C6"))
    # the true x axes scatter by some degrees about the mean direction on so small a sphere
    assert np.median(away) < 4.0
    normals = np.einsum("ni,ni->n", ours.R_p2t[:, :, 2], truth.R_p2t[:, :, 2])
    assert np.degrees(np.arccos(np.median(normals))) < 3.5
    offset = np.einsum("nji,nj->ni", truth.R_p2t, ours.position_A - truth.position_A)
    # half a voxel of 8 Å
    assert np.linalg.norm(np.median(offset, axis=0)[:2]) < 4.0


@pytest.mark.slow
def test_average_method_searches_nothing_and_turns_particles_with_the_map(lattice, tmp_path):
    run("reference", "--optimisation-set", lattice / "optimisation_set.star", *COMMON,
        "--method", "average", "--symmetry", "C6", "--lowpass-A", 30, "-o", tmp_path / "out")
    tomograms = read_tomograms(lattice / "tomograms.star")
    truth = read_particles(lattice / "particles.star", tomograms)
    ours = read_particles(tmp_path / "out/particles.star", tomograms)
    # one turn for all particles: nothing was searched
    turn = np.swapaxes(truth.R_p2t, 1, 2) @ ours.R_p2t
    assert np.abs(turn - turn[0]).max() < 1e-4
    assert results(tmp_path / "out")["axis_tilt_deg"] < 3
    # low-passed: nothing left beyond the limit
    spectrum = np.abs(PLANS.rfft3(read_mrc(tmp_path / "out/reference.mrc").data))
    limit = BOX * 8 / 30
    assert spectrum[0, 0, int(limit) + 3 :].max() < 1e-3 * spectrum.max()


@pytest.mark.slow
def test_random_twist_averages_turns_away(lattice, tmp_path):
    run("reference", "--optimisation-set", lattice / "optimisation_set.star", *COMMON,
        "--method", "average", "--symmetry", "C1", "--cone-deg", 5, "--twist", "random",
        "-o", tmp_path / "out")
    tomograms = read_tomograms(lattice / "tomograms.star")
    truth = read_particles(lattice / "particles.star", tomograms)
    ours = read_particles(tmp_path / "out/particles.star", tomograms)
    assert np.allclose(ours.R_p2t[:, :, 2], truth.R_p2t[:, :, 2], atol=1e-4)
    twist = np.einsum("ni,ni->n", ours.R_p2t[:, :, 0], truth.R_p2t[:, :, 0])
    assert np.std(twist) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["particle", "tree"])
def test_single_particles_and_trees_lead_to_the_object_as_well(chiral, tmp_path, method):
    run("reference", "--optimisation-set", chiral / "optimisation_set.star", "--particles",
        chiral / "unknown.star", *COMMON, "--starts", 1, "--iterations", 0, "--method", method,
        "--tree-levels", 3, "-o", tmp_path / "out")
    own, _ = fitted(tmp_path / "out/merged.mrc", chiral / "truth.mrc")
    assert own > 0.8


def test_dry_run_tells_sizes_and_writes_nothing(chiral, tmp_path):
    told = run("reference", "--optimisation-set", chiral / "optimisation_set.star", "--box-px", BOX,
               "--dry-run", "-o", tmp_path / "out").output
    for word in ("method", "rotations", "voxels_of_the_band", "rank_memory_GiB"):
        assert word in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "code", "told"), [
    (("--particle", 3), 2, "goes with method particle"),
    (("--method", "particle", "--particle", 99), 2, "the file has 32 particles"),
    (("--twist", "random"), 2, "goes with method average"),
    (("--symmetry", "C0"), 2, "--symmetry"),
    (("--lowpass-A", 11), 2, "beyond Nyquist"),
    (("--lowpass-A", 13), 2, "expected at most 12"),
    (("--shift-range-A", 60), 2, "quarter of the box"),
    (("--starts", 0), 2, "starts"),
    (("--box-px", 31), 2, "even number"),
    (("--source", "stacks"), 3, "names no images")])
def test_wrong_options_end_in_one_line(chiral, tmp_path, words, code, told):
    result = run("reference", "--optimisation-set", chiral / "optimisation_set.star",
                 *(() if "--box-px" in words else ("--box-px", BOX)), *words, "--quiet",
                 "-o", tmp_path / "out", code=code)
    assert told in result.output + result.stderr
    assert not (tmp_path / "out/reference.mrc").exists()


def test_too_few_particles_are_refused(chiral, tmp_path):
    tomograms = read_tomograms(chiral / "tomograms.star")
    particles = read_particles(chiral / "particles.star", tomograms).select(np.arange(5))
    write_particles(tmp_path / "few.star", particles, tomograms)
    result = run("reference", "--tomograms", chiral / "tomograms.star", "--particles",
                 tmp_path / "few.star", "--box-px", BOX, "--quiet", "-o", tmp_path / "out", code=3)
    assert "5 particles are too few" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("form", ["stacks", "boxes"])
def test_stacks_and_boxes_give_the_object_as_tilt_series_do(chiral, tmp_path, form):
    run("extract", "--optimisation-set", chiral / "optimisation_set.star", "--particles",
        chiral / "unknown.star", "--box-px", BOX, "--form", form, "--quiet", "-o", tmp_path / "cut")
    run("reference", "--optimisation-set", tmp_path / "cut/optimisation_set.star", "--pad", 1.5,
        "--quiet", "--starts", 2, "--iterations", 0, "-o", tmp_path / "out")
    own, _ = fitted(tmp_path / "out/merged.mrc", chiral / "truth.mrc")
    assert own > 0.8
