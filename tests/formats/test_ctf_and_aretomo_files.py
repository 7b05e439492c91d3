"""CTF tables (.defocus, CTFFIND, Gctf) and AreTomo alignments: real files, rows, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.aretomo import read_aln, sections_of_stack
from sta_mpi.formats.ctf_tables import read_ctf_table
from sta_mpi.formats.imod_defocus import (
    ASTIGMATISM,
    ASTIGMATISM_RADIANS,
    CUT_ON,
    PHASE,
    PHASE_RADIANS,
    DefocusTable,
    defocus_of_views,
    read_defocus,
    write_defocus,
)

LISTS = "formats_motive_lists"
ALN = """# AreTomo Alignment / Priims bprmMn
# RawSize = 100 80 5
# NumPatches = 0
# DarkFrame =     0    1   -9.00
# AlphaOffset =     1.50
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
    1   -12.6611    1.00000     24.786     -2.677     1.00     1.00     1.00     0.00    -6.00
    2   -12.6611    1.00000     34.451     -8.599     1.00     1.00     1.00     0.00    -3.00
    3   -12.6611    1.00000      9.951     -7.690     1.00     1.00     1.00     0.00     0.00
    4   -12.6611    1.00000      5.538     -2.504     1.00     1.00     1.00     0.00     3.00
"""


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_real_defocus_files_are_written_back_byte_for_byte(data_dir, tmp_path, number):
    path = data_dir / LISTS / "empiar10064_susan" / f"mixedCTEM_tomo{number}.defocus"
    table = read_defocus(path)
    write_defocus(tmp_path / "a.defocus", table)
    assert (tmp_path / "a.defocus").read_bytes() == path.read_bytes()
    assert table.version == (2 if number < 3 else 3)


def test_defocus_is_in_angstrom_and_belongs_to_its_view(data_dir):
    folder = data_dir / LISTS / "empiar10064_susan"
    table = read_ctf_table(folder / "mixedCTEM_tomo3.defocus", 59)
    assert table.defocus_u_A[0] == pytest.approx(31033)
    assert table.defocus_v_A[0] == pytest.approx(28551)
    assert table.astig_deg[0] == pytest.approx(-15.04)
    plain = read_ctf_table(folder / "mixedCTEM_tomo1.defocus", 58)
    np.testing.assert_array_equal(plain.defocus_u_A, plain.defocus_v_A)
    assert plain.defocus_u_A[0] == 23170


def test_all_columns_of_version_3_are_read_in_the_units_of_the_flags(tmp_path):
    flags = ASTIGMATISM | ASTIGMATISM_RADIANS | PHASE | PHASE_RADIANS | CUT_ON
    (tmp_path / "a.defocus").write_text(
        f"{flags} 0 0. 0. 0. 3\n1 1 -3 -3 2000 1800 0.5 1.5707963 0.02\n"
        "2 2 0 0 2100 1900 0.5 1.5707963 0.02\n")
    table = read_defocus(tmp_path / "a.defocus")
    np.testing.assert_allclose(table.defocus_2_A, [18000, 19000])
    np.testing.assert_allclose(table.astig_deg, np.degrees(0.5))
    np.testing.assert_allclose(table.phase_shift_deg, 90, atol=1e-5)
    np.testing.assert_allclose(table.cut_on_per_nm, 0.02)


def test_rows_of_several_views_hold_for_their_middle(tmp_path):
    (tmp_path / "a.defocus").write_text("1 3 -6 0 2000 2\n2 6 -3 9 2200\n")
    views = defocus_of_views(read_defocus(tmp_path / "a.defocus"), 6, "a.defocus")
    np.testing.assert_allclose(views.defocus_1_A, [20000, 20000, 21000, 22000, 22000, 22000])


def test_astigmatism_between_rows_is_interpolated_as_an_axis(tmp_path):
    """Axes at 80 and -80 degrees are 20 degrees apart, so the one between is at 90, not at 0."""
    (tmp_path / "a.defocus").write_text("1 0 0. 0. 0. 3\n1 1 0 0 2100 1900 80\n3 3 6 6 2100 1900 "
                                        "-80\n")
    views = defocus_of_views(read_defocus(tmp_path / "a.defocus"), 3, "a.defocus")
    assert abs(views.astig_deg[1]) == pytest.approx(90)
    assert views.astig_deg[0] == 80
    # Two vectors 40 degrees apart (doubled angle) have a mean shortened by cos(20 degrees).
    delta_A = views.defocus_1_A[1] - views.defocus_2_A[1]
    assert delta_A == pytest.approx(2000 * np.cos(np.radians(20)))


@pytest.mark.parametrize(("text", "message"), [
    ("", "empty"),
    ("1 1 0 0 2000 7\n", "expected a row of version 2 or the header of version 3"),
    ("64 0 0. 0. 0. 3\n1 1 0 0 2000\n", "flags 64"),
    ("1 0 0. 0. 0. 4\n1 1 0 0 2000 2000 5\n", "version 4"),
    ("1 0 0. 0. 0. 3\n1 1 0 0 2000\n", "line 2: 5 values, expected 7"),
    ("1 0 0. 0. 0. 3\n", "no rows"),
    ("1 1 0 0 nan 2\n", "NaN or Inf"),
    ("0 1 0 0 2000 2\n", "views 0 to 1"),
    ("2 1 0 0 2000 2\n", "views 2 to 1"),
    ("1 1.5 0 0 2000 2\n", "views 1 to 1.5"),
    ("1 1 0 0 2000 2\n1 1 0 0 2000\n", "row 2: its views do not follow"),
    ("1 1 0 0 2000 2\n2 2000000000 0 0 2000\n", "expected rising whole numbers"),
])
def test_damaged_defocus_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.defocus").write_text(text)
    with pytest.raises(InputError, match=message):
        read_defocus(tmp_path / "a.defocus")


def test_views_beyond_the_stack_or_missing_at_its_ends_are_refused(tmp_path):
    (tmp_path / "a.defocus").write_text("1 1 0 0 2000 2\n2 2 3 3 2000\n5 5 6 6 2000\n")
    with pytest.raises(InputError, match="row of view 5, expected at most 4"):
        read_ctf_table(tmp_path / "a.defocus", 4)
    with pytest.raises(InputError, match="no row covers view 6"):
        read_ctf_table(tmp_path / "a.defocus", 6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-9e3, 9e4), st.floats(-9e3, 9e4),
                          st.floats(-179, 179)), min_size=1, max_size=5),
       st.sampled_from([0, ASTIGMATISM, ASTIGMATISM | PHASE]))
def test_defocus_tables_survive_within_their_digits(tmp_path_factory, rows, flags):
    a = np.array(rows)
    n = len(a)
    views = np.arange(1, n + 1)
    second = a[:, 2] if flags & ASTIGMATISM else a[:, 1]
    table = DefocusTable(np.stack([views, views], 1), np.stack([a[:, 0]] * 2, 1), a[:, 1], second,
                         a[:, 3] * bool(flags & ASTIGMATISM), a[:, 3] * bool(flags & PHASE), None,
                         3, flags)
    path = tmp_path_factory.mktemp("d") / "a.defocus"
    write_defocus(path, table)
    found = read_defocus(path)
    assert found.flags == flags
    np.testing.assert_allclose(found.defocus_1_A, table.defocus_1_A, atol=0.5001)   # 0.1 nm
    np.testing.assert_allclose(found.defocus_2_A, table.defocus_2_A, atol=0.5001)
    np.testing.assert_allclose(found.astig_deg, table.astig_deg, atol=0.005001)
    np.testing.assert_allclose(found.phase_shift_deg, table.phase_shift_deg, atol=0.005001)


def test_ctffind_and_gctf_agree_with_their_own_text(data_dir):
    folder = data_dir / LISTS / "cryocat" / "TS_017"
    ctffind = read_ctf_table(folder / "017_ctffind4.txt", 60)
    assert (ctffind.defocus_u_A[0], ctffind.astig_deg[1]) == (14477.870117, -84.116628)
    gctf = read_ctf_table(folder / "017_gctf.star", 60)
    assert (gctf.defocus_u_A[0], gctf.defocus_v_A[0], gctf.astig_deg[0]) == (
        35268.359375, 35036.406250, 21.260185)
    aretomo = read_ctf_table(data_dir / LISTS / "aretomo" / "test_CTF.txt", 3)
    np.testing.assert_array_equal(aretomo.defocus_v_A, [24469.37, 23547.11, 19469.25])
    star = read_ctf_table(data_dir / LISTS / "pytom_relion5" / "tilt_series"
                          / "tomo200528_107.star", 35)
    assert star.defocus_u_A.min() > 1e4


@pytest.mark.parametrize(("text", "n", "message"), [
    ("1 2e4 2e4 0 0 0.1 5\n3 2e4 2e4 0 0 0.1 5\n", 2, "a view is missing"),
    ("1 2e4 2e4 0 0 0.1 5\n", 2, "CTF of 1 views, expected 2"),
    ("1 2e4 inf 0 0 0.1 5\n", 1, "NaN or Inf"),
    ("1 2e4\n", 1, "2 values, expected 7"),
    ("# nothing\n", 1, "no rows"),
])
def test_damaged_ctf_text_is_refused(tmp_path, text, n, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_ctf_table(tmp_path / "a.txt", n)


def test_failed_resolution_estimates_do_not_stop_reading(tmp_path):
    (tmp_path / "a.txt").write_text("1 2e4 1.9e4 10 0.5 0.1 inf\n")
    assert read_ctf_table(tmp_path / "a.txt", 1).phase_shift_deg[0] == np.degrees(0.5)


def test_real_aretomo_file_is_read_with_dark_frames_and_local_rows(data_dir):
    found = read_aln(data_dir / LISTS / "aretomo" / "test.aln")
    assert (found.image_size_px, found.n_images, found.n_local) == ((2032, 2032), 90, 6)
    np.testing.assert_array_equal(found.dark_tilt_deg, [-66.0, -64.5, 66.0, 67.5])
    np.testing.assert_array_equal(found.shift_px[0], [24.786, -2.677])
    np.testing.assert_array_equal(found.tilt_deg, [-61.5, -60.0, -58.5, -57.0])
    with pytest.raises(InputError, match="--first-section"):
        sections_of_stack(found, 90, "test.aln")


def test_sections_are_counted_from_what_the_numbers_say_or_the_caller(tmp_path):
    (tmp_path / "a.aln").write_text(ALN)
    found = read_aln(tmp_path / "a.aln")
    assert found.alpha_offset_deg == 1.5
    np.testing.assert_array_equal(sections_of_stack(found, 5, "a.aln", 0), [1, 2, 3, 4])
    np.testing.assert_array_equal(sections_of_stack(found, 5, "a.aln", 1), [0, 1, 2, 3])
    (tmp_path / "a.aln").write_text(ALN.replace("    4   -12", "    5   -12"))
    np.testing.assert_array_equal(sections_of_stack(read_aln(tmp_path / "a.aln"), 5, "a.aln"),
                                  [0, 1, 2, 4])
    (tmp_path / "a.aln").write_text(ALN.replace("    1   -12", "    0   -12"))
    np.testing.assert_array_equal(sections_of_stack(read_aln(tmp_path / "a.aln"), 5, "a.aln"),
                                  [0, 2, 3, 4])
    with pytest.raises(InputError, match="stack of 5 images, this one has 7"):
        sections_of_stack(found, 7, "a.aln")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("# AreTomo", "# Nothing", "expected '# AreTomo"),
    ("-6.00", "nan", "NaN or Inf"),
    ("    2   -12.6611", "    1   -12.6611", "repeated"),
    ("    2   -12.6611", "  2.5   -12.6611", "no whole numbers"),
    ("     0.00    -6.00", "     0.00", "9 values, expected 10"),
    ("# RawSize = 100 80 5\n", "", "0 values, expected 3"),
])
def test_damaged_aretomo_files_are_refused(tmp_path, old, new, message):
    assert old in ALN
    (tmp_path / "a.aln").write_text(ALN.replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        read_aln(tmp_path / "a.aln")
