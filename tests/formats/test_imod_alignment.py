"""IMOD's alignment files: real files survive, damaged ones are refused, and the projection matrices
made of them put measured gold beads where IMOD saw them."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.imod_alignment import (
    Transforms,
    read_tilt_angles,
    read_xf,
    read_z_factors,
    require_views,
    write_tilt_angles,
    write_xf,
    write_z_factors,
)
from sta_mpi.formats.imod_com import option_numbers, parse_number_list, read_com_options
from sta_mpi.geometry.imod import imod_from_projection, projection_from_imod
from sta_mpi.geometry.rotations import nearest_rotation

MIDZONE = "imod_fiducial_alignment_midzone2/midzone2"


def beads_of(folder: Path, axis: str):
    """Solved bead positions, measured positions with view and residual, image size.

    `.xyz` counts x and y from the image corner and z from the centre; each bead's points stand
    together in `.resid`, in rising view order; y, x of the image are those of the coarsely aligned
    stack, which `.tltxf` starts from.
    """
    lines = (folder / f"midzone2{axis}fid.xyz").read_text().splitlines()
    width, height = (int(v) for v in lines[0].split("Dim:")[1].split())
    xyz = np.array([[float(v) for v in line.split()[1:4]] for line in lines if line.strip()])
    rows = np.loadtxt(folder / f"midzone2{axis}.resid", skiprows=1)
    i_bead = np.cumsum(np.r_[0, np.diff(rows[:, 2]) <= 0])
    assert i_bead[-1] + 1 == len(xyz)
    return xyz, rows, i_bead, (width, height)


def predict(folder: Path, axis: str, tilt_sign: float = 1.0, with_z_factors: bool = True):
    """Differences (measured + residual - predicted) in pixels."""
    xyz, rows, i_bead, size = beads_of(folder, axis)
    xf = read_xf(folder / f"midzone2{axis}.tltxf")
    tilt = read_tilt_angles(folder / f"midzone2{axis}.tlt")
    x_tilt = read_tilt_angles(folder / f"midzone2{axis}.xtilt")
    factors = read_z_factors(folder / f"midzone2{axis}.zfac") if with_z_factors else None
    P = projection_from_imod(xf.matrix, xf.shift_px, tilt_sign * tilt, x_tilt, size, 1.0, factors)
    centre = np.array([size[0] / 2, size[1] / 2, 0.0])
    # IMOD's coordinates have pixel centres at half-integers; our centre voxel is n / 2, theirs
    # (n - 1) / 2 in indices, so a point X from their centre is X - 0.5 from ours.
    X = xyz[i_bead] - centre - 0.5
    view = rows[:, 2].astype(int)
    at_px = np.einsum("nij,nj->ni", P[view, :2, :3], X) + P[view, :2, 3]
    at_px += [size[0] // 2 + 0.5, size[1] // 2 + 0.5]
    return rows[:, :2] + rows[:, 3:5] - at_px


@pytest.mark.parametrize("axis", ["a", "b"])
def test_measured_beads_lie_where_the_matrices_put_them_within_the_files_residuals(data_dir, axis):
    error = predict(data_dir / MIDZONE, axis)
    assert len(error) > 3000
    # Positions, residuals and angles are written with two decimals: 0.005 px, and 0.005 degrees
    # over 1000 px of radius are 0.09 px.
    assert np.sqrt((error ** 2).mean(axis=0)).max() < 0.02
    assert np.abs(error).max() < 0.1


@pytest.mark.parametrize(("change", "least_px"), [({"tilt_sign": -1.0}, 20.0),
                                                  ({"with_z_factors": False}, 0.04)])
def test_beads_tell_a_wrong_tilt_sign_and_missing_z_factors(data_dir, change, least_px):
    error = predict(data_dir / MIDZONE, "a", **change)
    assert np.sqrt((error ** 2).mean(axis=0)).max() > least_px


def test_projection_follows_imods_documented_formula_pixel_by_pixel():
    """x' - xc' = A (x - xc) + d with true centres, and a rotation written out by hand."""
    rng = np.random.default_rng(3)
    size, volume, pixel_A = (100, 81), (100, 80, 60), 2.5
    A = np.array([[0.97, -0.21], [0.20, 1.01]])
    d_px, tilt, pitch = np.array([7.3, -4.1]), np.radians(37.0), np.radians(-6.0)
    P = projection_from_imod([A], [d_px * pixel_A], [37.0], [-6.0], size, pixel_A)[0]
    voxel = rng.uniform(0, 60, 3)                        # 0-based index in a volume like IMOD's
    x, y, z = voxel - (np.array(volume) - 1) / 2
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    aligned = np.array([x * np.cos(tilt) + z * np.sin(tilt), y])
    raw = np.linalg.solve(A, aligned - d_px) + (np.array(size) - 1) / 2
    xyz_A = (voxel - np.array(volume) / 2) * pixel_A
    ours = (P[:2, :3] @ xyz_A + P[:2, 3]) / pixel_A + [size[0] // 2, size[1] // 2]
    np.testing.assert_allclose(ours, raw, atol=1e-10)    # rounding of 1e2 px in float64


@settings(max_examples=40, deadline=None)
@given(st.floats(-80, 80), st.floats(-30, 30), st.floats(-180, 180), st.floats(0.9, 1.1),
       st.integers(50, 101))
def test_projection_and_imod_description_are_inverses(tilt, pitch, turn, magnification, width):
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    A = magnification * np.array([[c, -s], [s, c * 1.01]])
    P = projection_from_imod([A], [[12.5, -3.25]], [tilt], [pitch], (width, 64), 3.0)
    A2, d2, tilt2, pitch2 = imod_from_projection(P, (width, 64), 3.0)
    np.testing.assert_allclose(A2[0], A, atol=1e-9)
    np.testing.assert_allclose(d2[0], [12.5, -3.25], atol=1e-7)
    np.testing.assert_allclose([tilt2[0], pitch2[0]], [tilt, pitch], atol=1e-7)


@pytest.mark.parametrize("sample", [
    "midzone2a", "midzone2a_patch-tracking", "midzone2b", "midzone2a_fid", "midzone2b_fid"])
def test_real_transforms_and_angles_survive_a_round_trip(data_dir, tmp_path, sample):
    folder = data_dir / MIDZONE
    xf, angles = read_xf(folder / f"{sample}.xf"), read_tilt_angles(folder / f"{sample}.tlt")
    write_xf(tmp_path / "a.xf", xf)
    write_tilt_angles(tmp_path / "a.tlt", angles)
    assert (tmp_path / "a.xf").read_text() == (folder / f"{sample}.xf").read_text()
    assert (tmp_path / "a.tlt").read_text().split() == (folder / f"{sample}.tlt"
                                                         ).read_text().split()


def test_other_programs_transforms_and_x_tilts_are_read_as_they_are(data_dir, tmp_path):
    for xf in [*(data_dir / "formats_motive_lists").rglob("*.xf"),
               *(data_dir / "tiltseries_empiar10499_00254").rglob("*.xf")]:
        rows = np.loadtxt(xf, ndmin=2)
        found = read_xf(xf)
        np.testing.assert_array_equal(found.matrix.reshape(-1, 4), rows[:, :4])
        np.testing.assert_array_equal(found.shift_px, rows[:, 4:])
    factors = read_z_factors(data_dir / MIDZONE / "midzone2a.zfac")
    write_z_factors(tmp_path / "a.zfac", factors)
    np.testing.assert_array_equal(read_z_factors(tmp_path / "a.zfac"), factors)


def test_rotation_of_a_real_transform_is_the_axis_angle_of_the_same_series(data_dir):
    """RELION's rule for ZRot of an `.xf`: atan2(a12, a11); Warp wrote -4.3 for this series."""
    xf = read_xf(data_dir / "tiltseries_empiar10499_00254" / "xf_import" / "00254.xf")
    P = projection_from_imod(xf.matrix, xf.shift_px, np.zeros(len(xf)), np.zeros(len(xf)),
                             (652, 630), 10.0)
    turn = nearest_rotation(P[:, :, :3])
    np.testing.assert_allclose(np.degrees(np.arctan2(turn[:, 1, 0], turn[:, 0, 0])), -4.3,
                               atol=1e-4)


@pytest.mark.parametrize(("text", "message"), [
    ("1 0 0 1 0\n", "line 1: 5 values, expected 6"),
    ("1 0 0 1 0 x\n", "'x' is not a number"),
    ("1 0 0 1 0 nan\n", "NaN or Inf"),
    ("0 0 0 0 0 0\n", "view 1: the transform changes areas"),
    ("\n\n", "no rows"),
    ("1 0 0 1 0 1e999\n", "NaN or Inf"),
])
def test_damaged_transforms_are_refused_with_the_line(tmp_path, text, message):
    (tmp_path / "a.xf").write_text(text)
    with pytest.raises(InputError, match=message):
        read_xf(tmp_path / "a.xf")


def test_angles_beyond_a_turn_binary_data_and_missing_files_are_refused(tmp_path):
    (tmp_path / "a.tlt").write_text("10.0\n500.0\n")
    with pytest.raises(FormatError, match="view 2: 500 is no angle"):
        read_tilt_angles(tmp_path / "a.tlt")
    (tmp_path / "b.tlt").write_bytes(b"\x00\x01\x02")
    with pytest.raises(FormatError, match="binary data"):
        read_tilt_angles(tmp_path / "b.tlt")
    with pytest.raises(InputError, match="cannot be read"):
        read_tilt_angles(tmp_path / "none.tlt")
    with pytest.raises(InputError, match="3 views, expected 4"):
        require_views("a.tlt", 3, 4, "the stack")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_as_transforms_or_refused(text):
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xf"
        path.write_text(text)
        with contextlib.suppress(InputError):
            assert isinstance(read_xf(path), Transforms)


def test_command_file_options_are_read_and_not_run(data_dir, tmp_path):
    path = data_dir / "formats_motive_lists" / "cryocat" / "TS_017" / "tilt.com"
    options = read_com_options(path, "tilt")
    assert option_numbers(options, "thickness", path) == [1500.0]
    assert option_numbers(options, "FullImage", path) == [4096.0, 4096.0]
    assert option_numbers(options, "absent", path) == []
    with pytest.raises(FormatError, match=r"no line \$newstack"):
        read_com_options(path, "newstack")


def test_view_lists_are_read_and_absurd_ones_refused():
    assert parse_number_list(["1", "3-5"], "here") == [1, 3, 4, 5]
    for wrong in ("x", "3-", "-4", "1-99999999", "3.5"):
        with pytest.raises(FormatError, match="here"):
            parse_number_list([wrong], "here")
