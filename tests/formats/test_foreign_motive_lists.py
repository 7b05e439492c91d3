"""Dynamo, STOPGAP, TOM/AV3 and RELION 3 particle lists: real files, and bad ones."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sta_mpi.errors import FormatError, InputError, StaMpiError
from sta_mpi.formats.dynamo_table import (
    dynamo_of_particles,
    particles_of_dynamo,
    read_dynamo_table,
    read_tomogram_list,
    write_dynamo_table,
)
from sta_mpi.formats.em_files import read_em, write_em
from sta_mpi.formats.em_motive_list import (
    em_of_particles,
    particles_of_em,
    read_em_motive_list,
    write_em_motive_list,
)
from sta_mpi.formats.relion_without_series import read_relion_without_series
from sta_mpi.formats.stopgap_motive_list import (
    particles_of_stopgap,
    read_stopgap,
    stopgap_of_particles,
    write_stopgap,
)
from sta_mpi.geometry.dynamo import dynamo_euler_from_rotation, rotation_from_dynamo_euler

LISTS = "formats_motive_lists"
EM_FILES = ["cryocat/au_1.em", *(f"cryocat/ribosome_tm/{name}.em" for name in (
    "bin4_voxel2.176_ribosome", "mask48_r22", "motl_ribosome_b4_trim_shift_t126",
    "subtomo_ribosome_mmotl_ribosome_b4_trim_shift_t126_t126_b4_s48",
    "tm_bin4_voxel2.176_ribosome"))]


@pytest.mark.parametrize("name", ["cryocat/motl_data/crop.tbl", "empiar10064_susan/picked_b8.tbl"])
def test_real_dynamo_tables_come_back_byte_for_byte(data_dir, tmp_path, name):
    path = data_dir / LISTS / name
    write_dynamo_table(tmp_path / "copy.tbl", read_dynamo_table(path))
    assert (tmp_path / "copy.tbl").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", EM_FILES)
def test_real_em_files_come_back_byte_for_byte(data_dir, tmp_path, name):
    path = data_dir / LISTS / name
    em = read_em(path)
    write_em(tmp_path / "copy.em", em.data, em.header)
    assert (tmp_path / "copy.em").read_bytes() == path.read_bytes()


def test_real_stopgap_list_comes_back_value_for_value(data_dir, tmp_path):
    """The layout is that of our STAR writer: STOPGAP puts tabs and a blank line."""
    table = read_stopgap(data_dir / LISTS / "cryocat/motl_data/class6_er_mr1_1_sg.star.gz")
    write_stopgap(tmp_path / "copy.star", table)
    copy = read_stopgap(tmp_path / "copy.star")
    assert copy.labels == table.labels
    assert len(copy) == 14561
    for label in table.labels:
        assert np.array_equal(copy.strings(label), table.strings(label))


def test_z_axes_of_a_real_dynamo_table_of_filaments_point_along_them(data_dir):
    table = read_dynamo_table(data_dir / LISTS / "cryocat/motl_data/crop.tbl")
    particles = particles_of_dynamo(table)
    step = np.diff(particles.index_px, axis=0)
    length = np.linalg.norm(step, axis=1)
    neighbours = (np.diff(table.column("tomo")) == 0) & (length > 1) & (length < 10)
    assert neighbours.sum() > 4000
    direction = step[neighbours] / length[neighbours, None]
    cosine = np.einsum("ni,ni->n", particles.R_p2t[:-1][neighbours][:, :, 2], direction)
    assert np.percentile(cosine, 5) > 0.98
    transposed = np.einsum("ni,ni->n", particles.R_p2t[:-1][neighbours][:, 2, :], direction)
    assert np.percentile(transposed, 5) < -0.9


@pytest.mark.parametrize(("which", "fits"), [("documented", True), ("transposed", False),
                                             ("mirrored", False)])
def test_subunits_of_real_pores_lie_where_their_angles_put_them(data_dir, which, fits):
    """Eight subunits a nuclear pore: p_k = c + R_k v, with one c and v a pore."""
    particles = particles_of_em(read_em_motive_list(data_dir / LISTS / "cryocat/au_1.em"))
    R = particles.R_p2t
    if which == "transposed":
        R = R.transpose(0, 2, 1)
    elif which == "mirrored":
        R = np.diag([1, 1, -1]) @ R @ np.diag([1, 1, -1])
    position = particles.index_px + particles.offset_px
    residuals = []
    for first in range(0, 64, 8):
        rows = slice(first, first + 8)
        design = np.hstack([np.tile(np.eye(3), (8, 1)), R[rows].reshape(-1, 3)])
        solution = np.linalg.lstsq(design, position[rows].ravel(), rcond=None)[0]
        residuals.append(np.abs(design @ solution - position[rows].ravel()).max())
    # shifts are float32 of numbers up to 700: 6e-5 px
    assert (max(residuals) < 1e-3) if fits else (min(residuals) > 1.0)


def test_dynamo_angles_are_relions_as_other_converters_have_them():
    """One pair of triplets that two public converters agree on."""
    R = rotation_from_dynamo_euler([-47.2730, 1.1777, -132.3000])
    relion = Rotation.from_euler("ZYZ", [137.7000, 1.1777, 42.7270], degrees=True).inv()
    assert np.allclose(R, relion.as_matrix(), atol=1e-10)


def test_dynamo_angles_round_trip():
    R = Rotation.random(500, random_state=4).as_matrix()
    angles = dynamo_euler_from_rotation(R)
    assert np.allclose(rotation_from_dynamo_euler(angles), R, atol=1e-12)
    assert angles[:, 1].min() >= 0


def test_real_lists_survive_a_change_of_format(data_dir, tmp_path):
    """Dynamo to TOM to STOPGAP to Dynamo: positions, orientations, scores."""
    first = particles_of_dynamo(read_dynamo_table(data_dir / LISTS / "cryocat/motl_data/crop.tbl"))
    numbers = [int(name) for name in first.tomo_names]
    values, _ = em_of_particles(first, numbers)
    write_em_motive_list(tmp_path / "m.em", values)
    second = particles_of_em(read_em_motive_list(tmp_path / "m.em"))
    table, _ = stopgap_of_particles(second, numbers)
    write_stopgap(tmp_path / "m.star", table)
    third = particles_of_stopgap(read_stopgap(tmp_path / "m.star"))
    made, _ = dynamo_of_particles(third, numbers)
    write_dynamo_table(tmp_path / "m.tbl", made)
    last = particles_of_dynamo(read_dynamo_table(tmp_path / "m.tbl"))
    assert last.tomo_names == first.tomo_names
    assert np.allclose(last.index_px, first.index_px, atol=1e-5)
    assert np.allclose(last.offset_px, first.offset_px, atol=1e-5)
    # angles with 5 decimals in STAR files
    assert np.abs(last.R_p2t - first.R_p2t).max() < 5e-7


def test_relion_3_files_give_positions_in_their_own_pixels(data_dir):
    folder = data_dir / LISTS / "cryocat/motl_data"
    old = read_relion_without_series(folder / "relion_3.0.star")
    assert old.tomo_names == ["01006_10.73Apx"]
    assert np.allclose(old.index_px[0], [1028.455, 733.955, 422.955])
    assert np.allclose(old.pixel_A, 5.364)
    newer = read_relion_without_series(folder / "relion_3.1_optics2.star")
    assert np.allclose(newer.pixel_A, [2.446, 3.446, 3.446])
    assert np.allclose(newer.offset_px[0] * 2.446, [0.25289, 2.69889, -7.24711])
    newest = read_relion_without_series(folder / "relion_4.0.star")
    assert len(newest) == 1746
    assert np.allclose(newest.pixel_A, 1.971)
    A = Rotation.from_euler("ZYZ", [-61.71449, 150.606435, 110.442075], degrees=True).inv()
    assert np.allclose(newest.R_p2t[0], A.as_matrix(), atol=1e-12)


ROW = "1 1 1 0 0 0 10 20 30 0.5 0 0 1 -60 60 -60 60 0 0 3 0 0 0 5 6 7"


@pytest.mark.parametrize("text", ["", "1 2 3\n", ROW + "\n" + ROW + " 1\n", ROW.replace("20", "x"),
                                  ROW.replace("20", "nan"), ROW.replace("20", "1+2i"), "\0\1"])
def test_bad_dynamo_tables_are_refused(tmp_path, text):
    (tmp_path / "t.tbl").write_text(text)
    with pytest.raises(FormatError):
        read_dynamo_table(tmp_path / "t.tbl")


def test_complex_numbers_without_imaginary_part_are_read_and_kept(tmp_path):
    (tmp_path / "t.tbl").write_text(ROW.replace("0.5", "0.5+0i") + "\n")
    table = read_dynamo_table(tmp_path / "t.tbl")
    assert table.column("cc") == [0.5]
    write_dynamo_table(tmp_path / "c.tbl", table)
    assert "0.5+0i" in (tmp_path / "c.tbl").read_text()


def test_bad_lists_of_tomograms_are_refused(tmp_path):
    (tmp_path / "a.doc").write_text("# note\n3 /data/TS_3.mrc\n4 'with blank.rec'\n")
    assert read_tomogram_list(tmp_path / "a.doc") == {3: "/data/TS_3.mrc", 4: "with blank.rec"}
    for text in ("x TS.mrc\n", "3\n", "3 a\n3 b\n"):
        (tmp_path / "b.doc").write_text(text)
        with pytest.raises(FormatError, match="line"):
            read_tomogram_list(tmp_path / "b.doc")


def test_em_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path):
    header = bytearray(512)
    header[0], header[3] = 6, 5
    struct.pack_into("<3i", header, 4, 2**30, 2**30, 2**30)
    (tmp_path / "huge.em").write_bytes(bytes(header))
    with pytest.raises(FormatError, match="cut off"):
        read_em(tmp_path / "huge.em")
    struct.pack_into("<3i", header, 4, 20, 4, 1)
    (tmp_path / "short.em").write_bytes(bytes(header) + bytes(100))
    with pytest.raises(FormatError, match="cut off"):
        read_em(tmp_path / "short.em")


def test_big_endian_em_files_are_read(tmp_path):
    header = bytearray(512)
    header[0], header[3] = 3, 5
    struct.pack_into(">3i", header, 4, 3, 2, 1)
    data = np.arange(6, dtype=">f4")
    (tmp_path / "b.em").write_bytes(bytes(header) + data.tobytes())
    assert np.array_equal(read_em(tmp_path / "b.em").data, np.arange(6.0).reshape(1, 2, 3))


def test_motive_list_with_nan_names_its_row(tmp_path):
    values = np.zeros((1, 3, 20))
    values[0, 1, 8] = np.nan
    write_em_motive_list(tmp_path / "m.em", values)
    with pytest.raises(FormatError, match="row 2"):
        read_em_motive_list(tmp_path / "m.em")
    write_em(tmp_path / "v.em", np.zeros((4, 4, 4), np.float32))
    with pytest.raises(FormatError, match="not a motive list"):
        read_em_motive_list(tmp_path / "v.em")


def test_relion_5_coordinates_are_not_read_without_tomograms(data_dir):
    with pytest.raises(InputError, match="need their tomograms"):
        read_relion_without_series(
            data_dir / "relion5_empiar10164_hiv/Refine3D/job023/run_data.star")


@settings(max_examples=120, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=700), st.sampled_from(["tbl", "em", "star", "doc"]))
def test_random_bytes_are_refused_without_a_crash(tmp_path, data, ending):
    path = tmp_path / f"r.{ending}"
    path.write_bytes(data)
    read = {"tbl": read_dynamo_table, "em": read_em_motive_list, "star": read_stopgap,
            "doc": read_tomogram_list}[ending]
    with contextlib.suppress(StaMpiError):
        read(path)
