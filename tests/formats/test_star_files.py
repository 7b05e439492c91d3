"""STAR reading and writing: RELION's dialect, odd files, random files."""

import gzip
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.errors import FormatError, InputError, InputWarning, StaMpiError
from sta_mpi.formats import star_rows
from sta_mpi.formats.star import StarFile, read_star, write_star
from sta_mpi.formats.star_numbers import format_numbers
from sta_mpi.formats.star_table import StarTable, format_vectors, make_list, text_column

GOLDEN = """\

# version 50001

data_general

_rlnTomoSubTomosAre2DStacks                       1
_rlnName                               ""
~

# version 50001

data_particles

loop_~
_rlnTomoName #1~
_rlnAngleRot #2~
_rlnClassNumber #3~
_rlnNote #4~
     TS_01   167.689240            1 "two words"~
     TS_02   -164.55358           12      plain~
~
""".replace("~", " ")  # RELION leaves a blank at these line ends


def star_of(tmp_path, text):
    path = tmp_path / "a.star"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_star(path)


def test_written_bytes_are_the_dialect(tmp_path):
    tables = [
        make_list("general", {"rlnTomoSubTomosAre2DStacks": True, "rlnName": ""}),
        StarTable("particles", {
            "rlnTomoName": ["TS_01", "TS_02"], "rlnAngleRot": [167.68924, -164.553581],
            "rlnClassNumber": [1, 12], "rlnNote": ["two words", "plain"]})]
    write_star(tmp_path / "a.star", tables)
    assert (tmp_path / "a.star").read_text() == GOLDEN


def test_golden_text_is_read_and_written_back_to_the_byte(tmp_path):
    star = star_of(tmp_path, GOLDEN)
    assert star.names == ["general", "particles"]
    assert [t.is_loop for t in star] == [False, True]
    assert star["particles"].strings("rlnNote").tolist() == ["two words", "plain"]
    assert star["general"].value("rlnName") == ""
    write_star(tmp_path / "b.star", star)
    assert (tmp_path / "b.star").read_text() == GOLDEN


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0.000000"), (-0.0, "0.000000"), (1.0, "1.000000"), (-1.0, "-1.00000"),
    (0.001, "0.001000"), (0.00099999, "9.999900e-04"), (-0.0005, "-5.00000e-04"),
    (1e5, "100000.00000"), (100000.5, "1.000005e+05"), (-123456.0, "-1.23456e+05"),
    (99999.999999, "99999.999999"), (-99999.5, "-99999.50000"), (1904831.4, "1.904831e+06"),
    (1776.5066639, "1776.506664"), (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_number_is_written_as_relion_writes_it(value, text):
    assert format_numbers(np.array([value])).tolist() == [text.encode()]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_written_numbers_keep_six_decimals_or_digits(values):
    for value, text in zip(values, format_numbers(np.array(values)).tolist(), strict=True):
        assert len(text) <= (13 if b"e" in text else 12)
        back = float(text)
        # Fixed form: half of the 5th decimal (negative) or of the one that 12 characters leave.
        bound = 5.1e-6 if 1e-3 <= abs(value) <= 1e5 else 5.1e-6 * abs(value)
        assert abs(back - value) <= max(bound, 1e-300)


def test_one_row_loop_stays_a_loop_and_a_list_a_list(tmp_path):
    star = star_of(tmp_path, "data_a\nloop_\n_x #1\n_y #2\n1 2\ndata_b\n_x 1\n_y 2\n")
    assert [t.is_loop for t in star] == [True, False]
    write_star(tmp_path / "b.star", star)
    again = read_star(tmp_path / "b.star")
    assert [t.is_loop for t in again] == [True, False]
    assert [t.n_rows for t in again] == [1, 1]


@pytest.mark.parametrize("text", [
    "data_\nloop_\n_x\n_y\n1 2\n3 4",
    "\ufeffdata_\n".replace("\ufeff", "") + "loop_\n_x #1 \n_y #2 \n\n1 2 \n\n 3\t4\n\n\n",
    "# made by hand\ndata_\n\nloop_ \n_x #1\n# a comment\n_y #2\n1 2\n# 9 9\n3 4\n",
    "data_\r\nloop_\r\n_x\r\n_y\r\n1 2\r\n3 4\r\n",
    "data_\nloop_\n_x\n_y\n'1' \"2\"\n3 4\n"])
def test_tolerated_forms_of_one_table_read_alike(tmp_path, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        star = star_of(tmp_path, text)
    table = star.first
    assert table.name == ""
    assert table.is_loop
    assert table.integers("x").tolist() == [1, 3]
    assert table.integers("y").tolist() == [2, 4]


def test_carriage_returns_with_line_feeds_are_warned_of(tmp_path):
    with pytest.warns(InputWarning, match="CR LF"):
        star_of(tmp_path, "data_\r\n_x 1\r\n")


@pytest.mark.parametrize(("text", "message"), [
    ("data_\r_x 1\r", "line 1: a carriage return without a line feed"),
    ("hello\n", "line 1: 'hello' before the first data_ line"),
    ("data_a\nloop_\n1 2\n", "loop without labels"),
    ("data_a\nloop_\n_x\n_y\n1 2\n1\n", "line 6: 1 values in a row, expected 2"),
    ("data_a\nloop_\n_x\n_y\n1 2 3\n", "line 5: 3 values in a row, expected 2"),
    ("data_a\nloop_\n_x\n_y\n1 'two\n", "line 5: a quote is opened"),
    ("data_a\nloop_\n_x\n1\nloop_\n_y\n2\n", "line 5: a second loop"),
    ("data_a\n_x 1\nloop_\n_y\n2\n", "line 3: a second loop or a list"),
    ("data_a\nloop_\n_x\n_x\n1 2\n", "the label x twice"),
    ("data_a\n_x 1 2\n", "x has 2 values"),
    ("data_a\n_ 1\n", "label without a name"),
    ("data_a b\n", "table name with blanks"),
    ("data_a\nstray\n", "'stray' is neither"),
    (b"data_a\n_x \x00\n", "byte 0x00"),
    (b"data_a\n_x 1\x0c\n", "byte 0x0c"),
])
def test_damaged_text_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        star_of(tmp_path, text)


def test_blank_lines_and_other_tables_end_a_loop_without_loss(tmp_path):
    star = star_of(tmp_path, "data_a\nloop_\n_x\n1\n\n2\n\n# version 50001\n\ndata_b\n_y 3\n")
    assert star["a"].integers("x").tolist() == [1, 2]
    assert star["a"].version == 30000
    assert star["b"].version == 50001


def test_rows_that_start_like_keywords_survive(tmp_path):
    names = ["data_1", "loop_", "_x", "#5", "'quote", '"double', "a'b", ";text", "data_"]
    table = StarTable("t", {"name": names, "n": list(range(len(names)))})
    write_star(tmp_path / "a.star", [table])
    assert read_star(tmp_path / "a.star")["t"].strings("name").tolist() == names


def test_missing_table_and_column_are_named(tmp_path):
    star = star_of(tmp_path, "data_a\nloop_\n_x\n1\n")
    with pytest.raises(InputError, match=r"no table 'b'; it has a\."):
        star["b"]
    with pytest.raises(InputError, match="column y is missing; it has x"):
        star["a"].floats("y")
    with pytest.raises(InputError, match="No such file"):
        read_star(tmp_path / "none.star")


def test_wrong_values_are_named_with_their_row(tmp_path):
    star = star_of(tmp_path, "data_a\nloop_\n_x\n_v\n1 [1,2]\n1.5 [1,b]\nnan x\nabc 1\n")
    table = star["a"]
    with pytest.raises(FormatError, match="row 4: x is 'abc'"):
        table.floats("x")
    with pytest.raises(FormatError, match="row 2: v holds"):
        table.vectors("v")
    with pytest.raises(FormatError, match=r"row 2: x is 1\.5, expected an integer"):
        table.select([0, 1]).integers("x")
    with pytest.raises(InputError, match="row 1: x is nan"):
        table.select([2]).finite("x")


def test_vectors_round_trip_with_twelve_digits(tmp_path):
    rows = [np.array([0.1, -2.0, 1e-9]), np.array([1 / 3, 1e10])]
    write_star(tmp_path / "a.star", [StarTable("t", {"v": format_vectors(rows)})])
    back = read_star(tmp_path / "a.star")["t"].vectors("v")
    for old, new in zip(rows, back, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-11)


def test_only_changed_numbers_lose_their_text():
    table = StarTable("t", {"x": text_column(["1.23456789", "2", "nan"])})
    table.update_numbers("x", np.array([1.23456789, 2.5, np.nan]))
    assert table.strings("x").tolist() == ["1.23456789", "2.500000", "nan"]


def test_selecting_rows_and_dropping_columns_leave_the_source_alone():
    table = StarTable("t", {"x": [1, 2, 3], "y": ["a", "b", "c"]})
    part = table.select([2, 0])
    part.drop("x", "absent")
    assert part.strings("y").tolist() == ["c", "a"]
    assert table.labels == ["x", "y"]


def test_gz_is_unpacked_and_damage_named(tmp_path):
    path = tmp_path / "a.star.gz"
    path.write_bytes(gzip.compress(b"data_a\n_x 1\n"))
    assert read_star(path)["a"].number("x") == 1
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(FormatError, match="gz"):
        read_star(path)


def test_texts_that_star_cannot_hold_are_refused(tmp_path):
    for text in ("two\nlines", "both \"a b\" and 'c d'"):
        with pytest.raises(InputError, match="cannot hold"):
            write_star(tmp_path / "a.star", [StarTable("t", {"x": [text]})])
    with pytest.raises(ValueError, match="cannot be a name"):
        write_star(tmp_path / "a.star", [StarTable("t", {"bad label": [1]})])
    assert not (tmp_path / "a.star").exists()


def test_chunk_borders_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    names = np.array([f"TS_{i}/{'x' * (i % 7)}" if i % 5 else "two words" for i in range(400)])
    table = StarTable("particles", {"rlnName": names, "rlnX": rng.normal(size=400)})
    path = tmp_path / "a.star"
    write_star(path, [table, make_list("end", {"n": 7})])
    whole = read_star(path)
    for size in (1, 37, 500, 4000):
        monkeypatch.setattr(star_rows, "CHUNK_BYTES", size)
        monkeypatch.setattr(star_rows, "CHUNK_ROWS", size)
        parts = read_star(path)
        assert parts["particles"].strings("rlnName").tolist() == names.tolist()
        assert parts["particles"].columns["rlnX"].tolist() == whole["particles"].columns[
            "rlnX"].tolist()
        assert parts["end"].version == whole["end"].version == 50001
        write_star(tmp_path / "b.star", parts)
        assert (tmp_path / "b.star").read_bytes() == path.read_bytes()


def test_one_very_long_cell_does_not_widen_the_column(tmp_path):
    cells = ["short"] * 500 + ["y" * 50_000]
    write_star(tmp_path / "a.star", [StarTable("t", {"x": cells})])
    column = read_star(tmp_path / "a.star")["t"].columns["x"]
    assert column.nbytes < 100_000
    assert column[-1] == b"y" * 50_000


def test_numbers_beside_quoted_cells_keep_their_width(tmp_path):
    write_star(tmp_path / "a.star", [StarTable("t", {"x": ["", "a b"], "y": ["0", "12"]})])
    write_star(tmp_path / "b.star", read_star(tmp_path / "a.star"))
    text = (tmp_path / "a.star").read_text()
    assert text == (tmp_path / "b.star").read_text()
    assert text.splitlines()[-3].split('""')[1] == " " + " " * 11 + "0 "


_LABEL = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,12}", fullmatch=True)
_TEXT = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" \t\"'#;_"),
                max_size=12)


def _can_be_held(text):
    return not ('"' in text and "'" in text)


@st.composite
def _tables(draw):
    labels = draw(st.lists(_LABEL, min_size=1, max_size=5, unique=True))
    is_loop = draw(st.booleans())
    n = draw(st.integers(0, 6)) if is_loop else 1
    columns = {label: draw(st.lists(_TEXT.filter(_can_be_held), min_size=n, max_size=n))
               for label in labels}
    return StarTable(draw(st.from_regex(r"[A-Za-z0-9_.]{0,10}", fullmatch=True)), columns, is_loop)


@settings(max_examples=120, deadline=None)
@given(st.lists(_tables(), max_size=4))
def test_generated_tables_round_trip_without_a_changed_value(tmp_path_factory, tables):
    path = tmp_path_factory.mktemp("star") / "a.star"
    write_star(path, tables)
    star = read_star(path)
    assert len(star) == len(tables)
    for old, new in zip(tables, star, strict=True):
        assert (new.name, new.labels, new.n_rows) == (old.name, old.labels, old.n_rows)
        assert new.is_loop == old.is_loop
        for label in old.labels:
            assert new.strings(label).tolist() == old.strings(label).tolist()
    write_star(path.with_name("b.star"), star)
    assert path.read_bytes() == path.with_name("b.star").read_bytes()


_PIECES = st.sampled_from(["data_", "data_x", "loop_", "_a", "_b #1", "#c", "\n", "\n", "\n", " ",
                           "\t", "'", '"', "1", "2.5", "[1,2]", "\r\n", "\r", "\0", "é",
                           "# version 3"])


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.lists(_PIECES, max_size=40).map(lambda p: "".join(p).encode()),
                 st.binary(max_size=200)))
def test_any_bytes_give_tables_or_one_of_our_errors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("star") / "a.star"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        try:
            star = read_star(path)
        except StaMpiError:
            return
    assert isinstance(star, StarFile)
    write_star(path, star)
    again = read_star(path)
    for old, new in zip(star, again, strict=True):
        assert old.name == new.name
        for label in old.labels:
            assert old.strings(label).tolist() == new.strings(label).tolist()
