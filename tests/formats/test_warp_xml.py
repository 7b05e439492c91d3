"""Warp's XML: real files are read with what is not applied told; damaged ones are refused."""

import gzip

import numpy as np
import pytest

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.imod_alignment import read_tilt_angles, read_xf
from sta_mpi.formats.warp_xml import read_warp_xml
from sta_mpi.geometry.imod import projection_from_imod
from sta_mpi.geometry.warp import mirror_projection, projection_from_warp

SERIES = "tiltseries_empiar10499_00254"
SMALL = """<?xml version="1.0" encoding="utf-8"?>
<TiltSeries AreAnglesInverted="True" LevelAngleX="1" LevelAngleY="2">
<Angles>-3
0
3</Angles><Dose>3
0
6</Dose><UseTilt>True
False
True</UseTilt><AxisAngle>1
1
1</AxisAngle><AxisOffsetX>1
2
3</AxisOffsetX><AxisOffsetY>4
5
6</AxisOffsetY>
<GridCTF Width="1" Height="1" Depth="3"><Node Value="1.5"/><Node Value="2"/><Node Value="2.5"/>
</GridCTF></TiltSeries>"""


def projection(series, size=(652, 630), pixel_A=10.0):
    return projection_from_warp(series.angle_deg, series.axis_deg, series.offset_A,
                                series.level_x_deg, series.level_y_deg, size, pixel_A)


def test_warps_own_import_of_xf_and_tlt_projects_as_the_files_do_but_mirrored(data_dir):
    """The XML that Warp made of this .xf and .tlt (10 Å a pixel) is the independent description."""
    folder = data_dir / SERIES / "xf_import"
    warp = read_warp_xml(folder / "00254.xml")
    xf, tilt = read_xf(folder / "00254.xf"), read_tilt_angles(folder / "00254.tlt")
    ours = projection_from_imod(xf.matrix, 10.0 * xf.shift_px, tilt, np.zeros(41), (652, 630), 10.0)
    theirs = mirror_projection(projection(warp))
    points = np.random.default_rng(5).uniform(-3000, 3000, (500, 3))
    # IMOD turns about the true centres, half a pixel from Warp's, in the image and the volume.
    half_A = 5.0
    a = np.einsum("fij,nj->nfi", ours[:, :2, :3], points - half_A) + ours[:, :2, 3]
    b = np.einsum("fij,nj->nfi", theirs[:, :2, :3], points) + theirs[:, :2, 3] - half_A
    # The .xf carries 3 decimals of 10 Å pixels, and the axis 7 decimals.
    assert np.abs(a - b).max() < 0.02
    unmirrored = np.einsum("fij,nj->nfi", projection(warp)[:, :2, :3], points)
    assert np.abs(a - unmirrored).max() > 1000


def test_real_series_has_ctf_dose_and_axis_of_every_tilt(data_dir):
    warp = read_warp_xml(data_dir / SERIES / "00254.xml")
    assert len(warp.angle_deg) == 41
    assert warp.use.all()
    assert not warp.not_applied
    assert (warp.pixel_A, warp.voltage_kV, warp.cs_mm, warp.amp_contrast) == (1.7005, 300, 2.7, 0.1)
    assert warp.hand == -1
    assert warp.defocus_A[0] == pytest.approx(15701.942)
    assert warp.defocus_delta_A[0] == pytest.approx(153.11956)
    assert warp.astig_deg[0] == 69
    assert warp.dose_e_per_A2.min() == 0
    assert warp.dose_e_per_A2.max() == 120
    assert np.argmin(warp.dose_e_per_A2) == 20


def test_series_without_ctf_has_none_and_no_optics(data_dir):
    warp = read_warp_xml(data_dir / SERIES / "xf_import" / "00254.xml")
    assert warp.defocus_A is None
    assert warp.voltage_kV is None


def test_refined_series_tells_what_is_not_applied(data_dir, tmp_path):
    path = tmp_path / "TS_1.xml"
    path.write_bytes(gzip.decompress((data_dir / SERIES / "TS_1.xml.gz").read_bytes()))
    warp = read_warp_xml(path)
    assert warp.level_y_deg == pytest.approx(-5.920115)
    assert warp.volume_size_A == (3336.0, 4753.7998, 834.0)
    left_out = " ".join(warp.not_applied)
    for name in ("GridMovementX", "GridAngleX", "MagnificationCorrection"):
        assert name in left_out
    other = read_warp_xml(data_dir / "formats_motive_lists" / "cryocat" / "TS_017" / "017.xml")
    assert len(other.angle_deg) == 60
    assert "GridVolumeWarpX" in " ".join(other.not_applied)


def test_small_file_is_read_value_by_value(tmp_path):
    (tmp_path / "a.xml").write_text(SMALL)
    warp = read_warp_xml(tmp_path / "a.xml")
    np.testing.assert_array_equal(warp.offset_A, [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(warp.use, [True, False, True])
    np.testing.assert_array_equal(warp.defocus_A, [15000, 20000, 25000])
    assert (warp.level_x_deg, warp.level_y_deg, warp.hand) == (1, 2, -1)


def test_one_movement_for_the_whole_image_is_taken_into_the_offset(tmp_path):
    grid = ('<GridMovementX Width="1" Height="1" Depth="3"><Node Value="7"/><Node Value="0"/>'
            '<Node Value="0"/></GridMovementX></TiltSeries>')
    (tmp_path / "a.xml").write_text(SMALL.replace("</TiltSeries>", grid))
    warp = read_warp_xml(tmp_path / "a.xml")
    np.testing.assert_array_equal(warp.offset_A[:, 0], [-6, 2, 3])
    assert warp.not_applied == []


@pytest.mark.parametrize(("old", "new", "message"), [
    ("</TiltSeries>", "", "broken XML"),
    ("<TiltSeries", '<!DOCTYPE x [<!ENTITY a "b">]><TiltSeries', "document type"),
    ("TiltSeries", "Movie", "<Movie>"),
    ("<Dose>3\n0\n6</Dose>", "<Dose>3\n0</Dose>", "<Dose> has 2 values, <Angles> has 3"),
    ("<Dose>3\n0\n6</Dose>", "<Dose>3\nnan\n6</Dose>", "NaN or Inf"),
    ("<Dose>3\n0\n6</Dose>", "", "no <Dose>"),
    ("False\nTrue</UseTilt>", "maybe\nTrue</UseTilt>", "'maybe'"),
    ('Depth="3"', 'Depth="2"', "1 x 1 x 2 nodes holds 3 values"),
    ('Depth="3"', 'Depth="3000000000"', "nodes holds 3 values"),
    ('<Node Value="1.5"/>', '', "nodes holds 2 values"),
    ('Depth="3"><Node Value="1.5"/>', 'Depth="2">', "2 nodes along the tilts, expected 1 or 3"),
])
def test_damaged_files_are_refused_in_one_line(tmp_path, old, new, message):
    (tmp_path / "a.xml").write_text(SMALL.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_warp_xml(tmp_path / "a.xml")


def test_entities_are_not_expanded(tmp_path):
    bomb = ('<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
            "<TiltSeries><Angles>&b;</Angles></TiltSeries>")
    (tmp_path / "a.xml").write_text(bomb)
    with pytest.raises(FormatError, match="entities"):
        read_warp_xml(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_bytes(bomb.encode("utf-16"))
    with pytest.raises(FormatError, match="entities"):
        read_warp_xml(tmp_path / "b.xml")
