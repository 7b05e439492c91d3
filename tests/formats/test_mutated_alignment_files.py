"""Text files of alignments with a piece replaced by anything are read or refused, never worse."""

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.errors import InputError
from sta_mpi.formats.aretomo import read_aln, sections_of_stack
from sta_mpi.formats.ctf_tables import read_ctf_table
from sta_mpi.formats.imod_alignment import read_tilt_angles, read_xf, read_z_factors
from sta_mpi.formats.imod_com import option_numbers, parse_number_list, read_com_options
from sta_mpi.formats.mdoc import pre_exposure, read_mdoc
from sta_mpi.formats.warp_xml import read_warp_xml

TEXTS = {
    "a.xf": "   0.9971855  -0.0749783   0.0749783   0.9971855     -27.094      -2.191\n" * 3,
    "a.tlt": " -60.01\n   0.00\n  57.00\n",
    "a.zfac": "   -0.004567    0.002148\n" * 3,
    "a.defocus": "37 0 0. 0. 0. 3\n1 1 -3 -3 2000 1800 0.5 90 0.02\n2 3 0 3 2100 1900 -5 90 0.02\n",
    "a.txt": "# Columns\n1.0 14477.87 13500.0 75.0 0.0 0.001 12.1\n2 14477 13500 75 0 0 12\n"
             "3 1e4 1e4 0 0 0 inf\n",
    "a.com": "$tilt -StandardInput\nTHICKNESS 120\nEXCLUDELIST 1 3-5\nXAXISTILT 2.0\n$if (x) y\n",
    "a.mdoc": "Voltage = 300\n[T = x]\n\n" + "".join(
        f"[ZValue = {i}]\nTiltAngle = {i}\nExposureDose = 3\nDateTime = 30-Nov-15  15:1{i}:00\n\n"
        for i in range(3)),
    "a.aln": "# AreTomo Alignment\n# RawSize = 100 80 3\n# DarkFrame = 0 0 -9\n"
             "# AlphaOffset = 1.5\n    1 -12.66 1.0 24.7 -2.6 1 1 1 0 -6\n"
             "    2 -12.66 1.0 24.7 -2.6 1 1 1 0 -3\n# Local Alignment\n 0 0 1 2 3 4 1\n",
    "a.xml": '<?xml version="1.0"?><TiltSeries LevelAngleX="1"><Angles>-3\n0\n3</Angles><Dose>3\n0'
             "\n6</Dose><AxisAngle>1\n1\n1</AxisAngle><AxisOffsetX>1\n2\n3</AxisOffsetX>"
             "<AxisOffsetY>1\n2\n3</AxisOffsetY>"
             '<GridCTF Width="1" Height="1" Depth="3"><Node Value="1.5"/><Node Value="2"/>'
             '<Node Value="2.5"/></GridCTF></TiltSeries>',
}
PIECES = st.one_of(
    st.sampled_from(["", " ", "\n", "0", "-1", "nan", "inf", "1e999", "9" * 400, "1 2 3 4 5 6 7",
                     "<", "&a;", "<!DOCTYPE x>", "=", "[ZValue = 0]", "$", "\t", "\u2028", "-"]),
    st.text(max_size=5))


def read(path):
    """Everything that the program does with a file of this kind."""
    if path.suffix == ".com":
        options = read_com_options(path, "tilt")
        option_numbers(options, "XAXISTILT", path)
        return np.array(parse_number_list(options.get("EXCLUDELIST", []), "list"), float)
    if path.suffix == ".mdoc":
        return pre_exposure(read_mdoc(path))
    if path.suffix == ".aln":
        found = read_aln(path)
        return sections_of_stack(found, 3, path, 1) + found.tilt_deg
    if path.suffix == ".xml":
        found = read_warp_xml(path)
        return np.concatenate([found.angle_deg, found.offset_A.ravel(), found.dose_e_per_A2])
    if path.suffix in (".defocus", ".txt"):
        return read_ctf_table(path, 3).defocus_u_A
    if path.suffix == ".xf":
        return read_xf(path).matrix
    return read_z_factors(path) if path.suffix == ".zfac" else read_tilt_angles(path)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_untouched_text_is_read(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name])
    assert np.isfinite(read(tmp_path / name)).all()


@pytest.mark.parametrize("name", sorted(TEXTS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_text_with_a_piece_replaced_gives_finite_numbers_or_one_clear_error(
        tmp_path_factory, name, data):
    text = TEXTS[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    path = tmp_path_factory.getbasetemp() / f"mutated_{name}"
    path.write_text(text[:start] + data.draw(PIECES) + text[end:], encoding="utf-8")
    with warnings.catch_warnings(), contextlib.suppress(InputError):
        warnings.simplefilter("error")
        assert np.isfinite(read(path)).all()
