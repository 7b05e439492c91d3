"""The tilt weights of the report are those at which tilts enter the averages."""

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.jobs.average import AverageJob, prepare_setup
from sta_mpi.jobs.parameters.average import AverageParameters
from sta_mpi.jobs.tilt_weights import weight_section
from sta_mpi.parallel.engine import run_job
from sta_mpi.parallel.runtime import Runtime


def weights(folder):
    """(series, tilts) mean weights of an average."""
    setup = prepare_setup(AverageParameters(
        optimisation_set=folder / "optimisation_set.star", box_px=24, noise="flat",
        dose_weighting=False, output=folder / "none"))
    job = AverageJob(setup, "test")
    run_job(job, Runtime())
    return setup, job.tilt_weights


def test_half_the_scale_of_a_tilt_is_a_quarter_of_its_weight(tmp_path):
    words = ["simulate", "--n-series", 2, "--n-particles", 3, "--image-width-px", 96,
             "--image-height-px", 96, "--thickness-A", 300, "--tilt-step-deg", 20, "--pixel-A", 8,
             "--snr", 0.5, "--quiet", "-o", tmp_path / "sim"]
    done = CliRunner().invoke(cli, list(map(str, words)))
    assert done.exit_code == 0, done.output
    setup, before = weights(tmp_path / "sim")
    assert before.shape == (2, 7)
    path = tmp_path / "sim/tilt_series/TS_02.star"
    lines = path.read_text().splitlines()
    column = next(i for i, line in enumerate(
        [line for line in lines if line.startswith("_")]) if "rlnCtfScalefactor" in line)
    row = next(i for i, line in enumerate(lines) if ".mrcs" in line and "3@" in line)
    cells = lines[row].split()
    cells[column] = str(0.5 * float(cells[column]))
    lines[row] = " ".join(cells)
    path.write_text("\n".join(lines) + "\n")
    _, after = weights(tmp_path / "sim")
    ratio = after / before
    # rlnCtfScalefactor has six decimals
    assert ratio[1, 2] == pytest.approx(0.25, rel=1e-4)
    ratio[1, 2] = 1.0
    assert np.array_equal(ratio, np.ones((2, 7)))
    [section] = weight_section(setup, after)
    assert section.figures[0].title == "Weight of each tilt"
    assert weight_section(setup, np.full((2, 7), np.nan)) == []
