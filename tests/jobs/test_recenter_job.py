"""`recenter` and `symmetrize`: particles averaged anew give the moved map."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.align.move_map import RigidMove, move_map, shift_move
from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import (
    OptimisationSet,
    read_optimisation_set,
    write_optimisation_set,
)
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

BOX, PIXEL_A = 40, 6.0


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """Pictures take most of the time; one test asks for the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sta_mpi.jobs.launch.write_job_page", lambda *_: None)
        yield


def run(*words, code=0):
    result = CliRunner().invoke(cli, [*map(str, words), "--quiet"])
    assert result.exit_code == code, result.output
    return result


def average(optimisation_set, out, *words):
    run("average", "--optimisation-set", optimisation_set, "--box-px", BOX, "--noise", "flat",
        *words, "-o", out)
    return out


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A C6 particle in a simulated set, averaged at its true poses."""
    folder = tmp_path_factory.mktemp("recenter")
    run("simulate", "--n-series", 1, "--n-particles", 30, "--pixel-A", PIXEL_A,
        "--image-width-px", 224, "--image-height-px", 224, "--tilt-step-deg", 8,
        "--thickness-A", 600, "--phantom", "C6", "--phantom-radius-A", 60, "--phantom-detail-A", 5,
        "--snr", 2, "--truth-box-px", BOX, "-o", folder / "sim")
    average(folder / "sim/optimisation_set.star", folder / "average")
    return folder


@pytest.fixture(scope="module")
def moved(project):
    """The set moved off centre and off axis, and averaged there."""
    words = ["--centre-A", 12, "--centre-A", -6, "--centre-A", 9]
    words += ["--rotate-deg", 30, "--rotate-deg", 40, "--rotate-deg", 50]
    run("recenter", "--reference", project / "average/half1.mrc", "--optimisation-set",
        project / "sim/optimisation_set.star", *words, "-o", project / "moved")
    average(project / "moved/optimisation_set.star", project / "average_moved")
    return project / "moved"


def masked(path):
    return read_mrc(path).data * soft_sphere(BOX, 12, 4)


def test_average_of_moved_particles_is_the_moved_map(project, moved):
    again = masked(project / "average_moved/half1.mrc")
    # noise in the box around the new centre is other noise: half maps agree as well, 0.9 at 9
    assert fsc(masked(moved / "half1.mrc"), again)[:6].min() > 0.97
    # the truth, moved, is what the particles now average to, as well as before
    truth = read_mrc(project / "sim/truth.mrc").data
    A = matrix_from_relion_angles(np.array([30.0, 40.0, 50.0]))
    move = shift_move(np.array([-12.0, 6.0, -9.0]) / PIXEL_A).then(RigidMove(A, np.zeros(3)))
    moved_truth = move_map(truth, move, FftPlans(effort="estimate")) * soft_sphere(BOX, 12, 4)
    before = fsc(masked(project / "average/half1.mrc"), truth * soft_sphere(BOX, 12, 4))
    assert (fsc(again, moved_truth) - before)[:9].min() > -0.03
    # and not the map as it was
    other = fsc(masked(project / "average/half1.mrc"), masked(project / "average_moved/half1.mrc"))
    assert other[3:9].mean() < 0.6


def test_particles_keep_their_places_in_the_tomogram(project, moved):
    """The point that was 12, -6, 9 Å off is the new centre; turned axes follow the formula."""
    tomograms = read_tomograms(project / "sim/tomograms.star")
    before = read_particles(project / "sim/particles.star", tomograms)
    after = read_particles(moved / "particles.star", tomograms)
    expected = before.position_A + before.R_p2t @ [12.0, -6.0, 9.0]
    assert np.abs(after.position_A - expected).max() < 1e-5
    A = matrix_from_relion_angles(np.array([30.0, 40.0, 50.0]))
    assert np.abs(after.R_p2t - before.R_p2t @ A.T).max() < 1e-6
    assert np.array_equal(after.xyz_A, before.xyz_A)
    members = read_optimisation_set(moved / "optimisation_set.star")
    assert members.reference1 == moved / "half1.mrc"
    assert members.reference2 == moved / "half2.mrc"


def test_symmetry_axis_is_found_and_particles_average_symmetric_about_z(project, moved):
    run("recenter", "--reference", project / "average_moved/half1.mrc", "--optimisation-set",
        moved / "optimisation_set.star", "--find-symmetry", "C6", "--lowpass-A", 30,
        "-o", project / "axis")
    results = json.loads((project / "axis/job.json").read_text())["results"]
    assert results["self_correlation"] > 0.85 > results["self_correlation_before"] + 0.4
    average(project / "axis/optimisation_set.star", project / "average_axis")
    average(project / "axis/optimisation_set.star", project / "average_c6", "--symmetry", "C6")
    curve = fsc(masked(project / "average_axis/merged.mrc"),
                masked(project / "average_c6/merged.mrc"))
    assert curve[:8].min() > 0.97
    # the particles are, but for turns about z and shifts along it, those of the truth
    tomograms = read_tomograms(project / "sim/tomograms.star")
    truth = read_particles(project / "sim/particles.star", tomograms)
    found = read_particles(project / "axis/particles.star", tomograms)
    off_deg = np.degrees(np.arccos(np.clip(np.abs(np.einsum(
        "ni,ni->n", found.R_p2t[:, :, 2], truth.R_p2t[:, :, 2])), 0, 1)))
    assert off_deg.max() < 1.5
    apart = found.position_A - truth.position_A
    across = apart - truth.R_p2t[:, :, 2] * np.einsum(
        "ni,ni->n", apart, truth.R_p2t[:, :, 2])[:, None]
    assert np.linalg.norm(across, axis=1).max() < 2.0


@pytest.mark.slow
def test_map_is_brought_back_onto_the_one_it_came_from(project, moved):
    run("recenter", "--reference", moved / "half1.mrc", "--align-to",
        project / "average/half1.mrc", "--lowpass-A", 30, "-o", project / "back")
    results = json.loads((project / "back/job.json").read_text())["results"]
    assert results["correlation_with_target"] > 0.8
    # the phantom is chiral, but little so at 30 Å
    assert results["correlation_of_mirror_image"] < results["correlation_with_target"] - 0.01
    # C6: any of six poses brings it back
    assert fsc(masked(project / "back/half1.mrc"), masked(project / "average/half1.mrc"))[
        :6].min() > 0.97
    assert not (project / "back/particles.star").exists()


def test_centre_of_mass_and_of_a_mask_come_to_the_centre(project, tmp_path):
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    ball = (((x - 4) ** 2 + (y + 3) ** 2 + (z - 2) ** 2) < 36).astype(np.float32)
    write_mrc(tmp_path / "map.mrc", ball * 5, PIXEL_A)
    write_mrc(tmp_path / "mask.mrc", ball, PIXEL_A)
    run("recenter", "--reference", tmp_path / "map.mrc", "--centre-on", "mass", "-o",
        tmp_path / "mass")
    run("recenter", "--reference", tmp_path / "map.mrc", "--mask", tmp_path / "mask.mrc",
        "--centre-on", "mask", "-o", tmp_path / "mask")
    truth = np.roll(ball, (-2, 3, -4), (0, 1, 2))
    for name in ("mass/reference.mrc", "mask/reference.mrc", "mask/mask.mrc"):
        data = read_mrc(tmp_path / name).data
        assert np.abs(data / data.max() - truth).max() < 0.01
    shift = json.loads((tmp_path / "mass/job.json").read_text())["results"]["shift_A"]
    assert np.allclose(shift, [-24, 18, -12], atol=0.01)


def test_expanded_particles_average_to_the_symmetric_map(project):
    """C6 imposed by the particles equals C6 imposed on the sums."""
    run("symmetrize", "--optimisation-set", project / "sim/optimisation_set.star", "--expand",
        "--symmetry", "C6", "-o", project / "expanded")
    tomograms = read_tomograms(project / "sim/tomograms.star")
    particles = read_particles(project / "expanded/particles.star", tomograms)
    given = read_particles(project / "sim/particles.star", tomograms)
    assert len(particles) == 6 * len(given)
    assert len(set(particles.names)) == len(particles)
    assert np.array_equal(particles.half, np.repeat(given.half, 6))
    mates = given.R_p2t[0] @ symmetry_matrices("C6")
    assert np.abs(particles.R_p2t[:6] - mates).max() < 1e-6
    average(project / "expanded/optimisation_set.star", project / "average_expanded")
    average(project / "sim/optimisation_set.star", project / "average_sim_c6", "--symmetry", "C6")
    curve = fsc(masked(project / "average_expanded/half1.mrc"),
                masked(project / "average_sim_c6/half1.mrc"))
    assert curve[:10].min() > 0.99


def test_expanded_particles_are_duplicates_of_each_other(project, tmp_path):
    run("symmetrize", "--optimisation-set", project / "sim/optimisation_set.star", "--expand",
        "--symmetry", "C6", "-o", tmp_path / "expanded")
    run("select", "--optimisation-set", tmp_path / "expanded/optimisation_set.star",
        "--min-distance-A", 1, "--duplicate-angle-deg", 2, "--symmetry", "C6", "-o",
        tmp_path / "back")
    run("select", "--optimisation-set", tmp_path / "expanded/optimisation_set.star",
        "--min-distance-A", 1, "--duplicate-angle-deg", 2, "-o", tmp_path / "c1")
    counts = [json.loads((tmp_path / name / "job.json").read_text())["results"]["particles"]
              for name in ("back", "c1")]
    assert counts == [30, 180]


def test_symmetrised_halves_gain_resolution_and_stay_apart(project):
    run("symmetrize", "--reference", project / "average/half1.mrc", "--symmetry", "C6",
        "-o", project / "symmetric")
    before = fsc(masked(project / "average/half1.mrc"), masked(project / "average/half2.mrc"))
    after = fsc(masked(project / "symmetric/half1.mrc"), masked(project / "symmetric/half2.mrc"))
    truth = masked(project / "sim/truth.mrc")
    assert after[2:12].mean() > before[2:12].mean()
    assert (fsc(masked(project / "symmetric/half1.mrc"), truth)[2:12].mean()
            > fsc(masked(project / "average/half1.mrc"), truth)[2:12].mean())


def test_wrong_axes_are_told(project, moved, tmp_path):
    run("symmetrize", "--reference", project / "average_moved/half1.mrc", "--symmetry", "C6",
        "-o", tmp_path / "out")
    warnings = json.loads((tmp_path / "out/job.json").read_text())["warnings"]
    assert any("recenter --find-symmetry" in text for text in warnings)


@pytest.mark.slow
def test_reports_show_maps_and_axes(project, tmp_path, monkeypatch):
    from sta_mpi.jobs.job_page import write_job_page

    monkeypatch.setattr("sta_mpi.jobs.launch.write_job_page", write_job_page)
    run("recenter", "--reference", project / "average/half1.mrc", "--optimisation-set",
        project / "sim/optimisation_set.star", "--find-symmetry", "C6", "--lowpass-A", 40, "-o",
        tmp_path / "recenter")
    run("symmetrize", "--reference", project / "average/half1.mrc", "--symmetry", "C6", "-o",
        tmp_path / "symmetrize")
    page = (tmp_path / "recenter/report.html").read_text()
    for text in ("Before", "After", "Angular coverage", "turned about z"):
        assert text in page
    assert "Before against after" in (tmp_path / "symmetrize/report.html").read_text()


@pytest.mark.parametrize(("words", "code", "says"), [
    (["recenter"], 2, "is needed"),
    (["recenter", "--centre-A", 1], 2, "centre_A needs three numbers"),
    (["recenter", "--centre-on", "mask"], 2, "centre_on mask needs a mask"),
    (["recenter", "--find-symmetry", "C6", "--align-to", "x.mrc"], 2, "exclude each other"),
    (["recenter", "--find-symmetry", "C1"], 2, "nothing to find"),
    (["recenter", "--find-symmetry", "C6v"], 2, "not known"),
    (["recenter", "--align-to", "nothing.mrc"], 3, "nothing.mrc"),
    (["symmetrize"], 2, "C1 changes nothing"),
    (["symmetrize", "--symmetry", "Q3"], 2, "not known"),
    (["symmetrize", "--symmetry", "C6", "--expand"], 2, "no particles given"),
    (["symmetrize", "--symmetry", "C6", "--helical-units", 3], 2, "helical_units goes with"),
])
def test_wrong_options_end_in_one_line(project, tmp_path, words, code, says):
    result = run(*words, "--reference", project / "average/half1.mrc", "-o", tmp_path / "out",
                 code=code)
    assert says in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.rglob("*.mrc"))


@pytest.mark.parametrize(("shape", "value", "says"), [
    ((40, 40, 38), None, "expected a cube"), ((41, 41, 41), None, "even edge"),
    ((40, 40, 40), 3.0, "all voxels are 3"), ((40, 40, 40), np.nan, "NaN")])
def test_maps_that_cannot_be_moved_are_refused(tmp_path, shape, value, says):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if value is not None and np.isnan(value):
        write_mrc(tmp_path / "map.mrc", data, PIXEL_A)
        raw = bytearray((tmp_path / "map.mrc").read_bytes())
        raw[-4:] = np.float32(np.nan).tobytes()
        (tmp_path / "map.mrc").write_bytes(raw)
    else:
        write_mrc(tmp_path / "map.mrc", data if value is None else np.full(shape, value,
                                                                          np.float32), PIXEL_A)
    result = run("recenter", "--reference", tmp_path / "map.mrc", "--centre-on", "mass", "-o",
                 tmp_path / "out", code=3)
    assert says in result.output
    assert not (tmp_path / "out/reference.mrc").exists()


@pytest.mark.slow
def test_mirrored_target_is_told(project, tmp_path):
    data = read_mrc(project / "average/half1.mrc").data
    write_mrc(tmp_path / "mirror.mrc", np.roll(data[::-1], 1, axis=0), PIXEL_A)
    run("recenter", "--reference", project / "average/half1.mrc", "--align-to",
        tmp_path / "mirror.mrc", "--lowpass-A", 30, "-o", tmp_path / "out")
    record = json.loads((tmp_path / "out/job.json").read_text())
    assert any("mirror image fits the target better" in text for text in record["warnings"])


def test_set_keeps_what_it_named_besides_particles(project, tmp_path):
    """References and mask of a set stay in it through `select` and `extract`."""
    half = project / "average/half1.mrc"
    write_optimisation_set(tmp_path / "set.star", OptimisationSet(
        particles=project / "sim/particles.star", tomograms=project / "sim/tomograms.star",
        reference1=half, mask=project / "average/mask_fsc.mrc"))
    run("select", "--optimisation-set", tmp_path / "set.star", "--best-share", 0.5,
        "--score-column", "rlnAngleTilt", "-o", tmp_path / "select")
    run("extract", "--optimisation-set", tmp_path / "set.star", "--box-px", 24, "-o",
        tmp_path / "extract")
    for name in ("select", "extract"):
        members = read_optimisation_set(tmp_path / name / "optimisation_set.star")
        assert members.reference1.resolve() == half.resolve()
        assert members.mask is not None
        assert members.particles == tmp_path / name / "particles.star"


def test_missing_half_map_is_told(project, tmp_path):
    data = read_mrc(project / "average/half1.mrc").data
    write_mrc(tmp_path / "run_half1.mrc", data, PIXEL_A)
    result = run("symmetrize", "--reference", tmp_path / "run_half1.mrc", "--symmetry", "C2",
                 "-o", tmp_path / "out", code=3)
    assert "run_half2.mrc does not exist" in result.output


@pytest.mark.data
def test_real_particles_average_to_the_shifted_map_after_recentring(data_dir, tmp_path):
    """40 real ribosomes from stacks: offsets are applied to images that were cut before."""
    source = data_dir / "particles_empiar10499_warp_70S"
    name = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
    common = ["--coordinate-pixel-A", 12]
    run("average", "--optimisation-set", source / f"{name}_optimisation_set.star", *common, "-o",
        tmp_path / "average")
    words = ["--centre-A", 24, "--centre-A", 0, "--centre-A", -12]
    run("recenter", "--reference", tmp_path / "average/half1.mrc", "--optimisation-set",
        source / f"{name}_optimisation_set.star", *common, *words, "-o", tmp_path / "moved")
    run("average", "--optimisation-set", tmp_path / "moved/optimisation_set.star", "-o",
        tmp_path / "again")
    mask = soft_sphere(32, 9, 3)
    moved, again, before = (read_mrc(tmp_path / f"{n}/merged.mrc").data
                            if n != "moved" else read_mrc(tmp_path / "moved/half1.mrc").data
                            for n in ("moved", "again", "average"))
    half = read_mrc(tmp_path / "again/half1.mrc").data
    assert fsc(half * mask, moved * mask)[:9].min() > 0.95
    # 24 Å are 2 voxels: without the move the maps differ
    assert fsc(again * mask, before * mask)[3:8].mean() < 0.75
