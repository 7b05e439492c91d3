"""A simulated project and what is extracted from it, made once; commands run in this process."""

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

BOX, PIXEL_A = 40, 6.0


def run_in_process(*words, code=0):
    """A command without terminal output; its result."""
    result = CliRunner().invoke(cli, [*map(str, words), "--quiet"])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="session")
def run():
    """A function that runs a command in this process."""
    return run_in_process


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """Pictures take most of the time; the report itself has a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sta_mpi.jobs.launch.write_job_page", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A simulated project with refined offsets, and a function that extracts from it, once."""
    folder = tmp_path_factory.mktemp("extract")
    run_in_process(
        "simulate", "--n-series", 2, "--n-particles", 14, "--pixel-A", PIXEL_A,
        "--image-width-px", 224, "--image-height-px", 224, "--tilt-step-deg", 8,
        "--thickness-A", 600, "--phantom-radius-A", 60, "--phantom-detail-A", 5, "--snr", 1,
        "--truth-box-px", BOX, "-o", folder / "sim")
    # the truth, written as picked position and refined offset
    star = read_star(folder / "sim/particles.star")
    table = star["particles"]
    rng = np.random.default_rng(0)
    for axis in "XYZ":
        offset = rng.uniform(-15, 15, len(table))
        label = f"rlnCenteredCoordinate{axis}Angst"
        table[label] = table.floats(label) + offset
        table[f"rlnOrigin{axis}Angst"] = offset
    write_star(folder / "particles.star", star.tables)
    common = ["--tomograms", folder / "sim/tomograms.star", "--particles",
              folder / "particles.star", "--box-px", BOX]
    done = {}

    def extract(*words):
        key = "_".join(map(str, words)).replace("-", "") or "stacks"
        if key not in done:
            done[key] = folder / key
            run_in_process("extract", *common, *words, "-o", folder / key)
        return done[key]

    run_in_process("average", *common, "--noise", "flat", "-o", folder / "from_tilts")
    return folder, extract


@pytest.fixture(scope="session")
def averaged():
    """A function that averages an extracted set; see `average_of`."""
    return average_of


def average_of(folder):
    """Half map 1 of an extracted set, its FSC with that from tilts and with the truth, scale."""
    out = folder.with_name(f"average_{folder.name}")
    if not out.exists():
        run_in_process("average", "--optimisation-set", folder / "optimisation_set.star",
                       "--noise", "flat", "-o", out)
    mask = soft_sphere(BOX, 12, 4)
    ours, tilts, truth = (read_mrc(path).data * mask for path in (
        out / "half1.mrc", folder.parent / "from_tilts/half1.mrc",
        folder.parent / "sim/truth.mrc"))
    return fsc(ours, tilts), fsc(ours, truth), np.vdot(ours, truth) / np.vdot(truth, truth)
