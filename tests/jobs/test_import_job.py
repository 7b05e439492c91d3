"""`import` from files to a project: points land where IMOD, Warp and AreTomo put them, every value
is the file's or the option's, and what nobody gave is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.import_values import order_of_views

pytestmark = pytest.mark.usefixtures("empty_figures")

TILTS = np.array([-40.0, -20.0, 0.5, 20.0, 40.0])
SIZE, PIXEL_A = (64, 50), 6.0
OPTICS = ("--voltage-kV", "300", "--cs-mm", "2.7", "--amplitude-contrast", "0.07")
SERIES = "tiltseries_empiar10499_00254"
BEADS_A = np.array([    # of series 00254, found in a back-projection with tilts below 20 degrees
    [2244, 704, 849], [2108, 852, 870], [-1502, 1527, 928], [-2121, 1630, 927], [-535, 288, 808],
    [2406, -1285, 626], [577, 2893, -587], [-816, 1988, -720], [134, -1106, -1005],
    [-1259, -1103, -1063], [-2503, -711, -1067]], float)


def invoke(*words):
    """Run `import` in this process."""
    return CliRunner().invoke(cli, ["import", *map(str, words), "--quiet"], prog_name="sta-mpi")


def imported(*words):
    """The tomograms that a run which must succeed wrote."""
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    return read_tomograms(words[-1] / "tomograms.star")


def refused(message, *words):
    """A run that must end in one line."""
    result = invoke(*words)
    assert result.exit_code in (2, 3), result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning")]
    assert len(lines) == 1, result.stderr
    assert message in lines[0]
    assert not (words[-1] / "tomograms.star").exists()


@pytest.fixture
def etomo(tmp_path):
    """A folder as Etomo leaves it: stack, transforms, angles, defocus, tilt.com, mdoc."""
    folder = tmp_path / "TS_01"
    folder.mkdir()
    rng = np.random.default_rng(1)
    write_mrc(folder / "TS_01.st", rng.normal(0, 1, (5, SIZE[1], SIZE[0])).astype(np.float32),
              PIXEL_A)
    turn = np.radians(85.0)
    c, s = np.cos(turn), np.sin(turn)
    shifts = rng.normal(0, 3, (5, 2))
    (folder / "TS_01.xf").write_text("".join(
        f"{c:12.7f}{s:12.7f}{-s:12.7f}{c:12.7f}{x:12.3f}{y:12.3f}\n" for x, y in shifts))
    (folder / "TS_01.tlt").write_text("".join(f"{t:7.2f}\n" for t in TILTS))
    (folder / "TS_01.xtilt").write_text("   1.50\n" * 5)
    (folder / "TS_01.defocus").write_text("1 1 -40 -40 2000 2\n" + "".join(
        f"{i} {i} 0 0 {2000 + 10 * i}\n" for i in range(2, 6)))
    (folder / "tilt.com").write_text("$setenv X\n$tilt -StandardInput\nTHICKNESS 120\n"
                                     "XAXISTILT -2.0\nOFFSET 1.0\nEXCLUDELIST 5\n")
    (folder / "TS_01.st.mdoc").write_text("Voltage = 300\n\n" + "".join(
        f"[ZValue = {i}]\nTiltAngle = {t}\nExposureDose = 3\n"
        f"DateTime = 30-Nov-15  15:{minute}:00\n\n"
        for i, (t, minute) in enumerate(zip(TILTS, (50, 30, 10, 20, 40), strict=True))))
    return folder


REST = ("--binning", "1", "--hand", "-1", "--cs-mm", "2.7", "--amplitude-contrast", "0.07")


def test_points_of_an_etomo_folder_land_where_the_documented_formula_puts_them(etomo, tmp_path):
    ts = imported("--input", etomo, *REST, "-o", tmp_path / "out").tilt_series("TS_01")
    rows = np.loadtxt(etomo / "TS_01.xf")
    points = np.random.default_rng(2).uniform(-100, 100, (20, 3))
    expected = []
    for row, tilt in zip(rows[:4], np.radians(TILTS[:4] + 1.0), strict=True):    # OFFSET 1
        A, d = row[:4].reshape(2, 2), row[4:]
        x, y, z = points.T / PIXEL_A + 0.5            # from IMOD's centre of the volume [px]
        a = np.radians(1.5 - 2.0)                      # .xtilt and XAXISTILT
        y, z = y * np.cos(a) - z * np.sin(a), y * np.sin(a) + z * np.cos(a)
        aligned = np.stack([x * np.cos(tilt) + z * np.sin(tilt), y])
        expected.append(np.linalg.solve(A, aligned - d[:, None]).T + (np.array(SIZE) - 1) / 2)
    found = ts.position_px(points)
    # The written angles and shifts have 5 or 6 digits: 1e-5 degrees and Å over 100 Å.
    np.testing.assert_allclose(found, np.stack(expected, 1), atol=1e-4)


def test_every_value_of_an_etomo_folder_is_that_of_its_file(etomo, tmp_path):
    tomograms = imported("--input", etomo, *REST, "-o", tmp_path / "out")
    ts = tomograms.tilt_series("TS_01")
    assert ts.n_tilts == 4                                          # view 5 is in EXCLUDELIST
    assert ts.tomogram_size_px == (64, 50, 120)
    assert (ts.optics.voltage_kV, ts.optics.cs_mm, ts.hand) == (300, 2.7, -1)
    np.testing.assert_allclose(ts.pre_dose_e_per_A2, [12, 6, 0, 3])
    np.testing.assert_allclose(ts.defocus_u_A, [20000, 20200, 20300, 20400])
    assert ts.image_names[1].startswith("2@")
    assert ts.image_names[1].endswith("TS_01.st")
    page = (tmp_path / "out" / "report.html").read_text()
    for source in ("TS_01.xf", "TS_01.tlt", "tilt.com", "TS_01.st.mdoc", "TS_01.defocus",
                   "--binning", "--hand"):
        assert source in page
    assert json.loads((tmp_path / "out" / "job.json").read_text())["results"]["tilts"] == 4
    members = read_optimisation_set(tmp_path / "out" / "optimisation_set.star")
    assert members.tomograms is not None


def test_tilt_axis_half_a_turn_from_the_microscopes_is_told(etomo, tmp_path):
    path = etomo / "TS_01.st.mdoc"
    for nominal, is_told in ((84.1, False), (-95.0, True)):
        text = f"[T =     Tilt axis angle = {nominal}, binning = 1  spot = 8]\n"
        path.write_text(path.read_text().replace("[ZValue = 0]", f"{text}\n[ZValue = 0]", 1))
        out = tmp_path / str(nominal)
        imported("--input", etomo, *REST, "-o", out)
        warnings = " ".join(json.loads((out / "job.json").read_text())["warnings"])
        assert ("mirror image" in warnings) == is_told
        path.write_text(path.read_text().replace(text, ""))


def test_mended_dose_goes_to_the_project_and_to_a_copy_of_the_mdoc(etomo, tmp_path):
    ts = imported("--input", etomo, *REST, "--dose-per-tilt-e-per-A2", "2.4", "-o", tmp_path / "out"
                  ).tilt_series("TS_01")
    np.testing.assert_allclose(ts.pre_dose_e_per_A2, [9.6, 4.8, 0, 2.4], atol=1e-6)
    copy = (tmp_path / "out" / "mdoc" / "TS_01.mdoc").read_text()
    assert copy == (etomo / "TS_01.st.mdoc").read_text().replace("Dose = 3", "Dose = 2.4")


def test_binned_stack_keeps_points_at_their_place_in_angstrom(etomo, tmp_path):
    one = imported("--input", etomo, *REST, "-o", tmp_path / "one").tilt_series("TS_01")
    binned = ("--pixel-A", "12", "--binning", "2", *REST[2:])
    two = imported("--input", etomo, *binned, "-o", tmp_path / "two").tilt_series("TS_01")
    point = np.array([30.0, -20.0, 40.0])
    # Both centres are the true ones: half a pixel of 12 or of 6 Å from the centre pixel, and from
    # the centre voxel, which at a tilt do not cancel.
    a = one.P[:, :2, :3] @ (point - 3.0) + one.P[:, :2, 3] + 3.0
    b = two.P[:, :2, :3] @ (point - 6.0) + two.P[:, :2, 3] + 6.0
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert two.tomogram_size_px == (64, 50, 60)


def test_mirrored_import_sees_the_mirrored_point_at_the_same_place(etomo, tmp_path):
    plain = imported("--input", etomo, *REST, "-o", tmp_path / "a").tilt_series("TS_01")
    mirrored = imported("--input", etomo, *REST, "--mirror-z", "-o", tmp_path / "b"
                        ).tilt_series("TS_01")
    point = np.array([30.0, -20.0, 40.0])
    np.testing.assert_allclose(mirrored.position_px(point * [1, 1, -1]), plain.position_px(point),
                               atol=1e-4)
    np.testing.assert_allclose(mirrored.defocus_offset_A(point * [1, 1, -1]),
                               plain.defocus_offset_A(point), atol=1e-3)
    assert mirrored.hand == -plain.hand


def test_real_warp_series_keeps_its_gold_beads_under_their_positions(data_dir, tmp_path):
    folder = data_dir / SERIES
    words = ("--input", folder / "00254.xml", "--stack", folder / "00254.stack_x16.mrc.gz",
             "--copy-stacks", "--grey-scale", "0.0625", "--thickness-A", "3000",
             "--exclude-tilts", "40-41")
    ts = imported(*words, "--mirror-z", "-o", tmp_path / "out").tilt_series("00254")
    assert (ts.n_tilts, ts.pixel_A, ts.hand) == (39, 10.0, 1)
    assert (ts.optics.voltage_kV, ts.optics.cs_mm, ts.optics.amp_contrast) == (300, 2.7, 0.1)
    with open_stack(tmp_path / "out" / "tilt_images" / "00254.mrcs") as stack:
        images = stack[:]
    assert images[20].mean() == pytest.approx(39.836, abs=0.01)
    right = darkness(images, ts.position_px(BEADS_A))
    turned = ts.position_px(BEADS_A)
    axis = np.radians(2 * 4.3)      # the axis at +4.3 instead of -4.3 degrees, about the centre
    centre = np.array([326, 315])
    turn = np.array([[np.cos(axis), -np.sin(axis)], [np.sin(axis), np.cos(axis)]])
    wrong = darkness(images, (turned - centre) @ turn.T + centre)
    mirrored = darkness(images, ts.position_px(BEADS_A * [1, 1, -1]))
    # A bead of 100 Å is about 3 deviations of a pixel darker than the ice.
    assert np.median(right) > 2.5
    assert np.mean(right > 1.5) > 0.9
    assert np.mean(wrong > 1.5) < 0.3
    assert np.mean(mirrored > 1.5) < 0.3


def darkness(images, at_px):
    """Mean of 3 x 3 pixels at (n, t, 2) positions, deviations of a pixel below what is around."""
    values = []
    for t, image in enumerate(images):
        scale = 1.4826 * np.median(np.abs(image - np.median(image)))
        for x, y in np.round(at_px[:, t]).astype(int):
            if 20 < x < image.shape[1] - 20 and 20 < y < image.shape[0] - 20:
                around = image[y - 20:y + 21, x - 20:x + 21]
                values.append((np.median(around) - image[y - 1:y + 2, x - 1:x + 2].mean()) / scale)
    return np.array(values)


def test_xf_and_xml_of_the_real_series_see_one_specimen(data_dir, tmp_path):
    """Two alignments of one series: positions of the beads agree within some tens of Å."""
    folder = data_dir / SERIES
    common = ("--stack", folder / "00254.stack_x16.mrc.gz", "--copy-stacks", "--thickness-A",
              "3000", "--exclude-tilts", "40-41")
    warp = imported("--input", folder / "00254.xml", *common, "--mirror-z", "-o", tmp_path / "a")
    imod = imported("--input", folder / "xf_import" / "00254.xf", *common, "--binning", "1",
                    "--hand", "1", *OPTICS, "--dose-per-tilt-e-per-A2", "3", "--tilt-order",
                    "dose-symmetric+", "--defocus-A", "18000", "-o", tmp_path / "b")
    a, b = warp.tilt_series("00254"), imod.tilt_series("00254")
    difference = (a.position_px(BEADS_A) - b.position_px(BEADS_A)) * 10.0
    difference -= np.median(difference, axis=(0, 1))
    assert np.sqrt((difference ** 2).sum(-1).mean()) < 40
    assert np.abs(difference).max() < 80
    assert np.argmin(b.pre_dose_e_per_A2) == 20


def test_images_are_found_from_tables_that_later_jobs_write_elsewhere(etomo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tomograms = imported("--input", "TS_01", *REST, "--copy-stacks", "-o", Path("made"))
    tomograms.write(tmp_path / "later" / "job" / "tomograms.star")
    monkeypatch.chdir("/")
    ts = read_tomograms(tmp_path / "later" / "job" / "tomograms.star").tilt_series("TS_01")
    assert ts.image_size_px == SIZE


def test_relion_project_comes_with_its_particles_and_all_else(data_dir, tmp_path):
    source = data_dir / "relion5_empiar10164_hiv" / "Refine3D" / "job023"
    tomograms = imported("--input", source / "run_optimisation_set.star", "-o", tmp_path / "out")
    members = read_optimisation_set(source / "run_optimisation_set.star")
    original = read_tomograms(members.tomograms)
    particles = read_particles(tmp_path / "out" / "particles.star", tomograms)
    before = read_particles(members.particles, original)
    assert len(particles) == 9442
    np.testing.assert_array_equal(particles.xyz_A, before.xyz_A)
    np.testing.assert_array_equal(particles.R_p2t, before.R_p2t)
    for name in original.names:
        np.testing.assert_array_equal(tomograms.tilt_series(name).P, original.tilt_series(name).P)
        assert set(tomograms.tilt_table(name).labels) == set(original.tilt_table(name).labels)


def test_exported_imod_files_come_back_as_the_same_projections(etomo, tmp_path):
    first = imported("--input", etomo, *REST, "--copy-stacks", "--export-imod", "-o",
                     tmp_path / "a").tilt_series("TS_01")
    again = imported(
        "--input", tmp_path / "a" / "imod" / "TS_01.xf", "--stack",
        tmp_path / "a" / "tilt_images" / "TS_01.mrcs", *REST, "--voltage-kV", "300",
        "--thickness-A", "720", "--dose-per-tilt-e-per-A2", "3", "--tilt-order", "stack", "-o",
        tmp_path / "b").tilt_series("TS_01")
    # Angles are written with 2 decimals (0.005 degrees), over 200 Å of radius.
    np.testing.assert_allclose(again.position_px(BEADS_A / 12), first.position_px(BEADS_A / 12),
                               atol=0.01)
    np.testing.assert_allclose(again.defocus_u_A, first.defocus_u_A, atol=0.51)


def test_relion_4_export_of_warp_keeps_matrices_without_images_and_converts_its_coordinates(
        data_dir, tmp_path):
    folder = data_dir / "particles_empiar10499_warp_70S"
    [source] = folder.glob("*_optimisation_set.star")
    tomograms = imported("--input", source, "--coordinate-pixel-A", "12", "-o", tmp_path / "out")
    members = read_optimisation_set(source)
    original = read_tomograms(members.tomograms)
    before = read_particles(members.particles, original, coordinate_pixel_A=12)
    after = read_particles(tmp_path / "out" / "particles.star", tomograms)
    np.testing.assert_allclose(after.xyz_A, before.xyz_A, atol=1e-4)
    for name in original.names:
        np.testing.assert_array_equal(tomograms.tilt_series(name).rotation,
                                      original.tilt_series(name).rotation)


def test_odd_tomograms_of_relion_become_even_and_particles_stay_on_their_pixels(data_dir, tmp_path):
    source = data_dir / "relion5_empiar10164_hiv" / "Refine3D" / "job023"
    members = read_optimisation_set(source / "run_optimisation_set.star")
    original = read_tomograms(members.tomograms)
    size = original.size_px("TS_01")
    star = (tmp_path / "tomograms.star")
    original.write(tmp_path / "even.star")
    text = (tmp_path / "even.star").read_text()
    star.write_text(text.replace(f" {size[0]} ", f" {size[0] + 1} "))
    odd = read_tomograms(star)
    assert odd.size_px("TS_01")[0] == size[0] + 1
    tomograms = imported("--input", star, "--particles", members.particles, "-o", tmp_path / "out")
    before = read_particles(members.particles, odd)
    after = read_particles(tmp_path / "out" / "particles.star", tomograms)
    assert tomograms.size_px("TS_01")[0] == size[0]
    a, b = odd.tilt_series("TS_01"), tomograms.tilt_series("TS_01")
    rows = np.flatnonzero(before.i_tomo == 0)[:50]
    old = np.einsum("fij,nj->nfi", a.P[:, :2, :3], before.xyz_A[rows]) + a.P[:, :2, 3]
    new = np.einsum("fij,nj->nfi", b.P[:, :2, :3], after.xyz_A[rows]) + b.P[:, :2, 3]
    np.testing.assert_allclose(new, old, atol=1e-4)
    assert np.abs(after.xyz_A - before.xyz_A).max() == pytest.approx(0.675, abs=1e-5)


def test_real_relion_5_series_of_another_program_is_taken_as_it_is(data_dir, tmp_path):
    """One row of a project whose other tilt tables are not at hand."""
    folder = data_dir / "formats_motive_lists" / "pytom_relion5"
    lines = (folder / "tomograms.star").read_text().splitlines()
    kept = [line.replace("Tomograms/job009/", "") for line in lines
            if "tomo200528" not in line or "_107 " in line]
    (tmp_path / "tomograms.star").write_text("\n".join(kept) + "\n")
    (tmp_path / "tilt_series").mkdir()
    (tmp_path / "tilt_series" / "tomo200528_107.star").write_bytes(
        (folder / "tilt_series" / "tomo200528_107.star").read_bytes())
    found = imported("--input", tmp_path / "tomograms.star", "-o", tmp_path / "out")
    original = read_tomograms(tmp_path / "tomograms.star")
    np.testing.assert_array_equal(found.tilt_series("tomo200528_107").P,
                                  original.tilt_series("tomo200528_107").P)
    refused("not found", "--input", folder / "tomograms.star", "-o", tmp_path / "no")


def test_command_file_of_another_series_is_not_used(etomo, tmp_path):
    text = (etomo / "tilt.com").read_text()
    (etomo / "tilt.com").write_text(text + "InputProjections other.ali\n")
    words = ("--input", etomo, *REST)
    refused("size of the tomogram", *words, "-o", tmp_path / "no")
    ts = imported(*words, "--thickness-A", "600", "-o", tmp_path / "out").tilt_series("TS_01")
    assert ts.n_tilts == 5
    warnings = json.loads((tmp_path / "out" / "job.json").read_text())["warnings"]
    assert "is of other.ali and is not used" in warnings[0]


def test_aretomo_rows_become_axis_tilt_and_shift(tmp_path):
    write_mrc(tmp_path / "T.mrcs", np.ones((5, 20, 24), np.float32), 4.0)
    (tmp_path / "T.aln").write_text(
        "# AreTomo Alignment / Priims bprmMn\n# RawSize = 24 20 5\n# NumPatches = 0\n"
        "# DarkFrame =  0  0  -9.00\n" + "".join(
            f"{i}  -12.5 1.0 {2.0 * i} {-i} 1 1 1 0 {-6 + 3 * i}\n" for i in range(1, 5))
        + "# Local Alignment\n0 0 1 1 1 1 1\n")
    words = ("--input", tmp_path / "T.aln", "--binning", "2", "--hand", "-1", *OPTICS,
             "--thickness-A", "80", "--defocus-A", "2e4", "--dose-per-tilt-e-per-A2", "2",
             "--tilt-order", "stack")
    refused("--first-section", *words, "-o", tmp_path / "no")
    ts = imported(*words, "--first-section", "0", "-o", tmp_path / "out").tilt_series("T")
    assert [name.partition("@")[0] for name in ts.image_names] == ["2", "3", "4", "5"]
    np.testing.assert_allclose(ts.pre_dose_e_per_A2, [2, 4, 6, 8])
    # RELION's rule: ZRot = ROT, YTilt = TILT, shift = (TX, TY) in the pixel of the alignment, 2 Å.
    np.testing.assert_allclose(ts.P[:, :2, 3], [[4, -2], [8, -4], [12, -6], [16, -8]], atol=1e-4)
    np.testing.assert_allclose(np.degrees(np.arctan2(-ts.P[:, 0, 1], ts.P[:, 1, 1])), -12.5,
                               atol=1e-4)
    np.testing.assert_allclose(np.degrees(np.arcsin(-ts.P[:, 2, 0])), [-3, 0, 3, 6], atol=1e-4)


def test_dose_symmetric_order_goes_outward_from_zero():
    tilts = np.array([-6.0, -3.0, 0.1, 3.0, 6.0])
    np.testing.assert_array_equal(order_of_views(tilts, "dose-symmetric+"), [2, 3, 1, 4, 0])
    np.testing.assert_array_equal(order_of_views(tilts, "dose-symmetric-"), [2, 1, 3, 0, 4])
    np.testing.assert_array_equal(order_of_views(tilts[::-1], "dose-symmetric+"), [2, 1, 3, 0, 4])


def test_several_series_come_in_by_a_pattern(etomo, tmp_path):
    second = tmp_path / "TS_02"
    second.mkdir()
    for path in etomo.iterdir():
        (second / path.name.replace("TS_01", "TS_02")).write_bytes(path.read_bytes())
    tomograms = imported("--input", tmp_path / "TS_*", *REST, "--exclude-tilts", "TS_02: 1-2",
                         "-o", tmp_path / "out")
    assert tomograms.names == ["TS_01", "TS_02"]
    assert [tomograms.tilt_series(name).n_tilts for name in tomograms.names] == [4, 2]


@pytest.mark.parametrize(("drop", "message"), [
    ("--binning", "Give --binning"), ("--hand", "Give --hand"), ("--cs-mm", "Give it with --cs-mm"),
    ("--amplitude-contrast", "--amplitude-contrast")])
def test_value_that_nobody_gave_is_asked_for(etomo, tmp_path, drop, message):
    words = list(REST)
    at = words.index(drop)
    refused(message, "--input", etomo, *words[:at], *words[at + 2:], "-o", tmp_path / "out")


@pytest.mark.parametrize(("name", "message"), [
    ("TS_01.tlt", "no tilt angles"), ("TS_01.defocus", "no CTF"), ("TS_01.st.mdoc", "voltage"),
    ("TS_01.xf", "no alignment"), ("TS_01.st", "no tilt stack"),
    ("tilt.com", "size of the tomogram")])
def test_missing_file_is_named(etomo, tmp_path, name, message):
    (etomo / name).unlink()
    refused(message, "--input", etomo, *REST, "-o", tmp_path / "out")


@pytest.mark.parametrize(("name", "old", "new", "message"), [
    ("TS_01.tlt", "  20.00\n", "", "4 views, expected 5"),
    ("TS_01.xtilt", "   1.50\n", "", "4 views, expected 5"),
    ("TS_01.tlt", "20.00", "nan", "NaN or Inf"),
    ("TS_01.defocus", "5 5 0 0", "6 6 0 0", "row of view 6, expected at most 5"),
    ("TS_01.defocus", "1 1 -40 -40 2000 2\n", "", "no row covers view 1"),
    ("TS_01.st.mdoc", "ExposureDose = 3", "ExposureDose = 0", "ExposureDose is 0"),
    ("TS_01.st.mdoc", "TiltAngle = 40.0", "TiltAngle = 70.0", "are not those of the series"),
    ("TS_01.st.mdoc", "[ZValue = 4]", "[Other]", "4 views, expected 5"),
    ("tilt.com", "EXCLUDELIST 5", "EXCLUDELIST 9", "names view 9"),
    ("tilt.com", "EXCLUDELIST 5", "EXCLUDELIST 1-5", "all views are excluded"),
    ("tilt.com", "XAXISTILT -2.0", "XAXISTILT much", "expected numbers")])
def test_damaged_file_of_an_etomo_folder_is_refused(etomo, tmp_path, name, old, new, message):
    text = (etomo / name).read_text()
    assert old in text
    (etomo / name).write_text(text.replace(old, new, 1))
    refused(message, "--input", etomo, *REST, "-o", tmp_path / "out")


@pytest.mark.parametrize(("doses", "message"), [
    ("0 0 0 0 0", "was never set"), ("0 3 6 9", "4 doses, expected 5"),
    ("0 3 -6 9 12", "line 3: dose -6"), ("0 3 inf 9 12", "NaN or Inf")])
def test_wrong_doses_are_refused(etomo, tmp_path, doses, message):
    (tmp_path / "dose.txt").write_text(doses.replace(" ", "\n"))
    refused(message, "--input", etomo, *REST, "--dose-file", tmp_path / "dose.txt", "-o",
            tmp_path / "out")


@pytest.mark.parametrize(("words", "message"), [
    (("--input", "nothing_*"), "no file or folder"),
    (("--input", "TS_01", *REST, "--exclude-tilts", "9"), "names view 9"),
    (("--input", "TS_01", *REST, "--exclude-tilts", "1-5"), "leaves no view"),
    (("--input", "TS_01", *REST, "--exclude-tilts", "x"), "no view number"),
    (("--input", "TS_01", *REST, "--stack", "{name}.none"), "no file TS_01.none"),
    (("--input", "TS_01/TS_01.st", *REST), "expected a folder or one of .xf"),
    (("--input", "TS_01", *REST, "--tomogram-size-px", "5"), "three numbers"),
    (("--input", "TS_01", *REST, "--particles", "p.star"), "particles does not go with"),
    (("--input", "TS_01", *REST, "--input", "w.xml"), "Import one kind at a time")])
def test_wrong_options_are_refused(etomo, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.xml").write_text("<TiltSeries/>")
    refused(message, *words, "-o", tmp_path / "out")


def test_unsorted_angles_and_shifts_off_the_image_are_told(etomo, tmp_path):
    (etomo / "TS_01.tlt").write_text("-20\n-40\n0.5\n20\n40\n")
    rows = np.loadtxt(etomo / "TS_01.xf")
    rows[:, 4] += 500
    np.savetxt(etomo / "TS_01.xf", rows, "%.5f")
    result = invoke("--input", etomo, *REST, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    warnings = " ".join(json.loads((tmp_path / "out" / "job.json").read_text())["warnings"])
    assert "do not rise or fall throughout (view 1 to 2" in warnings
    assert "off the image in 4 of 4 views" in warnings
