"""Faulty STAR files: one clear line with file, table and row, exit code 3, nothing written."""

import numpy as np
import pytest
from bad_projects import ALIGN, AVERAGE, CHECK, Project, run, with_value

PARTICLES, TOMOGRAMS = "particles.star", "tomograms.star"
TILTS, IMAGES, SET = "tilt_series/TS_01.star", "tilt_images/TS_01.mrcs", "optimisation_set.star"
STAR_FILES = (PARTICLES, TOMOGRAMS, TILTS)


@pytest.mark.parametrize(("name", "table", "label"), [
    *((PARTICLES, "particles", label) for label in (
        "rlnTomoName", "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst",
        "rlnCenteredCoordinateZAngst", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")),
    (PARTICLES, "optics", "rlnOpticsGroup"),
    *((TOMOGRAMS, "global", label) for label in (
        "rlnTomoName", "rlnTomoTiltSeriesStarFile", "rlnVoltage", "rlnSphericalAberration",
        "rlnAmplitudeContrast", "rlnTomoTiltSeriesPixelSize", "rlnTomoHand", "rlnTomoSizeX",
        "rlnTomoSizeY", "rlnTomoSizeZ")),
    *((TILTS, "TS_01", label) for label in (
        "rlnMicrographName", "rlnMicrographPreExposure", "rlnTomoYTilt", "rlnTomoZRot",
        "rlnTomoXShiftAngst", "rlnTomoYShiftAngst", "rlnDefocusU", "rlnDefocusV",
        "rlnDefocusAngle"))])
def test_missing_column_is_named(project, name, table, label):
    project.drop_column(name, table, label)
    project.refuses(AVERAGE, 3, label, "TS_01|table")


def set_both(project: Project, label: str, value: str) -> None:
    """Set a number in the tomogram and in the optics table, so that they still agree."""
    project.set_column(TOMOGRAMS, "global", label, value)
    project.set_column(PARTICLES, "optics", label, value)


def two_optics_groups(project: Project) -> None:
    """Series 2 with half the pixel, in an optics group of its own."""
    project.set_column(TOMOGRAMS, "global", "rlnTomoTiltSeriesPixelSize", "4", [1])
    project.edit(PARTICLES, "optics", lambda labels, rows: (
        labels, [rows[0], ["2", "second", "4", *rows[0][3:]]]))
    project.set_column(PARTICLES, "particles", "rlnOpticsGroup", lambda r: "1" if r < 6 else "2")


def unnumbered_groups(project: Project) -> None:
    """Two optics groups, and particles that do not say which is theirs."""
    two_optics_groups(project)
    project.drop_column(PARTICLES, "particles", "rlnOpticsGroup")


@pytest.mark.parametrize(("breaking", "words"), [
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnTomoName", "TS_07", [3]),
                 ("row 4", "'TS_07'", "TS_01, TS_02"), id="unknown_tomogram"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnOpticsGroup", "9", [3]),
                 ("optics group 9", "table has 1"), id="unknown_optics_group"),
    pytest.param(lambda p: p.set_column(PARTICLES, "optics", "rlnTomoTiltSeriesPixelSize", "4"),
                 ("4 Å", "TS_01 has 8 Å"), id="optics_pixel_differs_from_tomogram"),
    pytest.param(two_optics_groups, ("TS_02 has pixel 4.0000 Å", "8.0000 Å"), id="mixed_pixels"),
    pytest.param(unnumbered_groups, ("rlnOpticsGroup",), id="two_groups_and_no_numbers"),
    pytest.param(lambda p: p.set_rows(PARTICLES, "particles", []), ("empty",), id="no_particles"),
    pytest.param(lambda p: p.set_rows(TOMOGRAMS, "global", []), ("empty",), id="no_tomograms"),
    pytest.param(lambda p: p.set_rows(TILTS, "TS_01", []), ("no tilts", "TS_01"), id="no_tilts"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnRandomSubset", "0", [4]),
                 ("row 5", "TS_01/5", "--halves random"), id="half_sets_of_some_particles"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnRandomSubset", "3", [4]),
                 ("row 5", "rlnRandomSubset is 3", "1 or 2"), id="half_set_3"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnRandomSubset", "1.5", [4]),
                 ("row 5", "1.5", "integer"), id="half_set_1.5"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnTomoParticleName", "TS_01/1",
                                        [0, 3]), ("TS_01/1", "more than once"), id="same_names"),
    pytest.param(lambda p: p.set_column(TOMOGRAMS, "global", "rlnTomoName", "TS_01"),
                 ("TS_01 more than once",), id="same_tomogram_twice"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnAngleRot", "nan", [4]),
                 ("row 5", "rlnAngleRot is nan"), id="angle_nan"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnCenteredCoordinateXAngst",
                                        "-inf", [4]), ("row 5", "inf"), id="coordinate_inf"),
    pytest.param(lambda p: p.set_column(PARTICLES, "particles", "rlnCenteredCoordinateXAngst",
                                        "abc", [4]), ("row 5", "'abc'", "number"),
                 id="coordinate_is_text"),
    pytest.param(lambda p: p.replace(PARTICLES, "TS_02/3 ", ""), ("line 46", "9 values", "10"),
                 id="short_row"),
    pytest.param(lambda p: p.set_column(TILTS, "TS_01", "rlnDefocusU", "nan", [2]),
                 ("row 3", "rlnDefocusU is nan"), id="defocus_nan"),
    pytest.param(lambda p: p.set_column(TILTS, "TS_01", "rlnDefocusU", "1e12", [2]),
                 ("tilt 3 of 5", r"1e\+12 Å"), id="defocus_of_100_metres"),
    pytest.param(lambda p: p.set_column(TILTS, "TS_01", "rlnMicrographPreExposure", "-3", [2]),
                 ("tilt 3 of 5", "-3 e/Å²"), id="negative_dose"),
    pytest.param(lambda p: p.set_column(TILTS, "TS_01", "rlnCtfScalefactor", "-1", [2]),
                 ("tilt 3 of 5", "rlnCtfScalefactor is -1"), id="negative_scale"),
    pytest.param(lambda p: p.set_column(TILTS, "TS_01", "rlnCtfBfactor", "-1e9", [2]),
                 ("tilt 3 of 5", "Å²"), id="huge_b_factor"),
    pytest.param(lambda p: set_both(p, "rlnVoltage", "0"), ("rlnVoltage is 0 kV",),
                 id="no_voltage"),
    pytest.param(lambda p: set_both(p, "rlnVoltage", "300000"), ("300000 kV", "3000 kV"),
                 id="voltage_in_V"),
    pytest.param(lambda p: set_both(p, "rlnAmplitudeContrast", "2"), ("rlnAmplitudeContrast is 2",),
                 id="amplitude_contrast_2"),
    pytest.param(lambda p: set_both(p, "rlnTomoTiltSeriesPixelSize", "0"), ("is 0 Å",),
                 id="pixel_0"),
    pytest.param(lambda p: p.set_column(TOMOGRAMS, "global", "rlnTomoHand", "0"),
                 ("rlnTomoHand is 0", "1 or -1"), id="hand_0"),
    pytest.param(lambda p: p.set_column(TOMOGRAMS, "global", "rlnTomoSizeZ", "0"),
                 ("96, 96, 0", "positive"), id="tomogram_size_0"),
    pytest.param(lambda p: p.path(PARTICLES).write_bytes(
        p.path(PARTICLES).read_text().encode("utf-16")), ("line 2", "not a STAR file"),
        id="utf_16")])
def test_fault_in_a_table_is_refused_before_the_start(project, breaking, words):
    breaking(project)
    project.refuses(AVERAGE, 3, *words)


def matrices(project: Project, *rows: str) -> None:
    """RELION 4 matrices instead of angles and shifts."""
    for label, row in zip("XYZW", rows, strict=True):
        project.set_column(TILTS, "TS_01", f"rlnTomoProj{label}", row)
    for label in ("rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst"):
        project.drop_column(TILTS, "TS_01", label)


@pytest.mark.parametrize(("rows", "words"), [
    pytest.param(("[0,0,0,0]",) * 4, ("not near rotations",), id="singular"),
    pytest.param(("[3,0,0,9]", "[0,3,0,9]", "[0,0,3,9]", "[0,0,0,1]"), ("deviation 8",),
                 id="scaled"),
    pytest.param(("[-1,0,0,9]", "[0,1,0,9]", "[0,0,1,9]", "[0,0,0,1]"), ("row 1", "mirror"),
                 id="mirrored"),
    pytest.param(("[nan,0,0,9]", "[0,1,0,9]", "[0,0,1,9]", "[0,0,0,1]"),
                 ("row 1", "rlnTomoProjX", "NaN"), id="nan"),
    pytest.param(("[1,0,0]", "[0,1,0,9]", "[0,0,1,9]", "[0,0,0,1]"), ("3 values", "4 finite"),
                 id="short")])
def test_projection_that_is_no_rotation_is_refused(project, rows, words):
    matrices(project, *rows)
    project.refuses(AVERAGE, 3, "TS_01", *words)


@pytest.mark.parametrize("name", STAR_FILES)
@pytest.mark.parametrize(("content", "words"), [
    pytest.param(b"", "no table", id="empty"),
    pytest.param(np.random.default_rng(1).bytes(4000), "not a STAR file", id="binary"),
    pytest.param(b"data_a\r\rloop_\r_x\r1\r", "carriage return", id="cr_line_ends"),
    pytest.param(None, "is a folder|Is a directory", id="folder")])
def test_file_that_is_no_star_file_is_named(project, name, content, words):
    project.path(name).unlink()
    if content is None:
        project.path(name).mkdir()
    else:
        project.path(name).write_bytes(content)
    project.refuses(AVERAGE, 3, name.replace(".", r"\."), words)


@pytest.mark.parametrize("name", [*STAR_FILES, SET])
def test_missing_file_is_named(project, name):
    project.path(name).unlink()
    project.refuses(AVERAGE, 3, name.replace(".", r"\."))


@pytest.mark.parametrize(("text", "code", "words"), [
    pytest.param("data_\n\n", 3, "not an optimisation set", id="empty"),
    pytest.param(f"data_\n_rlnTomoParticlesFile {SET}\n_rlnTomoTomogramsFile {SET}\n", 3,
                 "no table 'global'", id="circular"),
    pytest.param("data_\n_rlnTomoParticlesFile particles.star\n", 2, "no tomograms given",
                 id="without_tomograms"),
    pytest.param("data_\n_rlnTomoParticlesFile nothing.star\n_rlnTomoTomogramsFile "
                 "tomograms.star\n", 3, "rlnTomoParticlesFile 'nothing.star' not found",
                 id="missing_member"),
    pytest.param("data_\n_rlnTomoParticlesFile maps\n_rlnTomoTomogramsFile tomograms.star\n", 3,
                 "maps is a folder", id="member_is_a_folder"),
    pytest.param("data_\nloop_\n_rlnTomoParticlesFile\na\nb\n", 3, "2 rows, expected one",
                 id="two_rows")])
def test_faulty_optimisation_set_is_refused(project, text, code, words):
    project.path(SET).write_text(text)
    project.refuses(AVERAGE, code, words)


@pytest.mark.parametrize("name", [PARTICLES, "maps/half1.mrc"])
def test_other_file_than_an_optimisation_set_is_refused(project, name):
    project.refuses(with_value(AVERAGE, SET, name), 3, "not an optimisation set|not a STAR file")


def test_check_tells_several_faults_a_line_each(project):
    project.path(IMAGES).unlink()
    project.replace("tilt_series/TS_02.star", "5@tilt", "9@tilt")
    project.refuses(CHECK, 3, "2 errors", "TS_01: 1 of 1 images are missing",
                    "TS_02, tilt 5 of 5.*number 9 of a stack of 5", faults=3)


def test_row_order_of_tilts_is_not_their_order(project):
    """Particles, slices and the order of doses do not depend on the order of rows."""
    straight = project.accepts(AVERAGE)
    first = project.path("out/half1.mrc").read_bytes()
    project.set_rows(TILTS, "TS_01", [4, 0, 2, 1, 3])
    project.accepts((*AVERAGE[:-1], "turned"))
    second = project.path("turned/half1.mrc").read_bytes()
    a, b = (np.frombuffer(raw[1024:], np.float32) for raw in (first, second))
    # float sums inside a unit run in another order: equal to rounding, not in the last bit
    assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()
    assert not straight.faults


def test_dose_that_is_zero_everywhere_is_warned_of(project):
    for name in ("TS_01", "TS_02"):
        project.set_column(f"tilt_series/{name}.star", name, "rlnMicrographPreExposure", "0")
    loud = [a for a in AVERAGE if a != "--quiet"]
    outcome = project.accepts(loud)
    assert any("0 e/Å²" in w and "--no-dose-weighting" in w for w in outcome.warnings)
    quiet = run(*with_value(with_value(CHECK, "--quiet", "--log-all-ranks"), "out", "check"))
    assert sum("same dose" in w for w in quiet.warnings) == 2


def test_line_ends_of_windows_are_read_with_a_warning(project):
    path = project.path(PARTICLES)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    outcome = project.accepts([a for a in CHECK if a != "--quiet"])
    assert any("CR LF" in w for w in outcome.warnings)


def test_particle_far_from_every_image_is_left_out_and_told(project):
    project.set_column(PARTICLES, "particles", "rlnCenteredCoordinateXAngst", "1e6", [4])
    outcome = project.accepts([a for a in AVERAGE if a != "--quiet"])
    assert any("1 " in w and "particle" in w for w in outcome.warnings), outcome.err


def test_names_that_are_not_utf8_are_kept(project):
    path = project.path(PARTICLES)
    path.write_bytes(path.read_bytes().replace(b"TS_01/1 ", b"TS_01/\xff\xfe "))
    project.accepts(ALIGN)
    assert b"TS_01/\xff\xfe " in project.path("out/particles.star").read_bytes()
