"""Volumes that a tomogram table names: real RELION columns, the place of voxels, refusals."""

import numpy as np
import pytest
import relion_cases as cases

from sta_mpi.errors import InputError
from sta_mpi.formats.reconstructed_tomograms import binned_size_px
from sta_mpi.formats.relion_tomograms import read_tomograms


def make(folder, **columns):
    return read_tomograms(cases.write_project(
        folder, cases.global_table(["TS_01"], (400, 300, 200), 2.0, **columns),
        [cases.tilt_table()]))


def test_halves_of_a_real_project_are_found_with_their_binning(data_dir):
    path = data_dir / "relion5_empiar10164_hiv/Tomograms/job006/tomograms.star"
    found = read_tomograms(path).reconstructed("TS_01")
    assert found.path is None
    assert [p.name for p in found.half_paths] == ["rec_TS_01_half1.mrc", "rec_TS_01_half2.mrc"]
    assert found.pixel_A == pytest.approx(10.0, abs=1e-5)
    assert found.size_px == (540, 540, 270) == binned_size_px((4000, 4000, 2000), 7.407407)
    assert not found.exists
    with pytest.raises(InputError, match="rec_TS_01_half1"):
        found.require()


def test_voxel_i_lies_at_b_times_i_from_the_corner(tmp_path):
    tomograms = make(tmp_path, rlnTomoReconstructedTomogram=["rec.mrc"],
                     rlnTomoTomogramBinning=[3.0])
    found = tomograms.reconstructed("TS_01")
    assert found.size_px == (133, 100, 67)  # 400 / 3 = 133.3, 200 / 3 = 66.7
    index = np.array([[0.0, 0, 0], [10, 20, 30], [132, 99, 66]])
    corner_px = 3.0 * index
    centred_A = 2.0 * (corner_px - np.array([200.0, 150, 100]))
    np.testing.assert_allclose(found.xyz_A(index), centred_A, atol=1e-9)
    np.testing.assert_allclose(found.index_xyz(centred_A), index, atol=1e-9)


def test_table_without_volumes_has_none_and_new_ones_survive_the_file(tmp_path):
    tomograms = make(tmp_path)
    assert tomograms.reconstructed("TS_01") is None
    (tmp_path / "out").mkdir()
    for name in ("rec.mrc", "a.mrc", "b.mrc"):
        (tmp_path / "out" / name).touch()
    named = tomograms.with_volumes({"TS_01": ("out/rec.mrc", "out/a.mrc", "out/b.mrc")}, 4.0)
    named.write(tmp_path / "out" / "tomograms.star")
    back = read_tomograms(tmp_path / "out" / "tomograms.star").reconstructed("TS_01")
    assert (back.binning, back.pixel_A) == (4.0, 8.0)
    assert back.exists
    assert back.path == tmp_path / "out" / "rec.mrc"
    assert [p.name for p in back.half_paths] == ["a.mrc", "b.mrc"]


def test_volume_without_binning_is_refused(tmp_path):
    with pytest.raises(InputError, match="rlnTomoTomogramBinning"):
        make(tmp_path, rlnTomoReconstructedTomogram=["rec.mrc"]).reconstructed("TS_01")
    with pytest.raises(InputError, match="more than 0"):
        make(tmp_path, rlnTomoReconstructedTomogram=["rec.mrc"],
             rlnTomoTomogramBinning=[0.0]).reconstructed("TS_01")
