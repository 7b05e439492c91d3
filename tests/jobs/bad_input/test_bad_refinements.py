"""`refine` and `classify` with input that cannot work: one clear line, nothing written."""

import mrcfile
import numpy as np
import pytest
from bad_projects import BOX_PX, with_value

PARTICLES, TOMOGRAMS = "particles.star", "tomograms.star"
VOXEL_A = 8.0
COMMON = ("--optimisation-set", "optimisation_set.star", "--box-px", str(BOX_PX), "--pad", "1",
          "--lowpass-A", "40", "--quiet", "-o", "out")
REFINE = ("refine", *COMMON, "--reference", "maps/merged.mrc")
CLASSIFY = ("classify", *COMMON, "--classes", "2")


def write_map(project, name, box_px=BOX_PX, voxel_A=VOXEL_A, value=None):
    """A map of noise, or of one value."""
    data = np.random.default_rng(3).normal(size=(box_px,) * 3).astype(np.float32)
    if value is not None:
        data[:] = value
    with mrcfile.new(project.path(name)) as file:
        file.set_data(data)
        file.voxel_size = voxel_A



@pytest.mark.parametrize(("breaking", "words"), [
    pytest.param(lambda p: p.set_rows(PARTICLES, "optics", []), ("optics",), id="empty_optics"),
    pytest.param(lambda p: p.set_rows(PARTICLES, "particles", []), ("particle table is empty",),
                 id="no_particles"),
    pytest.param(lambda p: p.set_rows(TOMOGRAMS, "global", []), ("tomogram table is empty",),
                 id="no_tomograms"),
    pytest.param(lambda p: p.path(TOMOGRAMS).unlink(), ("tomograms.star. not found",),
                 id="tomograms_missing"),
    pytest.param(lambda p: p.path("tilt_images/TS_01.mrcs").unlink(), ("TS_01",),
                 id="images_missing"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnRandomSubset", "0", [4]),
                 ("row 5", "no half-set"), id="a_half_missing")])
def test_fault_in_the_set_is_refused_before_the_first_round(project, breaking, words):
    breaking(project)
    project.refuses(REFINE, 3, *words)


@pytest.mark.parametrize(("what", "words"), [
    ({"box_px": 32}, (r"\(32, 32, 32\) voxels, expected \(24, 24, 24\)",)),
    ({"voxel_A": 4.0}, ("voxel 4.0000 Å, expected 8.0000 Å",)),
    ({"value": 0.0}, ("all voxels are 0",)),
    ({"value": np.nan}, ("NaN",))], ids=["box", "voxel", "empty", "nan"])
@pytest.mark.parametrize("option", ["--reference", "--reference-mask", "--focus-mask"])
def test_map_that_does_not_fit_is_refused_with_what_is_expected(project, option, what, words):
    write_map(project, "other.mrc", **what)
    command = (*CLASSIFY, option, "other.mrc") if option == "--focus-mask" else (
        *with_value(REFINE, "maps/merged.mrc", "other.mrc"),) if option == "--reference" else (
        *REFINE, option, "other.mrc")
    project.refuses(command, 3, "other.mrc", *words)


def test_mask_beyond_0_to_1_is_refused(project):
    write_map(project, "mask.mrc")
    project.refuses((*REFINE, "--reference-mask", "mask.mrc"), 3, "expected 0 to 1")


@pytest.mark.parametrize(("options", "words"), [
    (("--symmetry", "X7"), "--symmetry.*'X7' is not known"),
    (("--relax-symmetry", "X7"), "--relax-symmetry.*'X7' is not known"),
    (("--cone-deg", "20"), "--cone-deg limits .* global .* is local"),
    (("--rotation-share", "0.5"), "--rotation-share limits .* is local"),
    (("--score", "ncc", "--tilt-prior-deg", "5"), "--score loglik"),
    (("--highpass-A", "30"), "--highpass-A 30 must be coarser than --lowpass-A 40"),
    (("--lowpass-A", "10"), r"beyond Nyquist \(16.00 Å"),
    (("--lowpass-A", "500"), "Use at most 96 Å"),
    (("--angle-range-deg", "-3"), "--angle-range-deg is -3"),
    (("--iterations", "0"), "--iterations is 0"),
    (("--reference", "none.mrc"), "none.mrc")])
def test_option_that_cannot_work_is_refused(project, options, words):
    project.refuses((*REFINE, *options), 3 if "none.mrc" in options else 2, words)


@pytest.mark.parametrize(("options", "words"), [
    (("--no-align", "--relax-symmetry", "C2"), "this one is still in all rounds"),
    (("--cone-deg", "20"), "--cone-deg limits .* global .* is local"),
    (("--highpass-A", "30"), "--highpass-A 30 must be coarser than --lowpass-A 40")])
def test_classification_that_cannot_work_is_refused(project, options, words):
    project.refuses((*CLASSIFY, *options), 2, words)


def test_particles_without_an_optics_table_take_that_of_their_tomograms(project):
    path = project.path(PARTICLES)
    text = path.read_text()
    path.write_text(text[text.index("data_particles"):])
    project.accepts((*REFINE, "--iterations", "1", "--oracle-particles", "0"))


def test_reference_of_one_half_needs_the_other(project):
    project.path("maps/half2.mrc").unlink()
    project.refuses(with_value(REFINE, "maps/merged.mrc", "maps/half1.mrc"), 3, "half2.mrc",
                    "does not exist")
