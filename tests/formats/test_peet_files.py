"""PEET's parameter files, motive lists, rotation axes and IMOD models, on real and made files."""

import contextlib
import struct
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sta_mpi.errors import FormatError, InputError, InputWarning, StaMpiError
from sta_mpi.formats.imod_model import (
    FLIPPED_YZ,
    Minx,
    model_contours,
    model_from_points,
    model_point_radii_px,
    model_points_px,
    read_imod_model,
    write_imod_model,
)
from sta_mpi.formats.imod_slicer import particles_of_model, slicer_views
from sta_mpi.formats.matlab_values import Cell, Range, Vector
from sta_mpi.formats.peet_axes import read_rotation_axes, write_rotation_axes
from sta_mpi.formats.peet_motive_list import MotiveList, read_motive_list, write_motive_list
from sta_mpi.formats.peet_prm import parse_prm, read_prm
from sta_mpi.geometry.peet import (
    peet_euler_from_rotation,
    peet_from_rp2t,
    rotation_from_peet_euler,
    rp2t_from_peet,
)

MODELS = [
    "imodmodel/multiple_objects_example.mod", "imodmodel/point_sizes_example.mod",
    "imodmodel/slicer_angle_example.mod", "imodmodel/two_contour_example.mod",
    "cryocat/motl_data/modMotl/correct111.mod", "cryocat/motl_data/modMotl/correct189.mod"]
HEADERS = {
    "angles named phi": "CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,"
    "zOffset,NA,NA,reserved,phi,psi,theta,reserved",
    "version in the header": "CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,"
    "zOffset,NA,NA,reserved,EulerZ(1),EulerZ(3),EulerX(2),reserved,CREATED WITH PEET Version 1.14.0"
    " 21-Feb-2020",
    "adjusted scores": "CCC,reserved,reserved,pIndex,wedgeWT,adjCCC,NA,NA,NA,NA,xOffset,yOffset,"
    "zOffset,NA,NA,oldClass,EulerZ(1),EulerZ(3),EulerX(2),class,CREATED WITH PEET Version 1.18.2"}


@pytest.mark.parametrize("name", MODELS)
def test_real_models_come_back_byte_for_byte(data_dir, tmp_path, name):
    path = data_dir / "formats_motive_lists" / name
    write_imod_model(tmp_path / "copy.mod", read_imod_model(path))
    assert (tmp_path / "copy.mod").read_bytes() == path.read_bytes()


def test_points_and_sizes_of_a_real_model_are_those_in_its_bytes(data_dir):
    path = data_dir / "formats_motive_lists" / "imodmodel" / "point_sizes_example.mod"
    data = path.read_bytes()
    at = data.index(b"CONT") + 4
    stored = np.array(struct.unpack_from(">12f", data, at + 16)).reshape(4, 3)
    at = data.index(b"SIZE", at) + 8
    sizes = struct.unpack_from(">4f", data, at)
    model = read_imod_model(path)
    assert np.array_equal(model_points_px(model), stored - [0.5, 0.5, 0.0])
    assert np.array_equal(model_point_radii_px(model), sizes)
    assert model_point_radii_px(model, 1) is None
    third = model_point_radii_px(model, 2)
    assert third[2] == 6.0                # -1 stands for the radius of the object's spheres
    assert model.pixel_A == pytest.approx(12.399, rel=1e-6)


def test_model_of_a_loaded_part_points_into_the_whole_file():
    model = model_from_points([[10.0, 20.0, 30.0]], (100, 100, 100), 2.0)
    # 3dmod: the origin of what was loaded from x = 7, y = 5, z = 3 on
    model.minx = Minx((2.0, 2.0, 2.0), (8.0 - 14.0, 8.0 - 10.0, 8.0 - 6.0),
                      file_origin=(8.0, 8.0, 8.0))
    assert np.allclose(model_points_px(model), [[17.0, 25.0, 33.0]])


def test_flipped_model_has_y_and_z_exchanged_before_the_half_pixel():
    model = model_from_points([[1.0, 2.0, 3.0]], (10, 20, 30), None)
    model.flags |= FLIPPED_YZ
    assert np.allclose(model_points_px(model), [[1.0, 2.5, 2.5]])


def test_model_made_of_points_reads_back_with_contours_and_sizes(tmp_path):
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    model = model_from_points(points, (30, 40, 50), 5.36, [3.0, 4.0, 5.0], [2, 1, 2])
    write_imod_model(tmp_path / "m.mod", model)
    back = read_imod_model(tmp_path / "m.mod")
    contours = model_contours(back)
    assert np.allclose(contours[0], points[1:2])
    assert np.allclose(contours[1], points[[0, 2]])
    assert np.allclose(model_point_radii_px(back), [4.0, 3.0, 5.0])
    assert back.image_size_px == (30, 40, 50)
    assert back.pixel_A == pytest.approx(5.36, rel=1e-6)
    assert back.minx.scale == pytest.approx((5.36,) * 3, rel=1e-6)


def test_slicer_angles_of_a_real_model_orient_the_points_they_were_chosen_for(data_dir):
    path = data_dir / "formats_motive_lists" / "imodmodel" / "slicer_angle_example.mod"
    model = read_imod_model(path)
    angles, centres = slicer_views(model)
    assert np.allclose(angles[0], [13.1, 0.0, -30.2], atol=1e-5)
    assert np.abs(centres - model_points_px(model)).max() < 1.0
    particles = particles_of_model(model, "x", y_is_axis=False)
    assert particles.lost == []
    for R, (x, y, z) in zip(particles.R_p2t, angles, strict=True):
        # what a view shows is the volume turned about z, then y, then x
        seen = Rotation.from_euler("zyx", [z, y, x], degrees=True).as_matrix() @ R
        assert np.allclose(seen, np.eye(3), atol=1e-12)


def test_slicer_angles_without_points_of_their_own_are_not_used(data_dir):
    path = data_dir / "formats_motive_lists" / "imodmodel" / "multiple_objects_example.mod"
    model = read_imod_model(path)
    model.objects = model.objects[1:]
    particles = particles_of_model(model, "x")
    assert len(particles.lost) == 2
    assert np.array_equal(particles.R_p2t[0], np.eye(3))


def test_our_model_is_read_alike_by_imodmodel(tmp_path):
    imodmodel = pytest.importorskip("imodmodel", reason="the package imodmodel is not installed")
    points = np.array([[1.0, 2.0, 3.0], [4.5, 5.25, 6.0]])
    write_imod_model(tmp_path / "m.mod", model_from_points(points, (30, 40, 50), 5.0))
    table = imodmodel.read(tmp_path / "m.mod")
    assert np.allclose(table[["x", "y", "z"]].to_numpy(), points + [0.5, 0.5, 0.0])


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    """A model of two points with sizes."""
    path = tmp_path_factory.mktemp("model") / "m.mod"
    write_imod_model(path, model_from_points(
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], (30, 40, 50), 5.0, [3.0, 4.0]))
    return path.read_bytes()


def test_truncated_models_are_refused(tmp_path, model_bytes):
    data = model_bytes
    for length in [*range(0, len(data), 3), len(data) - 1]:
        (tmp_path / "t.mod").write_bytes(data[:length])
        with pytest.raises(FormatError, match=r"cut off|not an IMOD"):
            read_imod_model(tmp_path / "t.mod")


@pytest.mark.parametrize(("marker", "offset"), [(b"CONT", 4), (b"SIZE", 4), (b"OBJT", 132)])
def test_huge_counts_in_a_model_are_refused_before_memory_is_taken(
        tmp_path, model_bytes, marker, offset):
    data = bytearray(model_bytes)
    struct.pack_into(">i", data, data.rindex(marker) + offset, 2**31 - 1)
    (tmp_path / "h.mod").write_bytes(data)
    with pytest.raises(FormatError, match=r"cut off|damaged"):
        read_imod_model(tmp_path / "h.mod")


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(8, 500), st.integers(0, 255)), max_size=6))
def test_damaged_models_are_read_or_refused_but_never_crash(tmp_path, model_bytes, changes):
    data = bytearray(model_bytes)
    for at, value in changes:
        data[at % len(data)] = value
    (tmp_path / "d.mod").write_bytes(data)
    with contextlib.suppress(StaMpiError):
        model_points_px(read_imod_model(tmp_path / "d.mod"))


@pytest.mark.parametrize("name", ["pi-a-initMOTL.csv", "pi-b-initMOTL.csv"])
def test_real_motive_lists_come_back_byte_for_byte(data_dir, tmp_path, name):
    path = data_dir / "imod_fiducial_alignment_midzone2" / "pi" / name
    motives = read_motive_list(path)
    assert motives.particle.tolist() == [*range(1, len(motives) + 1)]
    write_motive_list(tmp_path / "copy.csv", motives)
    assert (tmp_path / "copy.csv").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("generation", HEADERS)
def test_columns_mean_the_same_in_all_generations(tmp_path, generation):
    row = "0.25,0,0,7,1,NA,0,0,0,0,1.5,-2.25,3,0,0,2,10.125,30.5,20.75,431"
    (tmp_path / "m.csv").write_text(f"{HEADERS[generation]}\n{row}\n")
    motives = read_motive_list(tmp_path / "m.csv")
    assert motives.ccc == [0.25]
    assert motives.particle == [7]
    assert np.array_equal(motives.offset_px, [[1.5, -2.25, 3.0]])
    assert np.array_equal(motives.euler_z1_x2_z3_deg, [[10.125, 20.75, 30.5]])
    assert (motives.class_number[0], motives.previous_class[0]) == (431, 2)
    assert np.isnan(motives.adjusted_ccc[0])
    write_motive_list(tmp_path / "copy.csv", motives)
    assert (tmp_path / "copy.csv").read_text() == f"{HEADERS[generation]}\n{row}\n"


def test_changed_values_alone_are_written_anew(tmp_path):
    row = "0.250,0,0,7,1,NA,0,0,0,0,1.50,-2.25,3.0,0,0,2,10.1250,30.5,20.75,431"
    (tmp_path / "m.csv").write_text(f"{HEADERS['adjusted scores']}\n{row}\n")
    motives = read_motive_list(tmp_path / "m.csv")
    motives.class_number[0] = -9999
    motives.offset_px[0, 1] = -2.5
    write_motive_list(tmp_path / "c.csv", motives)
    assert (tmp_path / "c.csv").read_text().splitlines()[1] == \
        "0.250,0,0,7,1,NA,0,0,0,0,1.50,-2.5,3.0,0,0,2,10.1250,30.5,20.75,-9999"


@pytest.mark.parametrize(("row", "what"), [
    ("0,0,0,1", "4 values"), (",".join(["0"] * 21), "21 values"),
    ("0,0,0,1,0,0,0,0,0,0,x,0,0,0,0,0,0,0,0,0", "column 11"),
    ("0,0,0,1,0,0,0,0,0,0,NaN,0,0,0,0,0,0,0,0,0", "offset"),
    ("0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,inf,0,0,0", "Euler"),
    ("0,0,0,1.5,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", "whole"),
    ("0,0,0,NA,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", "pIndex")])
def test_bad_rows_of_a_motive_list_are_named(tmp_path, row, what):
    good = ",".join(["0", "0", "0", "1", *["0"] * 16])
    (tmp_path / "m.csv").write_text(f"{HEADERS['adjusted scores']}\n{good}\n{row}\n")
    with pytest.raises(FormatError, match=rf"row 2.*{what}"):
        read_motive_list(tmp_path / "m.csv")


def test_files_of_another_kind_are_not_taken_for_motive_lists(tmp_path):
    for content in (b"", b"\0\1\2", b"1,2,3\n", b"CCC,a\n"):
        (tmp_path / "m.csv").write_bytes(content)
        with pytest.raises(FormatError):
            read_motive_list(tmp_path / "m.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_motive_list(tmp_path / "absent.csv")


def test_rotation_axes_round_trip(tmp_path):
    axes = Rotation.random(5, random_state=1).apply([0.0, 1.0, 0.0])
    write_rotation_axes(tmp_path / "a.csv", axes)
    assert np.allclose(read_rotation_axes(tmp_path / "a.csv"), axes, atol=1e-8)


@pytest.mark.parametrize("text", ["1,2\n", "0,0,0\n", "1,nan,0\n", "a,b,c\n", "1,2,3,4\n"])
def test_bad_rotation_axes_are_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text("0,1,0\n" + text)
    with pytest.raises(FormatError, match="line 2"):
        read_rotation_axes(tmp_path / "a.csv")


def test_real_parameter_file_is_read_with_nothing_dropped(data_dir, tmp_path):
    path = data_dir / "imod_fiducial_alignment_midzone2" / "pi" / "pi.prm"
    prm = read_prm(path)
    lines = [line for line in path.read_text().splitlines()
             if "=" in line and not line.startswith("#")]
    assert list(prm) == [line.split("=")[0].strip() for line in lines]
    prm.write(tmp_path / "copy.prm")
    assert (tmp_path / "copy.prm").read_bytes() == path.read_bytes()
    assert prm.strings("fnVolume")[1].endswith("pi-b.rec")
    assert prm["relativeOrient"] == Cell((Vector((0, 0, 0)), Vector((-38, -21, 40.5)),
                                          Vector((0, 0, 0))))
    assert prm.numbers("dPhi")[0].tolist() == [*range(-20, 21, 4)]
    assert prm.numbers("lstThresholds")[0].tolist() == [3, 6, 9]
    assert np.isnan(prm.number("sampleInterval"))
    assert prm["alignedBaseName"] == ""
    assert prm["maskModelPts"] == Vector(())
    assert prm["tiltRange"] == Cell(())


def test_changed_value_changes_its_own_line_alone():
    text = "# note\na = 1 % kept\nb = {1:2:9, ...\n 'x'};\n"
    prm = parse_prm(text)
    prm["a"] = 2
    prm["new"] = Cell((Range(-9, 3, 9), "it's"))
    assert prm.text() == "# note\na = 2 % kept\nb = {1:2:9, ...\n 'x'};\nnew = {-9:3:9, 'it''s'}\n"
    assert parse_prm(prm.text())["new"] == prm["new"]


@pytest.mark.parametrize(("text", "expected"), [
    ("0:1:0", [0]), ("1:3", [1, 2, 3]), ("0:0.1:0.3", [0, 0.1, 0.2, 0.3]), ("3:1:1", []),
    ("10:-5:0", [10, 5, 0]), ("[50:50:200, 205]", [50, 100, 150, 200, 205]),
    ("[1 -2\n3]", [1, -2, 3]), ("-9:3:9", [-9, -6, -3, 0, 3, 6, 9]), ("[]", []), ("1e2", [100])])
def test_ranges_count_as_matlab_does(text, expected):
    prm = parse_prm(f"k = {text}")
    assert np.allclose(np.concatenate(prm.numbers("k")), expected, atol=1e-12)


@pytest.mark.parametrize("text", [
    "a = {1, 2", "a = 'x", "a = 1 + 2", "a = system('ls')", "a =", "a", "= 3", "a = [1, 2}",
    "a = 1:2:3:4", "a = 'x':2", "a = " + "{" * 1000, "a = ${HOME}", "a = 1 b = 2"])
def test_what_is_not_a_plain_value_is_refused_with_its_line(text):
    with pytest.raises(FormatError, match="line 2"):
        parse_prm("# first\n" + text)


@pytest.mark.parametrize("text", ["0:1e-12:1e12", "0:1e-300:1e300", "0:-1:-1e9"])
def test_endless_range_takes_no_memory(text):
    prm = parse_prm(f"a = {text}")
    with pytest.raises(InputError, match="members"):
        prm.numbers("a")


def test_key_that_is_set_twice_is_warned_of_and_the_last_counts():
    with pytest.warns(InputWarning, match="more than once"):
        assert parse_prm("a = 1\na = 2\n").number("a") == 2


_SCALARS = st.one_of(st.integers(-10**9, 10**9), st.floats(allow_nan=False, allow_infinity=False),
                     st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=8))
_VALUES = st.recursive(_SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=4).map(lambda v: Vector(tuple(v))),
    st.lists(inner, max_size=4).map(lambda v: Cell(tuple(v)))), max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(_VALUES)
def test_any_value_reads_back_from_its_text(value):
    prm = parse_prm("")
    prm["key"] = value
    assert parse_prm(prm.text())["key"] == value


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab='\"{}[],;:%#. \n-+e1\\", max_size=40))
def test_random_text_is_parsed_or_refused_and_kept(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        with contextlib.suppress(FormatError):
            assert parse_prm(text).text() == text


def test_peet_angles_turn_z_then_x_then_z():
    angles = np.random.default_rng(1).uniform(-180, 180, (100, 3))
    z1, x2, z3 = np.radians(angles.T)
    for i in range(100):
        Rz = [np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
              for a in (z1[i], z3[i])]
        Rx = np.array([[1, 0, 0], [0, np.cos(x2[i]), -np.sin(x2[i])],
                       [0, np.sin(x2[i]), np.cos(x2[i])]])
        assert np.allclose(rotation_from_peet_euler(angles[i]), Rz[1] @ Rx @ Rz[0], atol=1e-12)


def test_symmetry_axis_of_peet_becomes_our_z_axis():
    R = Rotation.random(50, random_state=2).as_matrix()
    ours = rp2t_from_peet(R)
    assert np.allclose(ours[:, :, 2], R[:, :, 1], atol=1e-15)
    assert np.allclose(np.linalg.det(ours), 1)
    assert np.allclose(peet_from_rp2t(ours), R, atol=1e-15)
    assert np.array_equal(rp2t_from_peet(R, y_is_axis=False), R)


def test_motive_list_keeps_any_orientation_to_its_decimals(tmp_path):
    R = Rotation.random(200, random_state=3).as_matrix()
    motives = MotiveList.fresh(200)
    motives.euler_z1_x2_z3_deg = peet_euler_from_rotation(R)
    write_motive_list(tmp_path / "m.csv", motives)
    back = rotation_from_peet_euler(read_motive_list(tmp_path / "m.csv").euler_z1_x2_z3_deg)
    # six decimals of a degree are 1e-8 in the matrix
    assert 0 < np.abs(back - R).max() < 3e-8
