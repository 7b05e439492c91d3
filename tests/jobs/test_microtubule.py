"""A real microtubule shows its 13 protofilaments, by our commands and as a PEET project.

A minute on one core: `pytest -q -m slow tests/jobs/test_microtubule.py`.
"""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "chain" / "microtubule.py"


@pytest.mark.slow
def test_thirteen_protofilaments_win_over_their_neighbours(data_dir, tmp_path):
    pytest.importorskip("PIL", reason="Pillow reads the TIFF of the tomogram")
    folder = data_dir / "tomogram_microtubule"
    if not (folder / "13pf_MT.tif").exists():
        pytest.skip(f"real tomogram not found in {folder}")
    spec = importlib.util.spec_from_file_location("microtubule", SCRIPT)
    chain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chain)
    chain.make_project(folder, tmp_path)
    for name, volume in chain.averages(tmp_path).items():
        shares = chain.order_shares(volume)
        others = [shares[order] for order in (11, 12, 14, 15)]
        # the volume's own missing wedge leaves gaps at top and bottom, which feed the neighbours
        assert shares[13] > 2 * max(others), (name, shares)
