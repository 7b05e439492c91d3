"""Faulty options and maps of mask, fsc, postprocess and local-resolution: one clear line each."""

import numpy as np
import pytest
from bad_projects import FSC, Project

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.signal.masks import soft_sphere

MASK = ("mask", "--map", "maps/merged.mrc", "--quiet", "-o", "out")
POST = ("postprocess", "--half1", "maps/half1.mrc", "--quiet", "-o", "out")
LOCAL = ("local-resolution", "--half1", "maps/half1.mrc", "--quiet", "-o", "out")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with half maps of a ball, their mean, a mask and a STAR file."""
    folder = tmp_path / "project"
    (folder / "maps").mkdir(parents=True)
    ball, rng = soft_sphere(24, 5, 2), np.random.default_rng(7)
    halves = [(ball + 0.2 * rng.standard_normal(ball.shape)).astype(np.float32) for _ in "12"]
    for name, map_ in (("half1", halves[0]), ("half2", halves[1]), ("merged", sum(halves) / 2),
                       ("mask_fsc", soft_sphere(24, 7, 3))):
        write_mrc(folder / "maps" / f"{name}.mrc", map_, 8.0)
    (folder / "particles.star").write_text("data_particles\n\nloop_\n_rlnTomoName #1\nTS_01\n")
    monkeypatch.chdir(folder)
    return Project(folder)


@pytest.mark.parametrize(("command", "words"), [
    pytest.param(("fsc", "-o", "out"), "either --half1 .* or --map", id="fsc_nothing"),
    pytest.param(("fsc", "--map", "maps/merged.mrc", "-o", "out"), "--map needs --model",
                 id="fsc_map_alone"),
    pytest.param((*FSC, "--cone-deg", "90"), "at most 60", id="wide_cone"),
    pytest.param(("mask", "-o", "out"), "are needed to make a mask", id="mask_of_nothing"),
    pytest.param(("mask", "--shape", "sphere", "--box-px", "32", "--voxel-A", "4", "-o", "out"),
                 "--radius-A is needed", id="no_radius"),
    pytest.param(("mask", "--shape", "sphere", "--radius-A", "20", "-o", "out"),
                 "--box-px and --voxel-A are needed", id="no_box"),
    pytest.param(("mask", "--shape", "shell", "--radius-A", "20", "--inner-radius-A", "30",
                  "--box-px", "32", "--voxel-A", "4", "-o", "out"), "must be less than",
                 id="shell_inside_out"),
    pytest.param((*MASK, "--threshold", "1", "--molecular-weight-kDa", "5"), "exclude each other",
                 id="two_thresholds"),
    pytest.param(("mask", "--model", "m.pdb", "-o", "out"), "--model needs --map", id="model_only"),
    pytest.param((*MASK, "--shape", "sphere", "--radius-A", "9000"), "larger than the box",
                 id="radius_in_px"),
    pytest.param((*POST, "--auto-b-factor", "--b-factor-A2", "-50"), "exclude each other",
                 id="two_b_factors"),
    pytest.param((*POST, "--no-fsc-weighting"), "needs --lowpass-A", id="nothing_filters"),
    pytest.param((*POST, "--subset-half1", "maps/half1.mrc"), "in pairs", id="subset_without_n"),
    pytest.param((*POST, "--auto-mask", "--mask", "maps/mask_fsc.mrc"), "exclude each other",
                 id="two_masks"),
    pytest.param((*LOCAL, "--threshold", "1.5"), "less than 1", id="threshold_1.5"),
    pytest.param((*LOCAL, "--step-px", "0"), "at least 1", id="step_0")])
def test_wrong_option_of_a_map_command_is_wrong_usage(project, command, words):
    project.refuses(command, 2, words)


@pytest.mark.parametrize(("command", "words"), [
    pytest.param((*MASK, "--threshold", "1e9"), "no voxel reaches the threshold", id="threshold"),
    pytest.param((*MASK, "--molecular-weight-kDa", "1e9"), "kDa fill", id="mass"),
    pytest.param((*MASK, "--minus-mask", "maps/small.mrc"), "mask maps/small.mrc: .*Resample",
                 id="mask_of_other_size"),
    pytest.param((*MASK, "--and-mask", "maps/merged.mrc"), "expected 0 to 1", id="map_as_mask"),
    pytest.param((*MASK, "--minus-mask", "maps/ones.mrc"), "nothing is left", id="all_taken"),
    pytest.param(("mask", "--map", "maps/no.mrc", "-o", "out"), "No such file", id="no_map"),
    pytest.param((*POST, "--mask", "maps/small.mrc"), "20 x 20 x 20 voxels, the half maps have 24",
                 id="small_mask"),
    pytest.param((*POST, "--mask", "maps/other_voxel.mrc"), "voxel 4.0000 Å, the half maps have 8",
                 id="voxel_of_mask"),
    pytest.param((*POST, "--auto-b-factor"), "--b-fit-low-A", id="no_shells_to_fit"),
    pytest.param((*POST, "--mtf", "particles.star"), "rlnMtfValue", id="not_an_mtf"),
    pytest.param((*POST, "--mtf", "bad_mtf.star"), "must rise within 0 and 0.5", id="mtf_order"),
    pytest.param((*POST, "--mtf", "zero_mtf.star"), "more than 0", id="mtf_zero"),
    pytest.param((*POST, "--split-half1", "maps/small_half1.mrc"), "same settings", id="split_box"),
    pytest.param((*LOCAL, "--window-A", "10"), "expected 12 to 24 px", id="tiny_window"),
    pytest.param((*LOCAL, "--window-A", "9999"), "expected 12 to 24 px", id="huge_window"),
    pytest.param((*LOCAL, "--window-A", "100", "--step-px", "30"), "use a smaller --step-px|"
                 "Use a smaller --step-px", id="few_points"),
    pytest.param((*FSC, "--model", "no.pdb"), "no such atomic model|No such file", id="no_model"),
    pytest.param((*FSC, "--model", "particles.star"), "", id="star_as_model"),
    pytest.param((*FSC, "--model", "far.pdb"), "no atom of the model lies in the map",
                 id="model_elsewhere")])
def test_faulty_input_of_a_map_command_is_refused(project, command, words):
    if "--model" in command:
        pytest.importorskip("gemmi")
    merged = read_mrc(project.path("maps/merged.mrc")).data
    write_mrc(project.path("maps/small.mrc"), np.ones((20, 20, 20), np.float32) * 0.5, 8.0)
    for half in (1, 2):
        write_mrc(project.path(f"maps/small_half{half}.mrc"), merged[:20, :20, :20], 8.0)
    write_mrc(project.path("maps/ones.mrc"), np.ones_like(merged), 8.0)
    write_mrc(project.path("maps/other_voxel.mrc"), np.ones_like(merged), 4.0)
    head = "data_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n"
    project.path("bad_mtf.star").write_text(head + "0.5 0.5\n0.0 1.0\n")
    project.path("zero_mtf.star").write_text(head + "0.0 1.0\n0.5 0.0\n")
    project.path("far.pdb").write_text(
        "ATOM      1  CA  ALA A   1    9000.0009000.0009000.000  1.00 20.00           C  \nEND\n")
    project.refuses(command, 3, words)


def test_map_commands_accept_the_good_maps(project):
    project.accepts((*MASK[:-1], "mask"))
    project.accepts((*POST[:-1], "post", "--mask", "mask/mask.mrc", "--b-factor-A2", "-100"))
    project.accepts((*LOCAL[:-1], "local", "--mask", "mask/mask.mrc", "--window-A", "100"))


def test_half_maps_are_found_in_the_folder_of_a_job(project):
    # maps of rounds are not the result
    project.path("maps/round01_half1.mrc").write_bytes(
        project.path("maps/half1.mrc").read_bytes())
    project.accepts(("postprocess", "--half1", "maps", "--quiet", "-o", "out"))
    project.refuses(("postprocess", "--half1", "maps/halve1.mrc", "--quiet", "-o", "other"), 3,
                    "maps/halve1.mrc: no such map. Correct the name")
    project.path("maps/more_half1.mrc").write_bytes(project.path("maps/half1.mrc").read_bytes())
    project.refuses(("postprocess", "--half1", "maps", "--quiet", "-o", "other"), 3,
                    "2 maps are named half1 .half1.mrc, more_half1.mrc., expected one")


def test_half_maps_that_share_nothing_are_said_to_share_nothing(project):
    rng = np.random.default_rng(1)
    for half in (1, 2):
        noise = rng.standard_normal((24, 24, 24)).astype(np.float32)
        write_mrc(project.path(f"maps/half{half}.mrc"), noise * np.float32(1e-3), 8.0)
    outcome = project.accepts(tuple(a for a in POST if a != "--quiet"))
    assert any("share nothing" in text for text in outcome.warnings)
    project.refuses((*LOCAL[:-1], "local"), 3, "no resolution to choose a window by")


def test_identical_half_maps_are_warned_of_by_postprocess(project):
    project.path("maps/half2.mrc").write_bytes(project.path("maps/half1.mrc").read_bytes())
    outcome = project.accepts(tuple(a for a in POST if a != "--quiet"))
    assert any("the same map" in text for text in outcome.warnings)
    assert any("Nyquist" in text for text in outcome.warnings)
