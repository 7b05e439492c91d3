"""The command `tomogram` on one small series: files, tables, halves, number formats, refusals."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_header, read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.geometry.projection import angles_from_projection

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "prepare"))
from blob_series import make_series, project_blobs

pytestmark = pytest.mark.usefixtures("empty_figures")

SIZE_PX = (96, 80, 48)
IMAGE_PX = (96, 90)
BLOBS = [((20, -12, 8), 1.0, 3.0), ((-24, 10, -8), 2.0, 3.0)]
TILTS = np.arange(-60, 61, 10.0)
BINNING = 2


def write_series(folder, series, noise_sd=0.3):
    """Stack and tables of a series; the path of tomograms.star."""
    images = project_blobs(series, BLOBS, IMAGE_PX)
    images += np.random.default_rng(3).normal(0, noise_sd, images.shape)
    write_mrc(folder / f"{series.name}.mrcs", images.astype(np.float32), series.pixel_A)
    names = tuple(f"{i + 1}@{folder / series.name}.mrcs" for i in range(series.n_tilts))
    TomogramSet.from_tilt_series([replace(series, image_names=names)]).write(
        folder / "tomograms.star", folder)
    return folder / "tomograms.star"


def write_odd_series(folder, series):
    """Like `write_series`, of a size that the program itself does not write."""
    path = write_series(folder, replace(series, tomogram_size_px=(96, 80, 48)))
    tilts = folder / "tilt_series" / "TS.star"
    star = read_star(tilts)
    # what RELION would hold: angles and shifts about its integer centre
    _, _, _, shift_A, _ = angles_from_projection(series.P, series.tomogram_size_px, 4.0)
    star.first["rlnTomoXShiftAngst"], star.first["rlnTomoYShiftAngst"] = shift_A.T
    write_star(tilts, list(star))
    table = read_star(path)["global"]
    table["rlnTomoSizeX"] = [97]
    write_star(path, [table])
    assert read_tomograms(path).size_px("TS") == (97, 80, 48)
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Path of the tomogram table of one series."""
    return write_series(tmp_path_factory.mktemp("series"),
                        make_series(TILTS, size_px=SIZE_PX, image_px=IMAGE_PX))


@pytest.fixture(scope="module")
def run(tables):
    """A function that runs the command in this process; its result, quiet."""
    def start(out, *words, given=tables):
        return CliRunner().invoke(cli, [
            "tomogram", "--tomograms", str(given), "--binning", str(BINNING), "--unit-planes", "3",
            "--quiet", "-o", str(out), *map(str, words)])

    return start


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """Folder of a finished run with halves of every other tilt."""
    out = tmp_path_factory.mktemp("made") / "out"
    done = run(out, "--halves", "tilts")
    assert done.exit_code == 0, done.output
    return out


def volume(folder, kind=""):
    return read_mrc(folder / f"tomograms/rec_TS{kind}.mrc").data


def peak_xyz(data, near, reach=3):
    """Index xyz of the lowest voxel near a place."""
    x, y, z = np.round(near).astype(int)
    part = data[z - reach : z + reach + 1, y - reach : y + reach + 1, x - reach : x + reach + 1]
    k = np.array(np.unravel_index(part.argmin(), part.shape))
    return k[::-1] - reach + (x, y, z)


def test_blobs_are_dark_at_the_place_that_the_written_table_says(made):
    found = read_tomograms(made / "tomograms.star").reconstructed("TS")
    header = read_header(found.path)
    assert header.is_volume
    assert header.shape_zyx == found.size_px[::-1] == (24, 40, 48)
    assert header.pixel_xyz_A[0] == pytest.approx(8.0)
    assert found.binning == BINNING
    for xyz, _, _ in BLOBS:
        at = found.index_xyz(np.array(xyz) * 4.0)
        np.testing.assert_array_equal(peak_xyz(volume(made), at), at)


def test_simulated_particles_are_dark_spots_at_their_planted_places(tmp_path):
    """Particles with their mass in their centre, made by the simulator, average to a spot there."""
    done = CliRunner().invoke(cli, [
        "simulate", "--n-series", "1", "--n-particles", "25", "--pixel-A", "6", "--noise-sd", "0",
        "--image-width-px", "160", "--image-height-px", "160", "--thickness-A", "500",
        "--tilt-step-deg", "6", "--phantom", "D2", "--phantom-radius-A", "45",
        "--phantom-detail-A", "6", "--quiet", "-o", str(tmp_path / "in")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, [
        "tomogram", "--optimisation-set", str(tmp_path / "in/optimisation_set.star"), "--voxel-A",
        "12", "--ctf", "flip", "--no-dose-weighting", "--quiet", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    tomograms = read_tomograms(tmp_path / "out/tomograms.star")
    found = tomograms.reconstructed(tomograms.names[0])
    particles = read_particles(tmp_path / "in/particles.star", tomograms)
    index = found.index_xyz(particles.position_A)
    data = read_mrc(found.path).data
    inside = ((index > 8) & (index < np.array(found.size_px) - 9)).all(axis=1)
    reach = np.arange(-6, 7)
    grid = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"))       # z, y, x
    mean = np.mean([scipy.ndimage.map_coordinates(
        data, grid + at[::-1, None, None, None], order=3) for at in index[inside]], axis=0)
    weight = np.maximum(-mean - 0.5 * -mean.min(), 0)
    centroid = (grid * weight).sum(axis=(1, 2, 3)) / weight.sum()
    assert inside.sum() >= 10
    # fringes of neighbours are left; half a voxel off would be 0.5
    assert np.abs(centroid).max() < 0.25
    members = read_optimisation_set(tmp_path / "out/optimisation_set.star")
    assert members.tomograms == tmp_path / "out/tomograms.star"


def test_label_and_report_say_that_protein_is_dark(made):
    raw = (made / "tomograms/rec_TS.mrc").read_bytes()[224:304]
    assert b"protein dark" in raw
    assert "dark, as on the raw images" in (made / "report.html").read_text()


def test_whole_is_the_mean_of_its_halves_and_halves_have_noise_of_their_own(made):
    whole, half1, half2 = volume(made), volume(made, "_half1"), volume(made, "_half2")
    np.testing.assert_allclose(whole, 0.5 * (half1 + half2), atol=1e-6 * np.abs(whole).max())
    edge = np.s_[:, :, :6]
    noise = np.corrcoef(half1[edge].ravel(), half2[edge].ravel())[0, 1]
    assert abs(noise) < 0.3
    at = np.s_[8:12, 23:27, 10:14]
    assert np.corrcoef(half1[at].ravel(), half2[at].ravel())[0, 1] > 0.8


def test_halves_of_frames_come_from_the_even_and_odd_images(run, made, tables, tmp_path):
    """Even images as they are, odd ones zero: half 2 is empty, half 1 twice the whole."""
    images = read_mrc(tables.parent / "TS.mrcs", permissive=True).data
    write_mrc(tmp_path / "even.mrcs", images, 4.0)
    write_mrc(tmp_path / "odd.mrcs", np.zeros_like(images), 4.0)
    tomograms = read_tomograms(tables)
    table = tomograms.tilt_table("TS")
    for label, name in (("Even", "even"), ("Odd", "odd")):
        table[f"rlnMicrographName{label}"] = [
            f"{i + 1}@{tmp_path}/{name}.mrcs" for i in range(len(images))]
    tomograms.write(tmp_path / "in" / "tomograms.star", tmp_path)
    done = run(tmp_path / "out", "--halves", "frames", given=tmp_path / "in" / "tomograms.star")
    assert done.exit_code == 0, done.output
    # the order of the tilts differs from that of the other run
    np.testing.assert_allclose(volume(tmp_path / "out"), volume(made),
                               atol=1e-5 * np.abs(volume(made)).max())
    assert not volume(tmp_path / "out", "_half2").any()


def test_integers_are_densities_times_the_factor_of_the_report(run, made, tmp_path):
    done = run(tmp_path / "out", "--mode", "int16", "--halves", "tilts")
    assert done.exit_code == 0, done.output
    stored, density = (volume(folder).astype(np.float64) for folder in (tmp_path / "out", made))
    factor = np.vdot(stored, density) / np.vdot(density, density)
    assert np.abs(stored - factor * density).max() < 0.51
    header = read_header(tmp_path / "out/tomograms/rec_TS.mrc")
    assert header.dtype == np.int16
    assert 5000 < np.abs(stored).max() <= 32767
    assert f"{factor:.6g}"[:4] in (tmp_path / "out" / "report.html").read_text().replace(",", "")


def test_size_and_contrast_can_be_chosen(run, made, tmp_path):
    done = run(tmp_path / "out", "--thickness-A", 128, "--invert")
    assert done.exit_code == 0, done.output
    data = volume(tmp_path / "out")
    assert data.shape == (16, 40, 48)
    # the same centre: 4 planes fewer at either end
    np.testing.assert_allclose(data, -volume(made)[4:20], atol=1e-5 * data.max())
    written = read_tomograms(tmp_path / "out" / "tomograms.star")
    assert written.size_px("TS") == (96, 80, 32)
    np.testing.assert_allclose(written.tilt_series("TS").P,
                               read_tomograms(made / "tomograms.star").tilt_series("TS").P,
                               atol=1e-4)


def test_dry_run_predicts_and_writes_nothing(run, tmp_path):
    done = run(tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "units" in done.output
    assert not (tmp_path / "out").exists()


def test_bad_tilt_image_leaves_its_tomogram_out(run, tables, tmp_path):
    images = read_mrc(tables.parent / "TS.mrcs", permissive=True).data
    images[4] = np.nan
    series = make_series(TILTS, size_px=SIZE_PX, image_px=IMAGE_PX)
    given = write_series(tmp_path, series)
    raw = bytearray((tmp_path / "TS.mrcs").read_bytes())
    raw[1024:] = images.tobytes()
    (tmp_path / "TS.mrcs").write_bytes(bytes(raw))
    done = run(tmp_path / "out", "--max-bad-share", 1, given=given)
    assert done.exit_code == 3
    assert "tilt 5" in done.output
    assert not (tmp_path / "out" / "tomograms.star").exists()
    assert not list(tmp_path.glob("out/tomograms/*"))


def test_some_bad_pixels_are_warned_of(run, tables, tmp_path):
    series = make_series(TILTS, size_px=SIZE_PX, image_px=IMAGE_PX)
    given = write_series(tmp_path, series)
    raw = bytearray((tmp_path / "TS.mrcs").read_bytes())
    raw[1024:1032] = np.full(2, np.nan, "<f4").tobytes()
    (tmp_path / "TS.mrcs").write_bytes(bytes(raw))
    assert run(tmp_path / "out", given=given).exit_code == 0
    warnings = json.loads((tmp_path / "out" / "job.json").read_text())["warnings"]
    assert any("2 pixels were NaN" in text for text in warnings)


@pytest.mark.parametrize(("words", "code", "message"), [
    (["--series", "nobody"], 3, "no tomogram 'nobody'"),
    (["--size-px", "96", "--size-px", "80"], 2, "given three times"),
    (["--size-px", "96", "--size-px", "80", "--size-px", "47"], 2, "even numbers"),
    (["--voxel-A", "8"], 2, "exclude each other"),
    (["--halves", "frames"], 3, "rlnMicrographNameEven"),
    (["--binning", "0.5"], 2, "expected at least 1")])
def test_wrong_options_are_refused_in_one_line(run, tmp_path, words, code, message):
    done = run(tmp_path / "out", *words)
    assert done.exit_code == code
    assert message in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out" / "tomograms.star").exists()


def test_voxel_finer_than_the_pixel_is_refused(tables, tmp_path):
    done = CliRunner().invoke(cli, ["tomogram", "--tomograms", str(tables), "--voxel-A", "2",
                                    "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "finer than the pixel" in done.output


def test_two_axes_are_refused_by_the_ramp(run, tmp_path):
    series = make_series(TILTS, size_px=SIZE_PX, image_px=IMAGE_PX)
    P = series.P.copy()
    P[::2, :, :3] = P[::2, :, :3] @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    given = write_series(tmp_path, replace(series, P=P))
    done = run(tmp_path / "out", given=given)
    assert done.exit_code == 3
    assert "--weighting exact" in done.output
    assert run(tmp_path / "exact", "--weighting", "exact", given=given).exit_code == 0


def test_odd_sizes_become_even_and_the_move_is_told(run, tmp_path):
    series = make_series(TILTS, size_px=(97, 80, 48), image_px=IMAGE_PX)
    given = write_odd_series(tmp_path, series)
    done = run(tmp_path / "out", given=given)
    assert done.exit_code == 0, done.output
    warnings = json.loads((tmp_path / "out" / "job.json").read_text())["warnings"]
    assert any("moved by 2, 0, 0" in text for text in warnings)
    found = read_tomograms(tmp_path / "out" / "tomograms.star").reconstructed("TS")
    assert found.unbinned_size_px == (96, 80, 48)
    for xyz, _, _ in BLOBS:
        # the centre of the new coordinates is half a pixel lower in x
        at = found.index_xyz(np.array(xyz) * 4.0 + [2.0, 0, 0])
        assert np.abs(peak_xyz(volume(tmp_path / "out"), at) - at).max() <= 0.5


def test_missing_stack_is_named(run, tmp_path):
    series = make_series(TILTS, size_px=SIZE_PX, image_px=IMAGE_PX)
    given = write_series(tmp_path, series)
    (tmp_path / "TS.mrcs").unlink()
    done = run(tmp_path / "out", given=given)
    assert done.exit_code == 3
    assert "TS.mrcs" in done.output
