"""Tomogram sets: geometry against RELION's own matrices, tables that survive, refusals."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import relion_cases as cases

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.relion_tomograms import TomogramSet, even_sizes, read_tomograms
from sta_mpi.formats.star import read_star, write_star

PROJECTS = ("Tomograms/job006", "Denoise/job008", "CtfRefine/job027", "Polish/job030")


def make(folder, **columns):
    return read_tomograms(cases.write_project(folder, cases.global_table(**columns),
                                              [cases.tilt_table()]))


@pytest.fixture
def ts54(tmp_path):
    """The RELION 5 and RELION 4 forms of three tilts that RELION wrote in both."""
    angles = np.array([(0.0, *columns) for columns, _ in cases.RELION_TS_54])
    matrices = np.array([rows + [[0, 0, 0, 1]] for _, rows in cases.RELION_TS_54])
    table = cases.global_table(["TS_54"], cases.TS_54_SIZE, cases.TS_54_PIXEL_A,
                               rlnTomoTiltSeriesName=["stack.mrc"])
    tilts = cases.tilt_table("TS_54", angles=angles)
    cases.sparse_mrc(tmp_path / "stack.mrc", (3, *cases.TS_54_IMAGE[::-1]), cases.TS_54_PIXEL_A)
    five = cases.write_project(tmp_path, table, [tilts])
    four = cases.write_relion4(tmp_path / "four.star", table, [tilts], [matrices])
    return read_tomograms(five), read_tomograms(four)


def test_angles_and_matrices_that_relion_wrote_give_one_projection(ts54):
    five, four = (tomograms.tilt_series("TS_54") for tomograms in ts54)
    # Angles carry 6 decimals: 1e-8 rad, 1e-4 px over a lever of 3000 px.
    np.testing.assert_allclose(five.rotation, four.rotation, atol=1e-7)
    np.testing.assert_allclose(five.P[:, :, 3] / 1.35, four.P[:, :, 3] / 1.35, atol=1e-3)
    assert four.image_size_px == cases.TS_54_IMAGE
    assert np.abs(five.P[:, :2, 3]).max() > 5  # the shifts are not trivially zero


def test_tomogram_points_land_where_relions_matrix_puts_them(ts54):
    _, four = ts54
    series = four.tilt_series("TS_54")
    corner_px = np.array([[0, 0, 0], [2000, 2000, 1500], [3999, 12, 700.5]])
    xyz_A = (corner_px - np.array(cases.TS_54_SIZE) / 2) * 1.35
    matrices = np.array([rows for _, rows in cases.RELION_TS_54])
    expected = np.einsum("fij,pj->pfi", matrices[:, :2, :3], corner_px) + matrices[:, :2, 3]
    np.testing.assert_allclose(series.position_px(xyz_A), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(400, 300, 200), (401, 300, 201), (401, 301, 201)])
@pytest.mark.parametrize("image", [(128, 96), (127, 97)])
def test_projection_follows_relions_rule_of_halves(tmp_path, size, image):
    tilts = cases.tilt_table(n=5)
    for i in range(5):
        cases.sparse_mrc(tmp_path / f"frames/TS_01_{i}.mrc", (1, *image[::-1]), 2.0)
    path = cases.write_project(tmp_path, cases.global_table(size=size), [tilts])
    series = read_tomograms(path).tilt_series("TS_01")
    assert series.image_size_px == image
    rng = np.random.default_rng(5)
    centred_A = rng.uniform(-150, 150, (7, 3))
    p = centred_A / 2.0 + np.array(size) / 2.0
    p_c = np.array(size) / 2.0
    for f in range(5):
        angles = [tilts.floats(f"rlnTomo{name}")[f] for name in (
            "XTilt", "YTilt", "ZRot", "XShiftAngst", "YShiftAngst")]
        matrix = cases.relion_projection(angles, size, image, 2.0)
        q = p @ matrix[:3, :3].T + matrix[:3, 3]
        centre_depth = matrix[2, :3] @ p_c + matrix[2, 3]
        # Files carry 5 or 6 decimals of angles and shifts; half-pixel errors would be 0.25 and up.
        np.testing.assert_allclose(series.position_px(centred_A)[:, f], q[:, :2], atol=2e-5)
        np.testing.assert_allclose(series.depth_A(centred_A)[:, f], (q[:, 2] - centre_depth) * 2.0,
                                   atol=4e-5)


def test_relion4_without_images_keeps_orientations_and_warns(ts54, tmp_path):
    (tmp_path / "stack.mrc").unlink()
    with pytest.warns(InputWarning, match="shifts of RELION 4"):
        series = read_tomograms(tmp_path / "four.star").tilt_series("TS_54")
    assert series.image_size_px is None
    assert not series.has_positions
    assert np.isnan(series.P[:, :2, 3]).all()
    np.testing.assert_allclose(series.rotation, ts54[0].tilt_series("TS_54").rotation, atol=1e-7)


def test_relion4_set_is_written_in_the_form_of_relion5(ts54, tmp_path):
    ts54[1].write(tmp_path / "out" / "tomograms.star")
    tilts = read_star(tmp_path / "out/tilt_series/TS_54.star").first
    assert "rlnTomoProjX" not in tilts
    again = read_tomograms(tmp_path / "out" / "tomograms.star").tilt_series("TS_54")
    np.testing.assert_allclose(again.P, ts54[1].tilt_series("TS_54").P, atol=1e-5)


def test_optional_columns_reach_the_tilt_series(tmp_path):
    path = cases.write_project(tmp_path, cases.global_table(
        rlnTomoDefocusSlope=[0.9], rlnCtfBfactorPerElectronDose=[4.0],
        rlnOpticsGroupName=["optics7"]), [cases.tilt_table(
            rlnPhaseShift=[0.0, 10.0, 20.0], rlnCtfScalefactor=[0.6, 1.0, 0.6],
            rlnCtfBfactor=[100.0, 0.0, 50.0])])
    series = read_tomograms(path).tilt_series("TS_01")
    assert (series.hand, series.defocus_slope, series.b_factor_per_dose_A2) == (-1, 0.9, 4.0)
    assert series.optics == replace(Optics(300.0, 2.7, 0.1, "optics7"),
                                    even_zernike=series.optics.even_zernike,
                                    odd_zernike=series.optics.odd_zernike)
    assert series.phase_shift_deg.tolist() == [0, 10, 20]
    assert series.ctf_scale.tolist() == [0.6, 1.0, 0.6]
    assert series.ctf_b_factor_A2.tolist() == [100, 0, 50]
    assert series.pre_dose_e_per_A2.tolist() == [0, 3, 6]
    assert series.image_names[1] == "frames/TS_01_1.mrc"
    assert series.tomogram_size_px == (400, 300, 200)


def test_absent_optional_columns_mean_relions_defaults(tmp_path):
    series = make(tmp_path).tilt_series("TS_01")
    assert (series.defocus_slope, series.b_factor_per_dose_A2) == (1.0, 0.0)
    assert series.ctf_scale.tolist() == [1, 1, 1]
    assert series.phase_shift_deg.tolist() == [0, 0, 0]
    assert series.optics.name == "TS_01"


@pytest.mark.parametrize(("change", "message"), [
    ({"size": None}, "rlnTomoSizeX, rlnTomoSizeY, rlnTomoSizeZ missing"),
    ({"size": (400, 0, 200)}, r"size \[400, 0, 200\] px"),
    ({"size": (400, -999, 200)}, r"size \[400, -999, 200\] px"),
    ({"rlnTomoHand": [0.0]}, "rlnTomoHand is 0, expected 1 or -1"),
    ({"rlnTomoTiltSeriesPixelSize": [0.0]}, "rlnTomoTiltSeriesPixelSize is 0 Å"),
    ({"rlnVoltage": ["nan"]}, "rlnVoltage is nan")])
def test_wrong_global_values_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        make(tmp_path, **change).tilt_series("TS_01")


def test_missing_tilt_columns_are_named(tmp_path):
    tilts = cases.tilt_table()
    tilts.drop("rlnDefocusU")
    path = cases.write_project(tmp_path, cases.global_table(), [tilts])
    with pytest.raises(InputError, match="column rlnDefocusU is missing"):
        read_tomograms(path).tilt_series("TS_01")
    tilts = cases.tilt_table()
    tilts.drop("rlnTomoYTilt")
    path = cases.write_project(tmp_path, cases.global_table(), [tilts])
    with pytest.raises(InputError, match="not aligned"):
        read_tomograms(path).tilt_series("TS_01")


def test_unknown_and_repeated_tomograms_are_named(tmp_path):
    tomograms = make(tmp_path)
    with pytest.raises(InputError, match=r"no tomogram 'TS_2' \(1 names: TS_01\)"):
        tomograms.tilt_series("TS_2")
    with pytest.raises(InputError, match="TS_01 more than once"):
        TomogramSet(cases.global_table(["TS_01", "TS_01"]))


def test_first_dose_above_zero_and_deformations_are_warned_of(tmp_path):
    path = cases.write_project(tmp_path, cases.global_table(), [cases.tilt_table(
        rlnMicrographPreExposure=[3.0, 6.0, 9.0],
        rlnTomoDeformationCoefficients=["[0,1]", "[0,0]", "[0,0]"])])
    with pytest.warns(InputWarning) as caught:
        read_tomograms(path).tilt_series("TS_01")
    text = " ".join(str(w.message) for w in caught)
    assert "smallest rlnMicrographPreExposure is 3" in text
    assert "deformations" in text


def test_image_pixel_that_differs_from_the_table_is_warned_of(tmp_path):
    cases.sparse_mrc(tmp_path / "frames/TS_01_0.mrc", (1, 8, 8), 1.0)
    with pytest.warns(InputWarning, match="pixel 1.0000 Å in the header, 2.0000 Å"):
        make(tmp_path).tilt_series("TS_01")


def test_only_what_changed_is_written_differently(tmp_path):
    tilts = cases.tilt_table(rlnUnknown=["a b", "c", ""], rlnDefocusU=["30000.1234567"] * 3)
    table = cases.global_table(rlnMyColumn=["kept"])
    tomograms = read_tomograms(cases.write_project(tmp_path, table, [tilts]))
    series = tomograms.tilt_series("TS_01")
    defocus = series.defocus_u_A.copy()
    defocus[1] = 31234.5
    P = series.P.copy()
    P[2, 0, 3] += 1.25
    changed = tomograms.with_tilt_series([replace(series, defocus_u_A=defocus, P=P)])
    changed.write(tmp_path / "new" / "tomograms.star")
    old, new = tilts, read_star(tmp_path / "new/tilt_series/TS_01.star")["TS_01"]
    assert new.labels == old.labels
    assert new.strings("rlnDefocusU").tolist() == ["30000.1234567", "31234.500000",
                                                   "30000.1234567"]
    assert new.strings("rlnUnknown").tolist() == ["a b", "c", ""]
    for label in ("rlnTomoYTilt", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst"):
        assert (new.strings(label) == old.strings(label))[:2].all()
    moved = new.floats("rlnTomoXShiftAngst")[2] - old.floats("rlnTomoXShiftAngst")[2]
    assert moved == pytest.approx(1.25, abs=2e-5)  # negative numbers carry 5 decimals
    assert read_star(tmp_path / "new/tomograms.star")["global"].value("rlnMyColumn") == "kept"
    # The set it was made from is as before.
    assert tomograms.tilt_series("TS_01").defocus_u_A[1] == pytest.approx(30000.1234567)


def test_set_made_of_tilt_series_alone_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    series = []
    for k, name in enumerate(("a", "b")):
        base = make(tmp_path / name).tilt_series("TS_01")
        series.append(replace(
            base, name=name, hand=1 - 2 * k, defocus_slope=1.0 - 0.1 * k,
            ctf_scale=rng.uniform(0.5, 1, 3), optics=Optics(200.0, 2.0, 0.07, name)))
    TomogramSet.from_tilt_series(series).write("job/tomograms.star")
    again = read_tomograms("job/tomograms.star")
    assert again.table.value("rlnTomoTiltSeriesStarFile") == "job/tilt_series/a.star"
    for ts in series:
        new = again.tilt_series(ts.name)
        assert (new.hand, new.defocus_slope, new.optics.voltage_kV) == (
            ts.hand, ts.defocus_slope, 200.0)
        np.testing.assert_allclose(new.P, ts.P, atol=1e-5)
        np.testing.assert_allclose(new.ctf_scale, ts.ctf_scale, atol=5e-7)


def test_set_without_sizes_or_ctf_is_written_all_the_same(tmp_path):
    tilts = cases.tilt_table()
    tilts.drop("rlnDefocusU", "rlnDefocusV")
    path = cases.write_project(tmp_path, cases.global_table(size=None), [tilts])
    read_tomograms(path).write(tmp_path / "new/tomograms.star")
    assert read_tomograms(tmp_path / "new/tomograms.star").tilt_table("TS_01").n_rows == 3


def test_odd_sizes_are_refused_on_writing_and_made_even_without_a_shift(tmp_path):
    tomograms = make(tmp_path, size=(401, 300, 201))
    with pytest.raises(InputError, match="rlnTomoSizeX of TS_01 is 401 px, an odd size"):
        tomograms.write(tmp_path / "new/tomograms.star")
    assert not (tmp_path / "new").exists()
    even, moves = even_sizes(tomograms)
    assert even.size_px("TS_01") == (400, 300, 200)
    np.testing.assert_array_equal(moves["TS_01"], [1.0, 0.0, 1.0])
    old, new = tomograms.tilt_series("TS_01"), even.tilt_series("TS_01")
    xyz_A = np.random.default_rng(1).uniform(-99, 99, (5, 3))
    before = np.einsum("fij,pj->pfi", old.P[:, :2, :3], xyz_A) + old.P[:, :2, 3]
    after = np.einsum("fij,pj->pfi", new.P[:, :2, :3], xyz_A + moves["TS_01"]) + new.P[:, :2, 3]
    np.testing.assert_allclose(after, before, atol=1e-9)
    # RELION's angles and shifts do not change at all: its rotation centre is the same voxel.
    even.write(tmp_path / "new/tomograms.star")
    old_table = tomograms.tilt_table("TS_01")
    new_table = read_star(tmp_path / "new/tilt_series/TS_01.star").first
    for label in ("rlnTomoYTilt", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst"):
        np.testing.assert_allclose(new_table.floats(label), old_table.floats(label), atol=1.1e-5)


@pytest.mark.parametrize("size", [(400, 300, 200), (401, 301, 201)])
def test_ten_write_and_read_cycles_do_not_drift(tmp_path, size):
    tomograms = make(tmp_path, size=size)
    if size[0] % 2:
        tomograms = even_sizes(tomograms)[0]
    first = tomograms.tilt_series("TS_01").P
    for i in range(10):
        series = tomograms.tilt_series("TS_01")
        nudged = replace(series, P=series.P + 1e-4 * (-1) ** i * np.eye(3, 4, 3))
        tomograms.with_tilt_series([nudged]).write(tmp_path / f"{i}/tomograms.star")
        tomograms = read_tomograms(tmp_path / f"{i}/tomograms.star")
    # Every cycle rewrites shifts with 5 or 6 decimals: at most 10 roundings of 5e-6 Å.
    np.testing.assert_allclose(tomograms.tilt_series("TS_01").P, first, atol=5e-5)


def test_lost_tilt_file_says_where_it_was_looked_for(tmp_path):
    path = cases.write_project(tmp_path, cases.global_table(), [])
    with pytest.raises(InputError, match=r"tilt_series/TS_01.star' not found .looked in"):
        read_tomograms(path).tilt_series("TS_01")


def test_job_copied_out_of_its_project_still_opens(tmp_path):
    table = cases.global_table(rlnTomoTiltSeriesStarFile=["Tomo/job006/tilt_series/TS_01.star"])
    path = cases.write_project(tmp_path, table, [cases.tilt_table()])
    with pytest.warns(InputWarning, match="is used instead"):
        assert read_tomograms(path).tilt_series("TS_01").n_tilts == 3


@pytest.mark.parametrize("job", PROJECTS)
def test_real_relion5_set_reads_and_comes_back(data_dir, tmp_path, job):
    path = data_dir / "relion5_empiar10164_hiv" / job / "tomograms.star"
    tomograms = read_tomograms(path)
    tomograms.write(tmp_path / "tomograms.star")
    again = read_tomograms(tmp_path / "tomograms.star")
    assert again.names == ["TS_01", "TS_03", "TS_43", "TS_45", "TS_54"]
    for name, n in zip(again.names, (40, 40, 41, 41, 41), strict=True):
        old, new = tomograms.tilt_series(name), again.tilt_series(name)
        assert old.n_tilts == n
        assert (old.hand, old.pixel_A, old.tomogram_size_px) == (-1, 1.35, (4000, 4000, 2000))
        np.testing.assert_array_equal(new.P, old.P)
        np.testing.assert_array_equal(new.defocus_u_A, old.defocus_u_A)
        # The matrices are rotations, and the tilt is the one of the stage up to its offset.
        np.testing.assert_allclose(old.rotation @ old.rotation.transpose(0, 2, 1),
                                   np.tile(np.eye(3), (n, 1, 1)), atol=1e-12)
        stage = tomograms.tilt_table(name).floats("rlnTomoNominalStageTiltAngle")
        tilt = np.degrees(np.arcsin(-old.rotation[:, 2, 0]))
        offset = tilt - stage  # one tilt of TS_45 was aligned 5 degrees away from the stage
        assert np.median(np.abs(offset - np.median(offset))) < 0.3
        assert old.image_size_px is None
    files = sorted((tmp_path / "tilt_series").iterdir())
    for file in files:
        theirs = read_star(path.parent / "tilt_series" / file.name) if (
            path.parent / "tilt_series" / file.name).exists() else None
        if theirs is not None:
            mine = read_star(file).first
            assert mine.labels == theirs.first.labels
            assert all((mine.strings(label) == theirs.first.strings(label)).all()
                       for label in mine.labels)


def test_real_warp_export_reads_with_orientations_alone(data_dir, tmp_path):
    path = next((data_dir / "particles_empiar10499_warp_70S").glob("*tomograms.star"))
    tomograms = read_tomograms(path)
    with pytest.warns(InputWarning, match="shifts of RELION 4"):
        series = [tomograms.tilt_series(name) for name in tomograms.names]
    assert [ts.n_tilts for ts in series] == [37] * 4
    for ts in series:
        proj = np.stack([np.array(tomograms.tilt_table(ts.name).vectors(label))
                         for label in ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")], axis=1)
        np.testing.assert_array_equal(ts.rotation, proj[:, :, :3])
        assert ts.optics.amp_contrast == 0.07
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        tomograms.write(tmp_path / "tomograms.star")
        again = read_tomograms(tmp_path / "tomograms.star")
        np.testing.assert_array_equal(again.tilt_series(ts.name).rotation, ts.rotation)


def test_real_project_with_one_tilt_file_reads_that_series(data_dir):
    folder = data_dir / "formats_motive_lists/pytom_relion5"
    with pytest.warns(InputWarning, match="is used instead"):
        series = read_tomograms(folder / "tomograms.star").tilt_series("tomo200528_107")
    assert series.n_tilts == 35
    assert (series.pixel_A, series.optics.voltage_kV) == (1.724, 200.0)


def test_tilts_can_be_selected_and_a_wrong_number_is_refused_on_writing(tmp_path):
    tomograms = make(tmp_path)
    fewer = tomograms.tilt_series("TS_01").select_tilts(np.array([0, 2]))
    assert isinstance(fewer, TiltSeries)
    with pytest.raises(InputError, match="3 tilts in the table, 2 in the series"):
        tomograms.with_tilt_series([fewer])


def test_files_with_an_unnamed_global_table_are_read(tmp_path):
    path = cases.write_project(tmp_path, cases.global_table(), [cases.tilt_table()])
    write_star(path, [cases.global_table().copy(name="")])
    assert read_tomograms(path).tilt_series("TS_01").n_tilts == 3
