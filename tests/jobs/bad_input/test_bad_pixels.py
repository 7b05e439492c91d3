"""Faulty images and maps: named file, tilt and particle; quarantine where the rest is good."""

import json
import struct
import warnings

import mrcfile
import numpy as np
import pytest
from bad_projects import ALIGN, AVERAGE, CHECK, FSC, Project, with_value

from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.window_size import cut_size_px

IMAGES, TILTS = "tilt_images/TS_01.mrcs", "tilt_series/TS_01.star"
REFERENCE = with_value(ALIGN, "maps/merged.mrc", "maps/made.mrc")
TWO_MAPS = (*FSC, "--half2", "maps/made.mrc")
ALL_BAD_ALLOWED = (*AVERAGE, "--max-bad-share", "1")


def change_images(project: Project, change) -> None:
    """Write the stack of the first series again."""
    data = np.array(mrcfile.read(project.path(IMAGES)))
    write(project, IMAGES, change(data))


def write(project: Project, name: str, data: np.ndarray, pixel_A: float = 8.0) -> None:
    """Write an MRC file with the library, which accepts what the program must refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(project.path(name), np.ascontiguousarray(data), overwrite=True) as file:
            file.voxel_size = pixel_A
            if name.endswith("s"):
                file.set_image_stack()


def make_map(project: Project, change, pixel_A: float = 8.0) -> None:
    """Write maps/made.mrc, the average of the good project changed."""
    write(project, "maps/made.mrc", change(np.array(mrcfile.read(project.path("maps/merged.mrc")))),
          pixel_A)


@pytest.mark.parametrize(("number", "words"), [
    ("0@tilt", "tilt 5 of 5.*number 0 of a stack of 5 images, expected 1 to 5"),
    ("99@tilt", "tilt 5 of 5.*number 99 of a stack of 5 images, expected 1 to 5"),
    ("x@tilt", "x@tilt_images/TS_01.mrcs"), ("-1@tilt", "-1@tilt_images/TS_01.mrcs"),
    ("tilt", "a stack of 5 images"), ("5@gone", "gone_images/TS_01.mrcs")])
@pytest.mark.parametrize("command", [AVERAGE, CHECK], ids=["average", "check"])
def test_image_that_its_stack_does_not_hold_is_refused(project, command, number, words):
    project.replace(TILTS, "5@tilt", number)
    project.refuses(command, 3, words)


def test_stack_with_too_few_images_is_refused(project):
    change_images(project, lambda a: a[:3])
    project.refuses(AVERAGE, 3, "TS_01, tilt 4 of 5", "stack of 3 images")


@pytest.mark.parametrize(("change", "words"), [
    pytest.param(lambda p: p.path(IMAGES).write_bytes(b"hello world\n" * 200), "not an MRC file",
                 id="text"),
    pytest.param(lambda p: p.path(IMAGES).write_bytes(p.path(IMAGES).read_bytes()[:5000]),
                 "truncated.*185344 bytes, the file has 5000", id="truncated"),
    pytest.param(lambda p: p.path(IMAGES).write_bytes(b""), "0 bytes", id="empty"),
    pytest.param(lambda p: p.path(IMAGES).unlink(), "images cannot be read", id="missing"),
    pytest.param(lambda p: (p.path(IMAGES).unlink(), p.path(IMAGES).mkdir()), "Is a directory",
                 id="folder"),
    pytest.param(lambda p: change_images(p, lambda a: a.astype(np.complex64)), "mode 4",
                 id="complex"),
    pytest.param(lambda p: change_images(p, lambda a: a[:, :16, :16]),
                 "TS_01: a box of 24 px at binning 1 covers 24 px.*16 x 16 px", id="small")])
def test_file_without_usable_images_is_refused(project, change, words):
    change(project)
    project.refuses(AVERAGE, 3, words)


def patch(value: float, where=np.s_[2, 40:60, 40:60]):
    """Set part of the third image."""
    def change(images: np.ndarray) -> np.ndarray:
        images[where] = value
        return images
    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_pixels_in_particles_stop_the_run_and_name_the_tilt(project, value):
    change_images(project, patch(value))
    project.refuses(AVERAGE, 5, "1 of 4 units|of 12 particles",
                    "TS_01, tilt 3 of 5, particle TS_01/",
                    "NaN or Inf", "--max-bad-share")


def reached_by_few():
    """(y, x) of a pixel of the third image that some windows hold, not all, and their rows."""
    tomograms = read_tomograms("tomograms.star")
    particles = read_particles("particles.star", tomograms)
    ts = tomograms.tilt_series("TS_01")
    half_px = cut_size_px(24, 8.0, [ts]) // 2
    own = particles.i_tomo == 0
    at = np.rint(ts.position_px(particles.position_A[own][0])[2])
    y, x = (int(np.clip(value - half_px + 4, 0, 95)) for value in at[::-1])
    centres = np.array([ts.position_px(p)[2] for p in particles.position_A[own]])
    # 3 px from an edge is far enough that rounding does not matter
    away = np.abs(centres - [x, y]).max(axis=1) - half_px
    assert (np.abs(away) > 3).all(), away
    return (y, x), np.flatnonzero(away < 0)


@pytest.mark.parametrize("command", [ALL_BAD_ALLOWED, (*ALIGN, "--max-bad-share", "1"),
                                     (*ALIGN, "--max-bad-share", "1", "--search", "grid")],
                         ids=["average", "align", "align_grid"])
def test_particle_with_bad_pixels_is_left_out_alone(project, command):
    """The others of its unit are used, and the report says which one was not."""
    (y, x), hit = reached_by_few()
    assert 0 < len(hit) < 3
    change_images(project, patch(np.nan, np.s_[2, y, x]))
    project.accepts(command)
    job = json.loads(project.path("out/job.json").read_text())
    assert job["results"]["particles_quarantined"] == len(hit)
    assert job["results"]["units_quarantined"] == 0
    row = int(hit[0])
    assert any(f"first row {row + 1}: tilt series TS_01, tilt 3 of 5" in w
               for w in job["warnings"])
    report = project.path("out/report.html").read_text()
    assert f"tilt 3 of 5, particle TS_01/{row + 1}" in report
    assert np.isfinite(mrcfile.read(project.path("out/merged.mrc"))).all()


def test_series_with_an_empty_image_is_quarantined_as_a_whole(project):
    change_images(project, patch(3.0, np.s_[2]))
    project.accepts(ALL_BAD_ALLOWED)
    job = json.loads(project.path("out/job.json").read_text())
    assert job["results"]["units_quarantined"] == 2
    assert job["results"]["particles_quarantined"] == 0


def test_bad_pixels_outside_all_particles_cost_nothing(project):
    change_images(project, patch(np.nan, np.s_[2, 0, 0]))
    project.accepts(AVERAGE)
    assert np.isfinite(mrcfile.read(project.path("out/merged.mrc"))).all()


def test_image_of_equal_pixels_names_the_tilt(project):
    change_images(project, patch(3.0, np.s_[2]))
    project.refuses(AVERAGE, 5, "TS_01, tilt 3", "all pixels are equal")


def test_images_of_odd_sizes_work(project):
    change_images(project, lambda a: a[:, :95, :93])
    project.accepts(AVERAGE)


def test_pixel_size_of_images_that_differs_is_warned_of(project):
    project.patch_bytes(IMAGES, 40, struct.pack("<3f", 999, 999, 999))
    outcome = project.accepts([a for a in CHECK if a != "--quiet"])
    assert any("10.4062 Å in the header, 8.0000 Å" in w for w in outcome.warnings)


@pytest.mark.parametrize(("change", "pixel_A", "words"), [
    pytest.param(lambda a: a[:20, :20, :20], 8.0, "(20, 20, 20) voxels, expected (24, 24, 24)",
                 id="box"),
    pytest.param(lambda a: a, 4.0, "voxel 4.0000 Å, expected 8.0000 Å", id="voxel"),
    pytest.param(lambda a: a, 0.0, "no voxel size in the header", id="voxel_0"),
    pytest.param(lambda a: np.where(a == a.max(), np.nan, a), 8.0, "1 of 13824 values are NaN",
                 id="nan"),
    pytest.param(lambda a: a * 0, 8.0, "all voxels are 0", id="zeros")])
def test_faulty_reference_is_refused(project, change, pixel_A, words):
    make_map(project, lambda a: change(a).astype(np.float32), pixel_A)
    project.refuses(REFERENCE, 3, "maps/made.mrc", words.replace("(", r"\(").replace(")", r"\)"))


@pytest.mark.parametrize(("value", "words"), [(7, "values from 7 to 7, expected 0 to 1"),
                                              (0, "all voxels are 0")])
@pytest.mark.parametrize("command", [(*ALIGN, "--reference-mask", "maps/made.mrc"),
                                     (*FSC, "--mask", "maps/made.mrc")], ids=["align", "fsc"])
def test_faulty_mask_is_refused(project, command, value, words):
    make_map(project, lambda a: a * 0 + np.float32(value))
    project.refuses(command, 3, "mask maps/made.mrc", words)


@pytest.mark.parametrize("command", [with_value(ALIGN, "maps/merged.mrc", "maps/half1.mrc"), FSC],
                         ids=["align", "fsc"])
def test_half_map_without_its_other_half_is_refused(project, command):
    project.path("maps/half2.mrc").unlink()
    project.refuses(command, 3, "half1.mrc is of one half-set, but maps/half2.mrc does not exist")


@pytest.mark.parametrize(("name", "words"), [
    ("maps/no.mrc", "No such file"), ("particles.star", "not an MRC file"),
    ("maps", "Is a directory")])
def test_reference_that_is_no_map_is_refused(project, name, words):
    project.refuses(with_value(ALIGN, "maps/merged.mrc", name), 3, words)


@pytest.mark.parametrize(("change", "pixel_A", "words"), [
    pytest.param(lambda a: a[:20, :20, :20], 8.0, "differ in size", id="sizes_differ"),
    pytest.param(lambda a: a, 4.0, "differ in voxel: 8.0 and 4.0 Å", id="voxels_differ"),
    pytest.param(lambda a: a[:20], 8.0, "expected a cube", id="no_cube"),
    pytest.param(lambda a: np.where(a == a.max(), np.inf, a), 8.0, "NaN or Inf", id="inf"),
    pytest.param(lambda a: a[:2, :2, :2], 8.0, "2 px.*at least 8 px", id="tiny"),
    pytest.param(lambda a: a * 0, 8.0, "all voxels are 0", id="zeros"),
    pytest.param(lambda a: a, 0.0, "no voxel size", id="voxel_0")])
def test_half_maps_that_cannot_be_compared_are_refused(project, change, pixel_A, words):
    make_map(project, lambda a: change(a).astype(np.float32), pixel_A)
    project.refuses(TWO_MAPS, 3, "maps/made.mrc", words)


def test_voxel_size_can_be_given_where_the_header_has_none(project):
    make_map(project, lambda a: a, 0.0)
    project.accepts((*with_value(TWO_MAPS, "maps/half1.mrc", "maps/made.mrc"), "--voxel-A", "8"))


def test_a_map_compared_with_itself_is_warned_of(project):
    outcome = project.accepts(("fsc", "--half1", "maps/half1.mrc", "--half2", "maps/half1.mrc",
                               "-o", "out"))
    assert any("the same map" in w for w in outcome.warnings)
