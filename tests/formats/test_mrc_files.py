"""MRC reading and writing against files made by hand with struct, and against mrcfile."""

import gzip
import struct
import warnings

import mrcfile
import numpy as np
import pytest

from sta_mpi.errors import FormatError, InputError, InputWarning, ResourceError, StaMpiError
from sta_mpi.formats.mrc import (
    check_finite,
    open_stack,
    read_header,
    read_image,
    read_mrc,
    write_mrc,
)
from sta_mpi.formats.mrc_write import describe_not_finite

CODES = {0: "b", 1: "h", 2: "f", 6: "H", 12: "e"}
VALUES = {0: [-128, -1, 0, 127], 1: [-32768, -7, 0, 32767], 2: [-1.5, 0.0, 3.25, 2.0**100],
          6: [0, 1, 40000, 65535], 12: [-2.5, 0.0, 0.125, 65504.0]}


def golden(mode=2, values=None, shape_xyz=(2, 2, 1), order="<", cell=None, samples=None, ispg=1,
           axes=(1, 2, 3), map_word=b"MAP ", stamp=None, imod=None, maximum=0.0, extended=b"",
           code=None):
    """Bytes of an MRC file, written out field by field from the MRC2014 table."""
    values = VALUES[mode] if values is None else values
    samples = samples or shape_xyz
    cell = cell or tuple(2.5 * n for n in samples)
    stamp = stamp if stamp is not None else (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    header = struct.pack(f"{order}3i i 3i 3i 3f 3f 3i", *shape_xyz, mode, 0, 0, 0, *samples, *cell,
                         90.0, 90.0, 90.0, *axes)
    header += struct.pack(f"{order}3f 2i", 0.0, maximum, 0.0, ispg, len(extended))
    header += bytes(152 - len(header))
    header += struct.pack(f"{order}2i", *(imod or (0, 0)))
    header += bytes(208 - len(header)) + map_word + stamp
    header += bytes(1024 - len(header))
    return header + extended + struct.pack(f"{order}{len(values)}{code or CODES[mode]}", *values)


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", sorted(CODES))
def test_hand_made_file_of_each_mode_and_byte_order_is_read(tmp_path, mode, order):
    path = write(tmp_path / "a.mrc", golden(mode, order=order))
    volume = read_mrc(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data.ravel(), np.float32(VALUES[mode]))
    assert volume.voxel_A == pytest.approx(2.5)


def test_extended_header_is_skipped(tmp_path):
    path = write(tmp_path / "a.mrc", golden(extended=b"\xff" * 160))
    np.testing.assert_array_equal(read_mrc(path).data.ravel(), np.float32(VALUES[2]))


@pytest.mark.parametrize("mode", sorted(CODES))
def test_written_file_has_the_bytes_of_the_format(tmp_path, mode):
    data = np.array(VALUES[mode], np.float32).reshape(1, 2, 2)
    write_mrc(tmp_path / "a.mrc", data, 2.5, mode=mode)
    raw = (tmp_path / "a.mrc").read_bytes()
    assert struct.unpack("<4i", raw[:16]) == (2, 2, 1, mode)
    assert struct.unpack("<3i3f", raw[28:52]) == (2, 2, 1, 5.0, 5.0, 2.5)
    assert raw[208:216] == b"MAP \x44\x44\0\0"
    assert struct.unpack(f"<4{CODES[mode]}", raw[1024:]) == tuple(VALUES[mode])
    np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc").data, data)


@pytest.mark.parametrize(("name", "shape", "is_volume"), [
    ("map.mrc", (4, 5, 6), True), ("stack.mrcs", (4, 5, 6), False), ("tilts.st", (3, 5, 6), False),
    ("image.mrc", (5, 6), False)])
def test_mrcfile_agrees_on_what_was_written(tmp_path, name, shape, is_volume):
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    write_mrc(tmp_path / name, data, 1.35)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mrcfile.open(tmp_path / name) as mrc:
            np.testing.assert_array_equal(np.squeeze(mrc.data), data)
            assert bool(mrc.is_volume()) is is_volume
            assert bool(mrc.is_image_stack() or mrc.is_single_image()) is not is_volume
            for axis in "xyz":  # the header keeps float32 cell lengths
                assert float(mrc.voxel_size[axis]) == pytest.approx(1.35, rel=1e-6)
            assert float(mrc.header.dmean) == pytest.approx(data.mean(dtype=np.float64), abs=1e-6)
            assert float(mrc.header.rms) == pytest.approx(data.std(dtype=np.float64), rel=1e-5)
    assert mrcfile.validate(tmp_path / name)


def test_equal_maps_are_equal_files(tmp_path):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_mrc(tmp_path / "a.mrc", data, 1.0)
    write_mrc(tmp_path / "b.mrc", data, 1.0)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


@pytest.mark.parametrize(("imod", "expected"), [((1146047817, 0), 200), ((1146047817, 1), -56)])
def test_imod_flag_decides_the_sign_of_bytes(tmp_path, imod, expected):
    path = write(tmp_path / "a.mrc", golden(0, [200] * 4, imod=imod, code="B"))
    assert read_mrc(path).data[0, 0, 0] == expected


def test_bytes_above_127_in_the_header_are_read_unsigned_with_a_warning(tmp_path):
    path = write(tmp_path / "a.mrc", golden(0, [200] * 4, maximum=200.0, code="B"))
    with pytest.warns(InputWarning, match="unsigned"):
        assert read_mrc(path).data[0, 0, 0] == 200


def test_other_axis_orders_are_turned_to_zyx(tmp_path):
    # Columns along z, rows along x, sections along y: file index [y][x][z].
    shape_crs = (4, 3, 2)
    values = np.arange(24, dtype=np.float32)
    path = write(tmp_path / "a.mrc", golden(2, values.tolist(), shape_crs, axes=(3, 1, 2),
                                            samples=(3, 2, 4)))
    volume = read_mrc(path)
    assert volume.data.shape == (4, 2, 3)
    for z, y, x in np.ndindex(4, 2, 3):
        assert volume.data[z, y, x] == (y * 3 + x) * 4 + z


def test_pixel_size_uses_sampling_not_the_extent_of_the_data(tmp_path):
    path = write(tmp_path / "a.mrc", golden(cell=(100.0, 100.0, 100.0), samples=(40, 40, 40)))
    assert read_mrc(path).voxel_A == pytest.approx(2.5)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "truncated"),
    (golden()[:1000], "truncated"),
    (golden()[:-1], "need 1040 bytes, the file has 1039"),
    (golden(2, [], (2**20, 2**20, 2**10)), "need 4503599627371520 bytes"),
    (golden(2, [], (2**31 - 1,) * 3), "truncated"),
    (golden(shape_xyz=(-2, 2, 1)), "must be positive"),
    (golden(shape_xyz=(0, 2, 1)), "must be positive"),
    (golden().replace(struct.pack("<i", 2), struct.pack("<i", 4), 3), "mode 4 .complex float32."),
    (b"\x89PNG" + bytes(2000), "not an MRC file"),
    (golden(map_word=b"\0\0\0\0"), "no MAP word"),
    (golden(axes=(1, 1, 3)), "axis order"),
], ids=range(11))
def test_damaged_files_are_refused_with_what_to_do(tmp_path, data, message):
    path = write(tmp_path / "bad.mrc", data)
    with pytest.raises(FormatError, match=message) as caught:
        read_mrc(path)
    assert "bad.mrc" in str(caught.value)


def test_negative_extended_header_is_refused(tmp_path):
    raw = bytearray(golden())
    raw[92:96] = struct.pack("<i", -8)
    with pytest.raises(FormatError, match="extended header of -8"):
        read_mrc(write(tmp_path / "a.mrc", bytes(raw)))


def test_random_bytes_never_escape_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    base = golden()
    for _ in range(300):
        raw = bytearray(base)
        for _ in range(rng.integers(1, 6)):
            raw[rng.integers(0, 256)] = rng.integers(0, 256)
        path = write(tmp_path / "a.mrc", bytes(raw[:rng.integers(0, len(raw) + 1)]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_mrc(path, permissive=True)
            except StaMpiError:
                continue


def test_permissive_reading_accepts_a_missing_map_word_with_a_warning(tmp_path):
    path = write(tmp_path / "a.mrc", golden(map_word=b"\0\0\0\0", stamp=b"\0\0\0\0"))
    with pytest.warns(InputWarning, match="no MAP word"):
        assert read_mrc(path, permissive=True).data.shape == (1, 2, 2)


def test_bytes_after_the_data_are_named_in_a_warning(tmp_path):
    path = write(tmp_path / "a.mrc", golden() + b"1234567")
    with pytest.warns(InputWarning, match="7 bytes after"):
        read_mrc(path)


def test_nan_is_refused_and_its_place_named(tmp_path):
    path = write(tmp_path / "a.mrc", golden(2, [1.0, 2.0, float("nan"), float("inf")]))
    with pytest.raises(InputError, match=r"2 of 4 values are NaN or Inf, .* \[0, 1, 0\]"):
        read_mrc(path)
    with pytest.warns(InputWarning, match="NaN"):
        assert np.isnan(read_mrc(path, permissive=True).data[0, 1, 0])
    with pytest.raises(InputError, match="NaN"):
        write_mrc(tmp_path / "b.mrc", np.array([[np.nan]]), 1.0)
    assert not (tmp_path / "b.mrc").exists()


def test_values_whose_sum_overflows_are_still_finite():
    huge = np.full(4, 1e308)
    assert describe_not_finite(huge) == ""
    check_finite(huge, "x")


def test_unequal_voxel_edges_are_refused_unless_permissive(tmp_path):
    path = write(tmp_path / "a.mrc", golden(cell=(5.0, 6.0, 2.5)))
    with pytest.raises(InputError, match="voxel edges differ"):
        read_mrc(path)
    with pytest.warns(InputWarning, match="along x"):
        assert read_mrc(path, permissive=True).voxel_A == 2.5


def test_missing_voxel_size_is_an_error_that_an_option_answers(tmp_path):
    path = write(tmp_path / "a.mrc", golden(cell=(0.0, 1.0, 1.0)))
    with pytest.raises(InputError, match="no voxel size"):
        read_mrc(path)
    assert read_mrc(path, pixel_A=1.7).voxel_A == 1.7


@pytest.mark.parametrize(("mode", "value"), [(0, 127.5), (1, 32768.0), (6, -0.6), (12, 65536.0),
                                             (2, 1e39)])
def test_values_that_a_mode_cannot_hold_are_refused(tmp_path, mode, value):
    with pytest.raises(InputError, match="do not fit"):
        write_mrc(tmp_path / "a.mrc", np.array([[value, 0.0]]), 1.0, mode=mode)
    assert list(tmp_path.iterdir()) == []


def test_stack_gives_copies_of_single_images(tmp_path):
    data = np.random.default_rng(2).normal(size=(5, 4, 6)).astype(np.float16)
    write_mrc(tmp_path / "s.mrcs", data, 1.7, mode=12)
    with open_stack(tmp_path / "s.mrcs") as stack:
        assert stack.shape == (5, 4, 6)
        assert stack.pixel_A == pytest.approx(1.7)
        image = stack[3]
        np.testing.assert_array_equal(image, data[3].astype(np.float32))
        image[:] = 0
        np.testing.assert_array_equal(stack[[3, 1]], data[[3, 1]].astype(np.float32))
        assert len(list(stack)) == 5
    with pytest.raises(ValueError, match="closed"):
        stack[0]


def test_image_number_counts_from_one(tmp_path):
    data = np.arange(12, dtype=np.int16).reshape(3, 2, 2)
    write_mrc(tmp_path / "s.mrcs", data, 1.0)
    path = tmp_path / "s.mrcs"
    np.testing.assert_array_equal(read_image(f"1@{path}"), data[0])
    np.testing.assert_array_equal(read_image(f"000003@{path}"), data[2])
    for name in (f"0@{path}", f"4@{path}"):
        with pytest.raises(InputError, match="stack of 3"):
            read_image(name)
    with pytest.raises(InputError, match="Name one of them"):
        read_image(path)


def test_gz_is_unpacked_and_checked(tmp_path):
    path = tmp_path / "a.mrc.gz"
    path.write_bytes(gzip.compress(golden()))
    np.testing.assert_array_equal(read_mrc(path).data.ravel(), np.float32(VALUES[2]))
    np.testing.assert_array_equal(open_stack(path)[0].ravel(), np.float32(VALUES[2]))
    path.write_bytes(gzip.compress(golden()[:-3]))
    with pytest.raises(FormatError, match="truncated"):
        read_mrc(path)
    path.write_bytes(gzip.compress(golden())[:-20])
    with pytest.raises(FormatError, match="gz"):
        read_mrc(path)
    path.write_bytes(gzip.compress(golden(2, [], (2**15, 2**15, 2**8))))
    with pytest.raises(FormatError, match="more than"):
        read_header(path)


def test_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_mrc(tmp_path / "none.mrc")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.mrc"
    write_mrc(path, np.zeros((1, 2, 2)), 1.0)
    old = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        write_mrc(path, np.ones((1, 2, 2)), 1.0)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrc"]


@pytest.mark.parametrize(("name", "shape", "voxel_A"), [
    ("maps_emdb_small/EMD-3197.map", (20, 20, 20), 11.4),
    ("maps_emdb_small/emd_1832.map", (64, 64, 64), 5.7),
    ("particles_empiar10499_warp_70S/warptools_test_box-32_angpix-12_reconstruct.mrc",
     (32, 32, 32), 12.0024),
    ("tomogram_microtubule/beta-tubulin.mrc", (20, 20, 20), 5.144)])
def test_real_maps_have_their_size_and_voxel(data_dir, name, shape, voxel_A):
    volume = read_mrc(data_dir / name)
    assert volume.data.shape == shape
    assert volume.voxel_A == pytest.approx(voxel_A, rel=1e-6)
    with mrcfile.open(data_dir / name) as mrc:
        np.testing.assert_array_equal(volume.data, mrc.data)


def test_real_map_with_other_axes_agrees_with_its_own_header(data_dir):
    path = data_dir / "maps_emdb_small/EMD-3001.map"
    with pytest.warns(InputWarning, match="edges differ"):
        volume = read_mrc(path, permissive=True)
    with mrcfile.open(path) as mrc:
        assert [int(mrc.header[n]) for n in ("mapc", "mapr", "maps")] == [3, 1, 2]
        np.testing.assert_array_equal(volume.data, np.transpose(mrc.data, (2, 0, 1)))


def test_real_old_style_map_needs_permissive_reading(data_dir):
    path = data_dir / "maps_emdb_small/emd_3420_b4.mrc.gz"
    with pytest.raises(FormatError, match="permissive=True"):
        read_mrc(path)
    with pytest.warns(InputWarning):
        assert read_mrc(path, permissive=True).voxel_A == pytest.approx(10.48, rel=1e-6)


def test_real_em_file_is_not_taken_for_mrc(data_dir):
    with pytest.raises(FormatError, match="not an MRC file"):
        read_mrc(data_dir / "maps_emdb_small/emd_1480.map.em_bin_4.em", permissive=True)


def test_real_warp_particle_stack_is_read(data_dir):
    folder = data_dir / "particles_empiar10499_warp_70S"
    path = next(folder.glob("*/Unt_083/*_000001.mrcs"))
    with open_stack(path) as stack:
        assert stack.shape == (37, 32, 32)
        assert stack.pixel_A == pytest.approx(12.0)
        assert 0.1 < stack[18].std() < 10
