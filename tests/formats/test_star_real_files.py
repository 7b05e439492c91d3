"""Real STAR files read, written and read again; the `starfile` package as an independent reader."""

import re

import numpy as np
import pytest
import starfile

from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_numbers import format_numbers

DOUBLE = re.compile(rb"-?\d+\.\d+(e[-+]\d+)?")
FOLDERS = ("relion5_empiar10164_hiv", "particles_empiar10499_warp_70S",
           "formats_motive_lists/pytom_relion5", "formats_motive_lists/cryocat")


def _files(data_dir):
    files = [path for folder in FOLDERS for path in sorted((data_dir / folder).rglob("*.star*"))]
    assert len(files) > 90
    return files


def test_every_real_file_comes_back_equal(data_dir, tmp_path):
    for path in _files(data_dir):
        star = read_star(path)
        write_star(tmp_path / "b.star", star)
        again = read_star(tmp_path / "b.star")
        assert again.names == star.names, path
        for old, new in zip(star, again, strict=True):
            assert (new.labels, new.is_loop, new.version) == (old.labels, old.is_loop, old.version)
            for label in old.labels:
                # Stronger than 6 decimals: the very text.
                assert new.strings(label).tolist() == old.strings(label).tolist(), (path, label)


def test_files_of_relion_are_written_back_to_the_byte(data_dir, tmp_path):
    folder = data_dir / "relion5_empiar10164_hiv"
    names = ["Refine3D/job023/run_data.star", "Refine3D/job023/run_model.star",
             "Refine3D/job023/run_optimisation_set.star", "Refine3D/job023/run_optimiser.star",
             "Tomograms/job006/tomograms.star", "Tomograms/job006/tilt_series/TS_54.star",
             "PostProcess/job079/postprocess.star", "MotionCorr/job002/frames/TS_01_000_0_0.star"]
    for name in names:
        write_star(tmp_path / "b.star", read_star(folder / name))
        assert (tmp_path / "b.star").read_bytes() == (folder / name).read_bytes(), name


def test_numbers_of_relion_are_formatted_to_the_byte_it_wrote(data_dir):
    folder = data_dir / "relion5_empiar10164_hiv"
    checked = 0
    for name in ("Refine3D/job023/run_data.star", "Refine3D/job023/run_model.star",
                 "Tomograms/job006/tilt_series/TS_54.star", "PostProcess/job079/postprocess.star"):
        for table in read_star(folder / name):
            for label, column in table.columns.items():
                if not all(DOUBLE.fullmatch(cell) for cell in column.tolist()):
                    continue
                text = np.array(column.tolist(), "S")
                written = format_numbers(table.floats(label))
                # Text of 6 digits read as a double and formatted again gives the same text.
                assert (written == text).all(), (name, label, written[written != text][:3])
                checked += len(text)
    assert checked > 100_000


def test_values_agree_with_the_starfile_package(data_dir):
    for path in _files(data_dir):
        if path.suffix == ".gz" or "job.star" in path.name or "optimiser" in path.name:
            continue
        theirs = starfile.read(path, always_dict=True, parse_as_string=[])
        ours = read_star(path)
        for table in ours:
            other = theirs[table.name]
            for label in table.labels:
                values = [other[label]] if not table.is_loop and isinstance(other, dict) else \
                    list(other[label])
                assert len(values) == table.n_rows
                if isinstance(values[0], str):
                    assert table.strings(label).tolist() == [
                        v if isinstance(v, str) else "" for v in values], (path, label)
                elif not table.strings(label)[0]:
                    continue
                else:
                    np.testing.assert_allclose(table.floats(label), np.array(values, float))


def test_reading_keeps_quoted_and_long_values_of_job_files(data_dir):
    table = read_star(data_dir / "relion5_empiar10164_hiv/Refine3D/job023/job.star")[
        "joboptions_values"]
    values = dict(zip(table.strings("rlnJobOptionVariable"), table.strings("rlnJobOptionValue"),
                      strict=True))
    assert values["auto_local_sampling"] == "1.8 degrees"
    assert values["fn_cont"] == ""
    assert pytest.approx(float(values["ini_high"])) == 5.5
