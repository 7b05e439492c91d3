"""`align` as a command: scores, searches, several references, checks and warnings.

One simulated set of 2 x 16 particles serves all. A component of their poses is known to half a
degree; settings that must not matter are compared with the poses of the plain run.
"""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.simulate.builtin_phantoms import crowder_phantom

BOX, PIXEL_A = 32, 6.0
NO_CHECK = ["--oracle-particles", 0]
LOCAL = ["--search", "local", "--angle-range-deg", "12", "--shift-range-A", "16"]
GLOBAL = ["--search", "global", "--shift-range-A", "16"]
GRID = ["--search", "grid", "--angle-range-deg", "8", "--angle-step-deg", "4",
        "--shift-range-A", "12", "--shift-step-A", "4"]
FOUND_DEG = 6.0
"""Ten standard deviations of a component; starts are up to 6 degrees wrong."""


def run(*words):
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def project(empty_figures, tmp_path_factory):
    """The set, and the plain local alignment of it."""
    folder = tmp_path_factory.mktemp("engine")
    run("simulate", "--n-series", 2, "--n-particles", 16, "--pixel-A", PIXEL_A,
        "--image-width-px", 256, "--image-height-px", 256, "--tilt-step-deg", 6,
        "--thickness-A", 500, "--snr", 0.6, "--phantom-radius-A", 55, "--phantom-detail-A", 5,
        "--perturb-angle-deg", 6, "--perturb-shift-A", 8, "--min-distance-A", 170,
        "--truth-box-px", BOX, "--quiet", "-o", folder / "sim")
    align(folder, folder / "plain", *LOCAL, *NO_CHECK)
    return folder


def align(project, output, *words, reference="sim/truth.mrc", particles=None):
    references = [reference] if isinstance(reference, str) else reference
    more = [] if particles is None else ["--particles", particles]
    return run("align", "--optimisation-set", project / "sim/optimisation_set.star",
               "--box-px", BOX, "--lowpass-A", 14, "--noise", "flat", "--quiet", *more,
               *[w for r in references for w in ("--reference", project / r)], *words,
               "-o", output)


def truth(project):
    tomograms = read_tomograms(project / "sim/tomograms.star")
    return read_particles(project / "sim/particles_truth.star", tomograms)


def given(project):
    tomograms = read_tomograms(project / "sim/tomograms.star")
    return read_particles(project / "sim/particles.star", tomograms), tomograms


def poses(folder):
    return read_poses(folder / "poses.h5")[0]


def scores(folder):
    return read_h5(folder / "scores.h5").arrays


def record(folder):
    return json.loads((folder / "job.json").read_text())


def errors(project, folder):
    """Angles [degrees] and distances [Å] to the truth."""
    true, found = truth(project), poses(folder)
    return (angular_distance_deg(true.R_p2t, found.R_p2t),
            np.linalg.norm(true.position_A - found.position_A, axis=1))


def apart(one, other):
    """Angles [degrees] and distances [Å] between the poses of two runs."""
    a, b = poses(one), poses(other)
    return (angular_distance_deg(a.R_p2t, b.R_p2t),
            np.linalg.norm(a.position_A - b.position_A, axis=1))


def write_map(project, name, data):
    write_mrc(project / name, np.asarray(data, np.float32), PIXEL_A)
    return name


def true_map(project):
    return read_mrc(project / "sim/truth.mrc").data


def warnings(folder):
    return record(folder)["warnings"]


# ---- the plain run, scores, searches --------------------------------------------------


def test_plain_run_finds_the_planted_poses(project):
    angle, distance = errors(project, project / "plain")
    start = angular_distance_deg(truth(project).R_p2t, given(project)[0].R_p2t)
    assert np.median(start) > 3.0
    assert angle.max() < FOUND_DEG
    assert 0.05 < np.median(angle) < 0.6 * np.median(start)
    assert np.median(distance) < 3.0


@pytest.mark.parametrize("factor", [
    10.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_grey_scale_of_the_reference_does_not_change_the_poses(project, tmp_path, factor):
    name = write_map(project, f"scaled{factor}.mrc", factor * true_map(project))
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, reference=name)
    angle, distance = apart(tmp_path / "out", project / "plain")
    # the same but for rounding; on a kink of the interpolant that may end 0.06 degrees apart, a
    # seventh of the pose's own uncertainty
    assert np.median(angle) < 1e-4
    assert max(angle.max(), distance.max()) < 0.1
    ratio = scores(project / "plain")["grey_scale"] / scores(tmp_path / "out")["grey_scale"]
    assert ratio == pytest.approx(factor, rel=1e-3)


# the constrained correlation counts shells without signal as much as those with it: a band for it
@pytest.mark.parametrize(("score", "lowpass_A"), [("cc", 26), ("ncc", 14), ("fsc", 14)])
@pytest.mark.parametrize("search", [
    pytest.param(LOCAL, id="local"), pytest.param(GRID, id="grid", marks=pytest.mark.slow)])
def test_every_score_finds_the_planted_poses(project, tmp_path, score, lowpass_A, search):
    align(project, tmp_path / "out", *search, *NO_CHECK, "--score", score,
          "--lowpass-A", lowpass_A)
    angle, distance = errors(project, tmp_path / "out")
    # half the diagonal of the grid's cell of 4 degrees is 3.5
    assert np.mean(angle < FOUND_DEG) >= 0.9
    assert np.median(distance) < 5.0


def test_constrained_correlation_is_another_score_than_the_likelihood(project, tmp_path):
    words = [*LOCAL, *NO_CHECK, "--lowpass-A", "26"]
    align(project, tmp_path / "cc", *words, "--score", "cc")
    align(project, tmp_path / "loglik", *words)
    angle, _ = apart(tmp_path / "cc", tmp_path / "loglik")
    assert 0.02 < np.median(angle) < 4.0


def without_orientations(project, folder):
    """The particles with all orientations the same, as a picker without angles leaves them."""
    particles, tomograms = given(project)
    same = np.broadcast_to(np.eye(3), particles.R_p2t.shape).copy()
    write_particles(folder / "picked.star", particles.with_poses(same, particles.offset_A),
                    tomograms)
    return folder / "picked.star"


def test_auto_searches_all_orientations_where_the_file_gives_none(project, tmp_path):
    picked = without_orientations(project, tmp_path)
    align(project, tmp_path / "out", "--shift-range-A", 16, "--shift-step-A", 8, *NO_CHECK,
          particles=picked)
    angle, _ = errors(project, tmp_path / "out")
    assert np.mean(angle < FOUND_DEG) >= 0.9


def test_auto_stays_near_where_the_file_gives_orientations(project, tmp_path):
    align(project, tmp_path / "out", *LOCAL[2:], *NO_CHECK)
    assert apart(tmp_path / "out", project / "plain")[0].max() == 0.0


# ---- priors, cones, pseudo-symmetry ----------------------------------------------------


def turned_in_plane(project, folder, angle_deg=110.0):
    """Particles with their normals as planted, turned far about them."""
    particles, tomograms = given(project)
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    R = particles.R_p2t @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    write_particles(folder / "turned.star", particles.with_poses(R, particles.offset_A), tomograms)
    return folder / "turned.star"


def normals_apart(project, folder):
    before, after = given(project)[0].R_p2t[:, :, 2], poses(folder).R_p2t[:, :, 2]
    return np.degrees(np.arccos(np.clip((before * after).sum(axis=1), -1, 1)))


def test_cone_keeps_normals_and_leaves_the_turn_about_them_free(project, tmp_path):
    turned = turned_in_plane(project, tmp_path)
    align(project, tmp_path / "out", *GLOBAL, *NO_CHECK, "--cone-deg", 20, particles=turned)
    assert normals_apart(project, tmp_path / "out").max() <= 20.0 + 1e-3
    angle, _ = errors(project, tmp_path / "out")
    assert np.mean(angle < FOUND_DEG) >= 0.9


def test_narrow_cone_is_a_strict_limit(project, tmp_path):
    align(project, tmp_path / "out", *GLOBAL, *NO_CHECK, "--cone-deg", 2)
    away = normals_apart(project, tmp_path / "out")
    assert away.max() <= 2.0 + 1e-3
    assert np.mean(away > 1.99) > 0.3
    assert scores(tmp_path / "out")["at_edge"].mean() > 0.3


def test_tilt_prior_holds_normals_and_not_the_turn_about_them(project, tmp_path):
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, "--tilt-prior-deg", 0.05)
    free, held = normals_apart(project, project / "plain"), normals_apart(
        project, tmp_path / "out")
    assert np.median(held) < 0.2 * np.median(free)
    turned = angular_distance_deg(given(project)[0].R_p2t, poses(tmp_path / "out").R_p2t)
    assert np.median(turned) > 5 * np.median(held)


@pytest.mark.parametrize(("option", "sd"), [("--angle-prior-deg", 0.05),
                                            ("--shift-prior-A", 0.05)])
def test_strict_prior_keeps_the_input_pose(project, tmp_path, option, sd):
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, option, sd)
    before, after = given(project)[0], poses(tmp_path / "out")
    turned = angular_distance_deg(before.R_p2t, after.R_p2t)
    moved = np.linalg.norm(before.position_A - after.position_A, axis=1)
    held, free = (turned, moved) if "angle" in option else (moved, turned)
    assert 0 < np.median(held) < 0.5
    assert np.median(free) > 1.0


def test_relaxed_symmetry_finds_poses_half_a_turn_away(project, tmp_path):
    turned = turned_in_plane(project, tmp_path, 180.0)
    align(project, tmp_path / "stuck", *LOCAL, *NO_CHECK, particles=turned)
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, "--relax-symmetry", "C2",
          particles=turned)
    assert errors(project, tmp_path / "stuck")[0].min() > 90
    assert errors(project, tmp_path / "out")[0].max() < FOUND_DEG


# ---- several references ----------------------------------------------------------------


def test_decoy_takes_no_particles_and_its_map_is_written(project, tmp_path):
    decoy = crowder_phantom(50.0).truth_map(BOX, PIXEL_A)
    name = write_map(project, "decoy.mrc", decoy * true_map(project).std() / decoy.std())
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, reference=[name, "sim/truth.mrc"])
    written = scores(tmp_path / "out")
    assert (written["i_reference"] == 1).mean() >= 0.95
    assert written["reference_scores"].shape == (32, 2)
    particles = read_particles(tmp_path / "out/particles.star",
                               read_tomograms(project / "sim/tomograms.star"))
    assert [int(v) for v in particles.columns["rlnClassNumber"]] == (
        written["i_reference"] + 1).tolist()
    for k in (1, 2):
        for part in ("half1", "half2", "merged"):
            assert read_mrc(tmp_path / f"out/class00{k}_{part}.mrc").data.shape == (BOX,) * 3
    good = read_mrc(tmp_path / "out/class002_merged.mrc").data
    assert np.corrcoef(good.ravel(), true_map(project).ravel())[0, 1] > 0.5
    # the best class is the one to go on with
    assert "class002_half1.mrc" in (tmp_path / "out/optimisation_set.star").read_text()
    assert any("class 1" in w and "no resolution" in w for w in warnings(tmp_path / "out"))


def test_reference_given_twice_shares_particles_by_posterior(project, tmp_path):
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK,
          reference=["sim/truth.mrc", "sim/truth.mrc"])
    written = scores(tmp_path / "out")
    assert written["p_max"] == pytest.approx(0.5, abs=1e-6)
    assert (written["n_modes"] == 2).all()
    one, two = (read_mrc(tmp_path / f"out/class00{k}_half1.mrc").data for k in (1, 2))
    plain = read_mrc(project / "plain/half1.mrc").data
    # half of each particle in each: sums and weights halve, maps do not change
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.9999
    assert np.corrcoef(one.ravel(), plain.ravel())[0, 1] > 0.999


def test_hard_assignment_gives_each_particle_to_one_reference(project, tmp_path):
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, "--assignment", "hard",
          reference=["sim/truth.mrc", "sim/truth.mrc"])
    assert (scores(tmp_path / "out")["n_modes"] == 1).all()


# ---- safeguards ------------------------------------------------------------------------


def test_inverted_reference_is_told(project, tmp_path):
    name = write_map(project, "inverted.mrc", -true_map(project))
    align(project, tmp_path / "out", *LOCAL, "--oracle-particles", 4, reference=name)
    assert any("contrast inverted" in w and "Multiply it by -1" in w
               for w in warnings(tmp_path / "out"))


def test_right_reference_passes_all_checks(project, tmp_path):
    align(project, tmp_path / "out", *LOCAL, "--oracle-particles", 6, "--mirror-decoy")
    assert not [w for w in warnings(tmp_path / "out")
                if "exhaustive" in w or "inverted" in w or "mirrored" in w]
    results = record(tmp_path / "out")["results"]
    assert results["oracle_better_share"] == 0.0
    assert results["inverted_wins_share"] == 0.0
    assert results["mirror_wins_share"] < 0.1


def test_wrong_hand_of_the_reference_is_told(project, tmp_path):
    mirrored = np.roll(true_map(project)[..., ::-1], 1, axis=-1)
    name = write_map(project, "mirrored.mrc", mirrored)
    align(project, tmp_path / "out", *GLOBAL, *NO_CHECK, "--mirror-decoy", reference=name)
    results = record(tmp_path / "out")["results"]
    assert results["mirror_wins_share"] > 0.8
    assert any("Check the hand" in w for w in warnings(tmp_path / "out"))


def test_range_that_is_too_small_is_told_with_the_setting_to_change(project, tmp_path):
    align(project, tmp_path / "out", "--search", "local", "--angle-range-deg", 1,
          "--shift-range-A", 2, *NO_CHECK)
    at_edge = [w for w in warnings(tmp_path / "out") if "edge of the search" in w]
    assert len(at_edge) == 1
    assert "--angle-range-deg" in at_edge[0]


@pytest.mark.parametrize(("words", "advice"), [
    (["--angle-range-deg", 130, "--shift-range-A", 8, "--shift-step-A", 8],
     r"--angle-range-deg or --shift-range-A \(poses lie at the limit\)"),
    (["--angle-range-deg", 170, "--shift-range-A", 40, "--shift-step-A", 14], "--search global")])
def test_oracle_names_the_setting_that_would_find_better_poses(project, tmp_path, words, advice):
    """Started 120 degrees away, a search in a wide range still ends in wrong optima."""
    turned = turned_in_plane(project, tmp_path, 120.0)
    align(project, tmp_path / "out", "--search", "local", *words, "--angle-step-deg", 24,
          "--oracle-particles", 4, particles=turned)
    told = [w for w in warnings(tmp_path / "out") if "exhaustive search found better" in w]
    assert len(told) == 1
    assert re.search(f"Try {advice}", told[0])


def test_step_of_the_grid_does_not_change_the_list_of_a_global_search(project, tmp_path):
    shown = [align(project, tmp_path / "out", *GLOBAL, "--shift-step-A", step, "--dry-run").output
             for step in (8, 2)]
    counts = [int(re.search(r"shifts\D*(\d+)", text).group(1)) for text in shown]
    # a band up to 7 of 32 voxels of 6 Å: 6.9 Å apart, within 16 Å
    assert counts == [57, 57]


def test_high_pass_that_leaves_a_global_search_no_band_is_refused(project, tmp_path):
    words = ["align", "--optimisation-set", project / "sim/optimisation_set.star", "--reference",
             project / "sim/truth.mrc", "--box-px", BOX, "--lowpass-A", 14, *GLOBAL, "--dry-run",
             "-o", tmp_path / "out"]
    refused = CliRunner().invoke(cli, list(map(str, [*words, "--highpass-A", 30])))
    assert refused.exit_code == 2
    # index 7 and 5 of a box of 192 Å
    text = " ".join(refused.output.split())
    assert "coarser than 27.43 Å. Use a --highpass-A of 38.4 or more" in text
    run(*words, "--highpass-A", 38.5)


# ---- storage, rounds ---------------------------------------------------------------------


@pytest.mark.parametrize("place", ["float16", "scratch"])
def test_storage_of_particles_does_not_change_the_poses(project, tmp_path, monkeypatch, place):
    (tmp_path / "scratch").mkdir()
    words = ["--precision", "float16"]
    if place == "scratch":
        monkeypatch.setattr("sta_mpi.jobs.store_plan.MEMORY_SHARE", 0.0)
        words = ["--scratch-dir", tmp_path / "scratch"]
    align(project, tmp_path / "out", *LOCAL, *NO_CHECK, *words)
    log = (tmp_path / "out/run.log").read_text()
    # a disk in memory is no scratch: particles are cut again there
    assert ("32 in memory" in log) == (place == "float16")
    angle, distance = apart(tmp_path / "out", project / "plain")
    # 11 bits of every pixel: 5e-4 of the noise
    limit = 0.1 if place == "float16" else 0.0
    assert np.median(angle) <= 0.1 * limit
    assert max(angle.max(), distance.max()) <= limit
    assert not list((tmp_path / "scratch").iterdir())


def test_particles_that_are_settled_stay_and_lose_little(project, tmp_path):
    words = [*LOCAL, *NO_CHECK, "--iterations", 4, "--refine-factor", 1, "--score", "fsc",
             "--band-schedule", "fsc", "--reference-mask", project / "sim/truth_mask.mrc"]
    align(project, tmp_path / "early", *words)
    align(project, tmp_path / "full", *words, "--no-early-stop")
    early, full = (record(tmp_path / name)["results"] for name in ("early", "full"))
    assert full["settled_share"] == 0.0
    assert early["settled_share"] > 0.15
    assert 0 <= early["settled_loss"] < 0.125
    ours, theirs = (errors(project, tmp_path / name)[0] for name in ("early", "full"))
    assert np.sqrt(np.mean(ours**2)) < 1.1 * np.sqrt(np.mean(theirs**2))


# ---- 3D boxes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boxes(project):
    """The same particles as RELION 3D pseudo-subtomograms, cut at the wrong positions."""
    run("extract", "--optimisation-set", project / "sim/optimisation_set.star", "--form", "boxes",
        "--box-px", BOX, "--quiet", "-o", project / "boxes")
    return project / "boxes/particles.star"


@pytest.mark.parametrize("words", [
    pytest.param([*LOCAL, "--oracle-particles", 1], id="local_with_check"),
    pytest.param([*LOCAL, *NO_CHECK, "--score", "cc", "--lowpass-A", "26"], id="local_cc",
                 marks=pytest.mark.slow),
    pytest.param([*LOCAL, *NO_CHECK, "--precision", "float16", "--iterations", "2"],
                 id="local_float16_two_rounds"),
    pytest.param([*GLOBAL, *NO_CHECK], id="global"),
    pytest.param([*GRID, *NO_CHECK], id="grid"),
    pytest.param([*GRID, *NO_CHECK, "--score", "cc", "--lowpass-A", "26"], id="grid_cc",
                 marks=pytest.mark.slow)])
def test_boxes_are_aligned_as_tilt_images_are(project, boxes, tmp_path, words):
    run("align", "--particles", boxes, "--tomograms", project / "sim/tomograms.star",
        "--reference", project / "sim/truth.mrc", "--lowpass-A", 14, "--quiet", *words,
        "-o", tmp_path / "out")
    angle, distance = errors(project, tmp_path / "out")
    assert np.mean(angle < 1.5 * FOUND_DEG) >= 0.9
    assert np.median(angle) > 0.05
    assert np.median(distance) < 6.0
