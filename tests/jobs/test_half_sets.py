"""Half-sets never see each other's data: a marker in half 2 leaves every bit of half 1 alone.

From 2D stacks all that is estimated (noise, grey scale, reference) is of one half-set, so a
strong marker may be anything. Particles in tilt series share their images, and with them two
numbers of each image, its mean and its standard deviation, and its measured noise spectrum; these
are made of noise and of both half-sets' particles alike, as in every program that normalises
micrographs. So there the marker is one that keeps mean and standard deviation (all pixels around
half 2 trade places) and the noise is taken as flat.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from sta_mpi.align.cut import cut_patches
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.window_size import cut_size_px

pytestmark = pytest.mark.mpi

BOX_PX, PIXEL_A = 32, 6.0
SHIFT_RANGE_A = 10.0
# the FSC of both halves weights the references and ends the band by default: numbers a shell that
# the halves share by design
ALIGN = ["align", "--unit-particles", "2", "--search", "grid", "--iterations", "2",
         "--band-schedule", "fixed", "--score", "ncc",
         "--angle-range-deg", "4", "--shift-range-A", SHIFT_RANGE_A, "--quiet"]
OF_HALF_1 = ("half1.mrc", "round01_half1.mrc", "round02_half1.mrc")


def assert_only_half_2_differs(plain, marked, least):
    """All maps and poses of half 1 have the same bits, those of half 2 have not."""
    for name in OF_HALF_1:
        assert (plain / name).read_bytes() == (marked / name).read_bytes(), name
        other = name.replace("half1", "half2")
        assert (plain / other).read_bytes() != (marked / other).read_bytes(), other
    before, after = (read_poses(folder / "poses.h5")[0] for folder in (plain, marked))
    half1 = before.half == 1
    assert min(half1.sum(), (~half1).sum()) >= least
    assert np.array_equal(before.half, after.half)
    for name in ("R_p2t", "offset_A"):
        one, two = getattr(before, name), getattr(after, name)
        assert one[half1].tobytes() == two[half1].tobytes()
        assert not np.array_equal(one[~half1], two[~half1])
    scores = [read_particles(folder / "particles.star", read_tomograms(tomograms)).columns[
        "rlnLogLikeliContribution"] for folder, tomograms in
        ((plain, plain.parent / "tomograms.star"), (marked, marked.parent / "tomograms.star"))]
    assert list(scores[0][half1]) == list(scores[1][half1])


@pytest.fixture(scope="module")
def project(small_set):
    """Particles, tomograms and tilt series of the small set."""
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    particles = read_particles(small_set.with_name("particles.star"), tomograms)
    return particles, tomograms, [tomograms.tilt_series(name) for name in particles.tomo_names]


def copy_project(small_set, folder):
    """A copy of the simulated project."""
    shutil.copytree(small_set.parent, folder, ignore=shutil.ignore_patterns(
        "job.*", "report.html", "*.log", "*.h5"))
    return folder


def apart(particles, series, column_px):
    """Particles whose windows stay on one side of an image column on all tilts, half 1 left.

    The tilt axis crosses the columns: particles move along them from tilt to tilt.
    """
    window = cut_size_px(BOX_PX, PIXEL_A, series)
    reach = window / 2 + SHIFT_RANGE_A * 2 / PIXEL_A + 2
    x_px = np.stack([series[i].position_px(xyz)[:, 0] for i, xyz in
                     zip(particles.i_tomo, particles.position_A, strict=True)])
    left = (x_px + reach < column_px).all(axis=1)
    right = (x_px - reach >= column_px).all(axis=1)
    chosen = particles.select(left | right)
    chosen.half = np.where(left[left | right], 1, 2).astype(np.int8)
    return chosen


def test_marker_in_the_tilt_images_of_half_2_leaves_half_1_bit_unchanged(
        command, small_set, project, tmp_path):
    particles, tomograms, series = project
    middle_px = series[0].image_size_px[0] // 2
    plain, marked = (copy_project(small_set, tmp_path / name) for name in ("plain", "marked"))
    for folder in (plain, marked):
        write_particles(folder / "particles.star", apart(particles, series, middle_px), tomograms)
    for path in (marked / "tilt_images").glob("*.mrcs"):
        images = np.array(open_stack(path)[:])
        before = [(np.float32(i.mean(dtype=float)), np.float32(i.std(dtype=float)))
                  for i in images]
        images[:, :, middle_px:] = images[:, :, middle_px:][:, ::-1, ::-1]
        assert before == [(np.float32(i.mean(dtype=float)), np.float32(i.std(dtype=float)))
                          for i in images]
        write_mrc(path, images, PIXEL_A)
    words = [*ALIGN, "--box-px", BOX_PX, "--noise", "flat"]
    run = command(
        2, *words, "--optimisation-set", plain / "optimisation_set.star", "-o", plain / "out",
        "++", *words, "--optimisation-set", marked / "optimisation_set.star",
        "-o", marked / "out")
    assert run.returncode == 0, run.stderr
    assert_only_half_2_differs(plain / "out", marked / "out", least=5)


def cut_stacks(folder, particles, series):
    """Cut a stack of each particle and write it; protein is bright, no CTF multiplied."""
    visible = np.zeros((len(particles), series[0].n_tilts), np.int8)
    names = []
    for row, i_tomo in enumerate(particles.i_tomo):
        ts = series[i_tomo]
        images = open_stack(folder / f"tilt_images/{ts.name}.mrcs")
        position = ts.position_px(particles.position_A[row])
        size = np.array(ts.image_size_px)
        seen = ((position > BOX_PX / 2) & (position < size - BOX_PX / 2)).all(axis=1)
        visible[row] = seen
        patches, _ = cut_patches(
            [images[i] for i in np.flatnonzero(seen)], position[seen], BOX_PX)
        names.append(f"stacks/{row:03d}.mrcs")
        write_mrc(folder / names[-1], -patches, PIXEL_A)
    return replace(particles, image_names=np.array(names, object), visible=visible,
                   is_2d_stack=True, image_pixel_A=PIXEL_A, image_size_px=BOX_PX,
                   is_premultiplied=False, columns={})


@pytest.mark.slow
def test_marker_in_the_stacks_of_half_2_leaves_half_1_bit_unchanged(
        command, small_set, project, tmp_path):
    particles, tomograms, series = project
    plain, marked = (copy_project(small_set, tmp_path / name) for name in ("plain", "marked"))
    for folder in (plain, marked):
        stacks = cut_stacks(folder, particles, series)
        write_particles(folder / "particles.star", stacks, tomograms)
    y, x = np.mgrid[:BOX_PX, :BOX_PX] - BOX_PX // 2
    blob = np.exp(-((x - 5) ** 2 + (y + 3) ** 2) / 8.0)
    for row in np.flatnonzero(particles.half == 2):
        path = marked / stacks.image_names[row]
        images = np.array(open_stack(path)[:])
        write_mrc(path, images + (20 * images.std() * blob).astype(np.float32), PIXEL_A)
    words = [*ALIGN, "--source", "stacks"]
    run = command(
        2, *words, "--optimisation-set", plain / "optimisation_set.star", "-o", plain / "out",
        "++", *words, "--optimisation-set", marked / "optimisation_set.star",
        "-o", marked / "out")
    assert run.returncode == 0, run.stderr
    assert_only_half_2_differs(plain / "out", marked / "out", least=5)
