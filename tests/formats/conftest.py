"""Helper modules of this folder, made importable, and the tomograms of small sets."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def tomograms(tmp_path):
    """Two tomograms of 3 and 4 tilts in one optics group."""
    import relion_cases as cases
    from particle_sets import PIXEL_A, SIZE

    from sta_mpi.formats.relion_tomograms import read_tomograms

    table = cases.global_table(["TS_01", "TS_02"], SIZE, PIXEL_A,
                               rlnOpticsGroupName=["optics1", "optics1"])
    return read_tomograms(cases.write_project(
        tmp_path, table, [cases.tilt_table("TS_01", 3), cases.tilt_table("TS_02", 4)]))
