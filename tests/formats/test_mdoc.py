"""SerialEM mdoc files: kept byte for byte, doses checked, order of acquisition found."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.mdoc import acquisition_order, pre_exposure, read_mdoc, write_mdoc

HIV = "formats_motive_lists/mdoc/EMPIAR-10164_like_tilt_series.mdoc"
KRIOS = "formats_motive_lists/cryocat/TS_017/017.mdoc"


def small(tmp_path, doses=(3, 3, 3), newline="\n", **keys):
    """Three views taken at 0, 3 and -3 degrees, listed by angle."""
    lines = ["PixelSpacing = 2.5", "Voltage = 300", "", "[T = a title = with equals]", ""]
    for i, (angle, minute) in enumerate(((-3, 12), (0, 10), (3, 11))):
        lines += [f"[ZValue = {i}]", f"TiltAngle = {angle}", f"ExposureDose = {doses[i]}",
                  f"DateTime = 30-Nov-15  15:{minute}:00", "OddKey = caf\u00e9 1 2"]
        lines += [f"{key} = {values[i]}" for key, values in keys.items()] + [""]
    path = tmp_path / "a.mdoc"
    path.write_bytes(newline.join(lines).encode())
    return path


@pytest.mark.parametrize("sample", [HIV, KRIOS])
def test_real_files_are_written_back_byte_for_byte(data_dir, tmp_path, sample):
    write_mdoc(tmp_path / "a.mdoc", read_mdoc(data_dir / sample))
    assert (tmp_path / "a.mdoc").read_bytes() == (data_dir / sample).read_bytes()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dose_override_changes_those_lines_and_no_others(tmp_path, newline):
    path = small(tmp_path, newline=newline)
    write_mdoc(tmp_path / "b.mdoc", read_mdoc(path).with_dose(2.4))
    expected = path.read_bytes().replace(b"ExposureDose = 3", b"ExposureDose = 2.4")
    assert (tmp_path / "b.mdoc").read_bytes() == expected


def test_override_mends_the_prior_doses_that_depend_on_it(data_dir):
    mended = read_mdoc(data_dir / KRIOS).with_dose(3.0)
    np.testing.assert_array_equal(np.sort(mended.numbers("PriorRecordDose")), 3.0 * np.arange(60))
    np.testing.assert_array_equal(np.argsort(mended.numbers("PriorRecordDose")),
                                  acquisition_order(mended))


def test_tilt_axis_is_read_from_the_titles(data_dir, tmp_path):
    assert read_mdoc(data_dir / HIV).tilt_axis_deg == 85.3
    assert read_mdoc(data_dir / KRIOS).tilt_axis_deg == 82.9
    assert read_mdoc(small(tmp_path)).tilt_axis_deg is None


def test_missing_key_is_added_to_its_own_section(tmp_path):
    path = small(tmp_path)
    path.write_text(path.read_text().replace("ExposureDose = 3\n", ""))
    mdoc = read_mdoc(path)
    assert not mdoc.has("ExposureDose")
    write_mdoc(tmp_path / "b.mdoc", mdoc.with_dose(2.4))
    np.testing.assert_array_equal(read_mdoc(tmp_path / "b.mdoc").numbers("ExposureDose"), 2.4)


def test_uncalibrated_dose_of_a_real_file_is_an_error_and_an_override_mends_it(data_dir):
    mdoc = read_mdoc(data_dir / HIV)
    with pytest.raises(InputError, match=r"ExposureDose is 0 e/Å\^2 \(41 of 41 views\).*--dose"):
        pre_exposure(mdoc)
    dose = pre_exposure(mdoc, 3.0)
    assert dose[0] == 0                     # the view at 0 degrees was the first one taken
    np.testing.assert_array_equal(np.sort(dose), 3.0 * np.arange(41))


def test_prior_record_dose_is_used_where_the_microscope_wrote_it(data_dir):
    mdoc = read_mdoc(data_dir / KRIOS)
    dose = pre_exposure(mdoc)
    np.testing.assert_array_equal(dose, mdoc.numbers("PriorRecordDose"))
    # The same doses follow from the dates and the exposures, but for what was spent on focusing.
    by_date = np.empty(len(mdoc))
    order = acquisition_order(mdoc)
    by_date[order] = np.concatenate([[0], np.cumsum(mdoc.numbers("ExposureDose")[order])[:-1]])
    assert np.corrcoef(dose, by_date)[0, 1] > 0.9999


def test_dose_before_a_view_counts_the_views_taken_earlier_and_not_itself(tmp_path):
    np.testing.assert_array_equal(pre_exposure(read_mdoc(small(tmp_path, (1, 2, 4)))), [6, 0, 2])


def test_prior_doses_that_are_all_zero_are_not_believed(tmp_path):
    path = small(tmp_path, PriorRecordDose=(0, 0, 0))
    np.testing.assert_array_equal(pre_exposure(read_mdoc(path)), [6, 0, 3])


@pytest.mark.parametrize(("old", "new", "message"), [
    ("ExposureDose = 3", "ExposureDose = 0", "ExposureDose is 0"),
    ("ExposureDose = 3", "ExposureDose = -1", "ExposureDose is -1"),
    ("ExposureDose = 3", "ExposureDose = nan", "NaN or Inf"),
    ("ExposureDose = 3", "ExposureDose = x", "'x' is not a number"),
    ("ExposureDose = 3\n", "", "no ExposureDose"),
    ("30-Nov-15  15:10:00", "yesterday", "DateTime is 'yesterday'"),
    ("[ZValue = 1]", "[ZValue = 0]", "ZValue 0 more than once"),
    ("[ZValue = 1]", "[ZValue = one]", "expected \\[ZValue = n\\]"),
])
def test_damaged_files_are_refused_with_the_section(tmp_path, old, new, message):
    path = small(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        pre_exposure(read_mdoc(path))


def test_files_that_are_no_mdoc_are_refused(tmp_path):
    (tmp_path / "a.mdoc").write_text("PixelSpacing = 1\n")
    with pytest.raises(InputError, match="no \\[ZValue"):
        read_mdoc(tmp_path / "a.mdoc")
    (tmp_path / "b.mdoc").write_bytes(b"MAP \x00\x01")
    with pytest.raises(FormatError, match="binary"):
        read_mdoc(tmp_path / "b.mdoc")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.from_regex(r"[A-Za-z]{1,8}", fullmatch=True),
                          st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")),
                                  max_size=12)), max_size=6), st.booleans())
def test_any_keys_survive_in_their_order(tmp_path_factory, pairs, crlf):
    newline = "\r\n" if crlf else "\n"
    body = newline.join(["Head = 1", "[ZValue = 0]", *(f"{k} = {v}" for k, v in pairs)])
    folder: Path = tmp_path_factory.mktemp("mdoc")
    (folder / "a.mdoc").write_bytes(body.encode())
    mdoc = read_mdoc(folder / "a.mdoc")
    write_mdoc(folder / "b.mdoc", mdoc)
    assert (folder / "b.mdoc").read_bytes() == body.encode()
    if pairs:
        first = dict(reversed(pairs))
        assert mdoc.views[0].get(pairs[0][0]) == first[pairs[0][0]]
