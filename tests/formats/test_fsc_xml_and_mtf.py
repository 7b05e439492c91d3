"""FSC as XML for the EMDB, and the MTF tables of detectors."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.formats.emdb_fsc import write_fsc_xml
from sta_mpi.formats.relion_mtf import read_mtf


def test_xml_has_the_elements_that_the_data_bank_reads(tmp_path):
    s, curve = np.arange(5) / 100, np.array([1.0, 0.9, 0.5, 0.1, -0.01])
    write_fsc_xml(tmp_path / "f.xml", s, curve, 'half maps of "A" & <B>')
    root = ET.parse(tmp_path / "f.xml").getroot()
    assert root.tag == "fsc"
    assert root.attrib == {"title": 'half maps of "A" & <B>', "xaxis": "Resolution (A-1)",
                           "yaxis": "Correlation Coefficient"}
    points = [(float(p.find("x").text), float(p.find("y").text)) for p in root]
    assert {p.tag for p in root} == {"coordinate"}
    assert np.allclose(points, np.stack([s, curve], 1), atol=1e-6)
    with pytest.raises(ValueError, match="finite"):
        write_fsc_xml(tmp_path / "g.xml", s, curve * np.nan)
    assert not (tmp_path / "g.xml").exists()


def mtf_file(tmp_path, rows, label="rlnMtfValue"):
    path = tmp_path / "mtf.star"
    path.write_text("data_\n\nloop_\n_rlnResolutionInversePixel #1\n"
                    f"_{label} #2\n" + "".join(f"{f} {v}\n" for f, v in rows))
    return path


def test_mtf_is_read_as_it_stands(tmp_path):
    frequency, value = read_mtf(mtf_file(tmp_path, [(0, 1), (0.25, 0.6), (0.5, 0.3)]))
    assert frequency.tolist() == [0, 0.25, 0.5]
    assert value.tolist() == [1, 0.6, 0.3]


@pytest.mark.parametrize(("rows", "label", "words"), [
    ([(0, 1)], "rlnMtfValue", "at least two"),
    ([(0.5, 1), (0, 1)], "rlnMtfValue", "must rise"),
    ([(0, 1), (50, 1)], "rlnMtfValue", "must rise"),
    ([(0, 1), (0.5, 0)], "rlnMtfValue", "more than 0"),
    ([(0, 100), (0.5, 9)], "rlnMtfValue", "Normalise"),
    ([(0, 1), (0.5, 1)], "rlnOther", "no table")])
def test_faulty_mtf_is_refused(tmp_path, rows, label, words):
    with pytest.raises(InputError, match=words):
        read_mtf(mtf_file(tmp_path, rows, label))
