"""`convert`: tomograms and binning, options, what is kept of a project, refusals."""

import json
import struct

import numpy as np
import pytest
from convert_case import VOLUME, centred, in_relions_words, run
from scipy.spatial.transform import Rotation

from sta_mpi.formats.imod_model import (
    model_from_points,
    model_points_px,
    read_imod_model,
    write_imod_model,
)
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.peet_axes import read_rotation_axes
from sta_mpi.formats.peet_motive_list import HEADER, MotiveList, write_motive_list
from sta_mpi.formats.peet_prm import read_prm
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable, text_column


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Pictures take most of the time."""
    monkeypatch.setattr("sta_mpi.jobs.launch.write_job_page", lambda *_: None)
    monkeypatch.setattr("sta_mpi.jobs.convert._sections", lambda *_: [])


@pytest.fixture
def tomograms(tmp_path):
    """Two tomograms of 400 x 400 x 200 pixels of 2 Å."""
    names = ["TS_3", "TS_12"]
    for name in names:
        write_star(tmp_path / f"tilt_series/{name}.star", [StarTable(name, {
            "rlnTomoXTilt": [0.0] * 3, "rlnTomoYTilt": [-40.0, 0.0, 44.0],
            "rlnTomoZRot": [85.0] * 3, "rlnTomoXShiftAngst": [0.0] * 3,
            "rlnTomoYShiftAngst": [0.0] * 3, "rlnMicrographPreExposure": [3.0, 0.0, 6.0],
            "rlnDefocusU": [3e4] * 3, "rlnDefocusV": [3e4] * 3, "rlnDefocusAngle": [0.0] * 3})])
    write_star(tmp_path / "tomograms.star", [StarTable("global", {
        "rlnTomoName": names, "rlnVoltage": [300.0] * 2, "rlnSphericalAberration": [2.7] * 2,
        "rlnAmplitudeContrast": [0.1] * 2, "rlnTomoTiltSeriesPixelSize": [2.0] * 2,
        "rlnTomoHand": [-1.0] * 2, "rlnTomoSizeX": [400] * 2, "rlnTomoSizeY": [400] * 2,
        "rlnTomoSizeZ": [200] * 2,
        "rlnTomoTiltSeriesStarFile": [f"tilt_series/{name}.star" for name in names]})])
    return tmp_path / "tomograms.star"


def table_of(folder, rows):
    """A Dynamo table of (tomogram, x, y, z) counted from 1."""
    (folder / "t.tbl").write_text("".join(
        f"{i} 1 1 0 0 0 0 0 0 {0.1 * i} 0 0 1 -60 60 -60 60 0 0 {t} 0 {c} 0 {x} {y} {z}\n"
        for i, (t, c, x, y, z) in enumerate(rows, 1)))
    return folder / "t.tbl"


def test_binned_voxels_are_points_or_means_of_blocks(tmp_path, tomograms):
    path = table_of(tmp_path, [(3, 0, 11, 21, 31), (12, 0, 1, 1, 1)])
    words = ("--input", path, "--tomograms", tomograms, "--pixel-A", 8, "--to", "relion")
    run(*words, "-o", tmp_path / "points")
    index = np.array([10, 20, 30])
    assert np.allclose(centred(tmp_path / "points")[0], index * 8 - [400, 400, 200])
    assert np.allclose(centred(tmp_path / "points")[1], [-400, -400, -200])
    run(*words, "--binned-voxels", "blocks", "-o", tmp_path / "blocks")
    # the first block of 4 voxels has its middle at 1.5 unbinned voxels of 2 Å
    assert np.allclose(centred(tmp_path / "blocks") - centred(tmp_path / "points"), 3.0)


def test_rebinning_multiplies_positions_and_shifts(tmp_path, tomograms):
    (tmp_path / "tomo.doc").write_text("3 /x/TS_3.mrc\n")
    row = "1 1 1 1.5 -2 3 10 20 30 0.5 0 0 1 -60 60 -60 60 0 0 3 0 0 0 11 21 31\n"
    (tmp_path / "t.tbl").write_text(row)
    run("--input", tmp_path / "t.tbl", "--tomograms", tomograms, "--pixel-A", 16,
        "--output-pixel-A", 4, "--tomogram-list", tmp_path / "tomo.doc", "--to", "dynamo",
        "-o", tmp_path / "out")
    values = [float(v) for v in (tmp_path / "out/particles.tbl").read_text().split()]
    assert np.allclose(values[3:6], [6, -8, 12], atol=1e-6)
    assert np.allclose(values[23:26], np.array([10, 20, 30]) * 4 + 1, atol=1e-6)
    assert np.allclose(values[6:9], [10, 20, 30], atol=1e-6)


def test_reconstructed_volumes_of_a_set_are_what_coordinates_count(tmp_path, tomograms):
    path = table_of(tmp_path, [(3, 0, 11, 21, 31)])
    star = read_star(tomograms)
    star.first["rlnTomoTomogramBinning"] = [4.0, 4.0]
    star.first["rlnTomoReconstructedTomogram"] = text_column(["rec/TS_3.mrc", "rec/TS_12.mrc"])
    write_star(tomograms, star)
    words = ("--input", path, "--tomograms", tomograms)
    run(*words, "--to", "relion", "-o", tmp_path / "relion")
    assert np.allclose(centred(tmp_path / "relion"), np.array([10, 20, 30]) * 8 - [400, 400, 200])
    run("--optimisation-set", tmp_path / "relion/optimisation_set.star", "--to", "peet",
        "-o", tmp_path / "peet")
    model = read_imod_model(tmp_path / "peet/TS_3.mod")
    assert model.image_size_px == (100, 100, 50)
    assert np.allclose(model_points_px(model), [[10.0, 20.0, 30.0]], atol=1e-5)
    prm = read_prm(tmp_path / "peet/particles.prm")
    assert prm.strings("fnVolume")[0].endswith("rec/TS_3.mrc")
    assert np.allclose(prm.numbers("tiltRange"), [[-40.0, 44.0]])
    assert prm.number("flgWedgeWeight") == 1
    axes = read_rotation_axes(tmp_path / "peet/particles_Tom1_RotAxes.csv")
    assert np.allclose(axes, [[0.0, 0.0, 1.0]])      # our z is PEET's y


def test_volume_of_another_size_is_refused_or_put_in_the_middle(tmp_path, tomograms):
    write_imod_model(tmp_path / "TS_3.mod", model_from_points(
        [[45.0, 50.0, 25.0]], (90, 100, 50), 8.0))
    write_motive_list(tmp_path / "m.csv", MotiveList.fresh(1))
    words = ("--input", tmp_path / "m.csv", "--model", tmp_path / "TS_3.mod", "--tomograms",
             tomograms, "--to", "relion", "-o", tmp_path / "out")
    message = run(*words, code=3)
    assert "90 x 100 x 50" in message
    assert "100 x 100 x 50" in message
    run(*words, *(w for side in (90, 100, 50) for w in ("--tomogram-size-px", side)))
    assert np.allclose(centred(tmp_path / "out")[0], 0.0, atol=1e-5)


def test_offsets_are_applied_scores_limited_and_references_moved(tmp_path, tomograms):
    rows = [f"{0.1 * i},0,0,{i},0,0,0,0,0,0,1,2,3,0,0,0,0,0,0,{100 * i + 31}" for i in (1, 2, 3)]
    (tmp_path / "m.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    write_imod_model(tmp_path / "TS_3.mod", model_from_points(
        [[10.0, 20.0, 30.0]] * 3, (100, 100, 50), 8.0))
    words = ("--input", tmp_path / "m.csv", "--model", tmp_path / "TS_3.mod",
             "--tomograms", tomograms)
    run(*words, "--min-score", 0.15, "--apply-offsets", "--halves-from-class", "--to", "peet",
        "-o", tmp_path / "peet")
    points = model_points_px(read_imod_model(tmp_path / "peet/TS_3.mod"))
    assert np.allclose(points, [[11.0, 22.0, 33.0]] * 2, atol=1e-5)
    lines = (tmp_path / "peet/TS_3_initMOTL.csv").read_text().splitlines()
    assert [line.split(",")[10:13] for line in lines[1:]] == [["0", "0", "0"]] * 2
    assert [line.split(",")[-1] for line in lines[1:]] == ["31", "31"]
    # modifyMotiveList: offset += R t in the frame of the reference, then R Q^T
    run(*words, "--peet-axis", "z", *(w for v in (8, 0, -16) for w in ("--centre-A", v)),
        *(w for v in (0, 90, 0) for w in ("--rotate-deg", v)), "--to", "relion",
        "-o", tmp_path / "moved")
    table = read_star(tmp_path / "moved/particles.star")["particles"]
    assert np.allclose(table.floats("rlnOriginXAngst"), -(1 * 8 + 8))
    assert np.allclose(table.floats("rlnOriginZAngst"), -(3 * 8 - 16))
    A = in_relions_words(tmp_path / "moved/particles.star")[1]
    Q = Rotation.from_euler("ZYZ", [0, 90, 0], degrees=True).inv().as_matrix()
    assert np.allclose(A[0], Q.T, atol=1e-6)


def test_peet_project_keeps_its_other_keys_and_reports_what_is_lost(tmp_path, data_dir):
    source = data_dir / "imod_fiducial_alignment_midzone2" / "pi"
    text = (source / "pi.prm").read_text()
    lists = "{'pi-a-initMOTL.csv', 'pi-b-initMOTL.csv', 'pi-c-initMOTL.csv'}"
    (tmp_path / "pi.prm").write_text(text.replace("initMOTL = 0", f"initMOTL = {lists}").replace(
        "/pi-a.rec'}", "/pi-c.rec'}").replace("/pi-a.mod'}", "/pi-c.mod'}"))
    for name in "abc":
        original = (source / f"pi-{name if name != 'c' else 'a'}-initMOTL.csv").read_text()
        rows = len(original.splitlines()) - 1
        (tmp_path / f"pi-{name}-initMOTL.csv").write_text(original)
        write_imod_model(tmp_path / f"pi-{name}.mod", model_from_points(
            np.full((rows, 3), 30.0), (64, 64, 64), 10.0))
    run("--input", tmp_path / "pi.prm", "--to", "peet", "-o", tmp_path / "out")
    new = (tmp_path / "out/particles.prm").read_text()
    changed = ("fnVolume", "fnModParticle", "initMOTL", "fnOutput")
    kept = [line for line in (tmp_path / "pi.prm").read_text().splitlines()
            if not line.startswith(changed)]
    assert [line for line in new.splitlines() if not line.startswith(changed)] == kept
    assert json.loads((tmp_path / "out/job.json").read_text())["results"]["tomograms"] == 3
    assert (tmp_path / "out/lost.txt").read_text() == "nothing\n"


def test_initial_orientations_that_peet_makes_are_not_invented(tmp_path):
    (tmp_path / "p.prm").write_text("fnVolume = {'a.mrc'}\nfnModParticle = {'a.mod'}\n"
                                    "initMOTL = 3\nfnOutput = 'p'\n")
    assert "initMOTL" in run("--input", tmp_path / "p.prm", "--to", "dynamo", "-o",
                             tmp_path / "out", code=3)


def test_iteration_is_the_last_complete_one_or_the_one_asked_for(tmp_path):
    (tmp_path / "p.prm").write_text("fnVolume = {'a.mrc'}\nfnModParticle = {'a.mod'}\n"
                                    "initMOTL = 0\nfnOutput = 'p'\n")
    write_imod_model(tmp_path / "a.mod", model_from_points([[5.0, 5, 5]], (64, 64, 64), 10.0))
    for iteration in (1, 2):
        motives = MotiveList.fresh(1)
        motives.ccc[:] = iteration / 10
        write_motive_list(tmp_path / f"p_MOTL_Tom1_Iter{iteration}.csv", motives)
    words = ("--input", tmp_path / "p.prm", "--to", "relion")
    for n, words_of, score in ((1, (), 0.2), (2, ("--iteration", 1), 0.1)):
        run(*words, *words_of, "-o", tmp_path / f"out{n}")
        table = read_star(tmp_path / f"out{n}/particles.star")["particles"]
        assert np.allclose(table.floats("rlnAutopickFigureOfMerit"), score)
    assert "Iter7" in run(*words, "--iteration", 7, "-o", tmp_path / "out3", code=3)


def test_points_of_a_model_become_particles(tmp_path):
    points = [[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]]
    write_imod_model(tmp_path / "a.mod", model_from_points(points, (64, 64, 64), 10.0))
    run("--input", tmp_path / "a.mod", "--to", "relion", "-o", tmp_path / "out")
    assert np.allclose(centred(tmp_path / "out"), (np.array(points) - 32) * 10, atol=1e-4)


def test_optics_are_those_given_and_the_others_are_told_to_be_placeholders(tmp_path, tomograms):
    write_imod_model(tmp_path / "a.mod", model_from_points([[1.0, 2.0, 3.0]], (64, 64, 64), 10.0))
    words = ["--input", tmp_path / "a.mod", "--to", "relion", "--voltage-kV", 200, "--cs-mm", 1.4]
    run(*words, "-o", tmp_path / "out")
    for file, table in (("tomograms", "global"), ("particles", "optics")):
        row = read_star(tmp_path / f"out/{file}.star")[table]
        assert (row.floats("rlnVoltage"), row.floats("rlnSphericalAberration"),
                row.floats("rlnAmplitudeContrast")) == (200.0, 1.4, 0.1)
    told = json.loads((tmp_path / "out/job.json").read_text())["warnings"]
    assert any("amplitude_contrast (0.1) of the optics table" in line for line in told)
    assert not any("voltage_kV" in line for line in told)
    run(*words, "--amplitude-contrast", 0.07, "-o", tmp_path / "all")
    assert not json.loads((tmp_path / "all/job.json").read_text())["warnings"]
    output = run(*words, "--tomograms", tomograms, "-o", tmp_path / "no", code=2)
    assert "without tilt series" in output


@pytest.mark.parametrize(("origin", "standard", "expected"), [
    ((100.0, -50.0, 8.0), True, (-100.0, 50.0, -8.0)), ((100.0, -50.0, 8.0), False,
                                                        (100.0, -50.0, 8.0))])
def test_model_carries_the_origin_of_its_volume_in_imods_sign(tmp_path, origin, standard, expected):
    write_mrc(tmp_path / "v.mrc", np.zeros((16, 20, 24), np.float32), 10.0)
    raw = bytearray((tmp_path / "v.mrc").read_bytes())
    struct.pack_into("<3f", raw, 196, *origin)
    if not standard:
        struct.pack_into("<i", raw, 108, 0)
    (tmp_path / "v.mrc").write_bytes(raw)
    path = table_of(tmp_path, [(3, 0, 11, 11, 11)])
    run("--input", path, "--tomogram", tmp_path / "v.mrc", "--tomogram-name", "3=v",
        "--to", "peet", "-o", tmp_path / "out")
    model = read_imod_model(tmp_path / "out/v.mod")
    assert model.minx.origin == expected
    assert model.minx.file_origin == expected
    assert model.image_size_px == (24, 20, 16)
    assert np.allclose(model_points_px(model), [[10.0, 10.0, 10.0]])


def test_markers_show_position_and_axis(tmp_path, tomograms):
    path = table_of(tmp_path, [(3, 0, 11, 21, 31), (3, 0, 1, 1, 1)])
    run("--input", path, "--tomograms", tomograms, "--pixel-A", 8, "--to", "markers",
        "-o", tmp_path / "out")
    cmm = (tmp_path / "out/particles_TS_3.cmm").read_text()
    assert 'x="80.000" y="160.000" z="240.000"' in cmm
    bild = (tmp_path / "out/particles_TS_3.bild").read_text()
    assert ".arrow 80.000 160.000 240.000 80.000 160.000 340.000" in bild


def test_relion_4_coordinates_count_unbinned_pixels_from_the_corner(tmp_path, tomograms):
    path = table_of(tmp_path, [(3, 0, 11, 21, 31)])
    run("--input", path, "--tomograms", tomograms, "--pixel-A", 8, "--to", "relion4",
        "-o", tmp_path / "out")
    table = read_star(tmp_path / "out/particles.star").first
    assert np.allclose([table.floats(f"rlnCoordinate{x}")[0] for x in "XYZ"], [40, 80, 120])


def test_real_relion_4_file_is_the_same_with_and_without_its_tomograms(tmp_path, data_dir):
    path = data_dir / "formats_motive_lists/cryocat/motl_data/relion_4.0.star"
    sizes = [w for side in (4000, 4000, 2000) for w in ("--tomogram-size-px", side)]
    run("--input", path, *sizes, "--to", "relion", "-o", tmp_path / "alone")
    run("--particles", path, "--tomograms", tmp_path / "alone/tomograms.star", "--to", "relion",
        "-o", tmp_path / "set")
    assert np.allclose(centred(tmp_path / "alone"), centred(tmp_path / "set"), atol=1e-5)
    angles = [in_relions_words(tmp_path / f"{name}/particles.star")[1] for name in ("alone", "set")]
    assert np.abs(angles[0] - angles[1]).max() < 1e-6
    assert "rlnImageName" in (tmp_path / "alone/lost.txt").read_text()
    run("--optimisation-set", tmp_path / "alone/optimisation_set.star", "--to", "relion4",
        "-o", tmp_path / "back")
    old = read_star(path)["particles"]
    new = read_star(tmp_path / "back/particles.star").first
    for label in ("rlnCoordinateX", "rlnCoordinateZ", "rlnOriginYAngst", "rlnAngleTilt"):
        # numbers have 5 or 6 decimals
        assert np.abs(new.floats(label) - old.floats(label)).max() < 2e-5


def test_real_em_map_becomes_an_mrc_of_the_same_voxels(tmp_path, data_dir):
    path = data_dir / "maps_emdb_small/emd_1480.map.em_bin_4.em"
    run("--input", path, "--pixel-A", 7.5, "--to", "mrc", "-o", tmp_path / "out")
    map_ = read_mrc(tmp_path / "out" / f"{path.stem}.mrc")
    values = np.frombuffer(path.read_bytes()[512:], "<f4").reshape(42, 42, 42)
    assert np.array_equal(map_.data, values)
    assert map_.voxel_A == pytest.approx(7.5)
    assert "--pixel-A" in run("--input", path, "--to", "mrc", "-o", tmp_path / "no", code=2)


# ---- refusals

@pytest.mark.parametrize(("words", "code", "what"), [
    (("--pixel-A", "8"), 3, "size of its volume is not known"),
    (VOLUME[2:], 3, "voxel of its volume is not known"),
    ((*VOLUME, "--tomogram-name", "5=x"), 3, "no such tomogram"),
    ((*VOLUME, "--tomogram-name", "5"), 2, "OLD=NEW"),
    ((*VOLUME, "--min-score", "9"), 3, "best score"),
    ((*VOLUME, "--halves-from-class"), 3, "not a half-set"),
    ((*VOLUME, "--first-voxel", "2"), 2, "expected at most 1"),
    (("--pixel-A", "8", "--tomogram-size-px", "4"), 2, "three numbers")])
def test_ambiguous_input_is_refused(tmp_path, words, code, what):
    path = table_of(tmp_path, [(3, 44, 11, 21, 31)])
    output = run("--input", path, *words, "--to", "relion", "-o", tmp_path / "out", code=code)
    assert what in output.replace("\n", " ")
    assert not (tmp_path / "out/particles.star").exists()


def test_unknown_tomogram_of_a_set_is_refused_with_its_names(tmp_path, tomograms):
    path = table_of(tmp_path, [(5, 0, 11, 21, 31)])
    words = ("--input", path, "--tomograms", tomograms, "--pixel-A", 8, "--to", "relion",
             "-o", tmp_path / "out")
    assert "TS_3, TS_12" in run(*words, code=3)
    run(*words, "--tomogram-name", "5=TS_12")


def test_two_tables_at_once_are_refused(tmp_path):
    path = table_of(tmp_path, [(5, 0, 11, 21, 31)])
    assert "one by one" in run("--input", path, "--input", path, *VOLUME, "--to", "em",
                               "-o", tmp_path / "out", code=2)


def test_motive_list_of_another_model_is_refused(tmp_path):
    write_imod_model(tmp_path / "a.mod", model_from_points([[5.0, 5, 5]], (64, 64, 64), 10.0))
    write_motive_list(tmp_path / "m.csv", MotiveList.fresh(2))
    assert "pIndex 2" in run("--input", tmp_path / "m.csv", "--model", tmp_path / "a.mod",
                             "--to", "relion", "-o", tmp_path / "out", code=3)


@pytest.mark.parametrize("ending", ["tbl", "em", "star", "csv", "prm", "xyz"])
def test_files_that_hold_something_else_are_refused(tmp_path, ending):
    (tmp_path / f"x.{ending}").write_bytes(b"\x00\x01 not what it says\n" * 40)
    run("--input", tmp_path / f"x.{ending}", "--to", "relion", "-o", tmp_path / "out",
        code=2 if ending in ("csv", "xyz") else 3)
