"""`average --device gpu`: the maps of the CPU, the same bits on any ranks; a clear error without.

The GPU is numba's simulator, so the set is tiny.
"""

import importlib.util
import json

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc

pytestmark = pytest.mark.mpi

SERIES = {"n-series": 1, "n-particles": 6, "pixel-A": 6, "image-width-px": 192,
          "image-height-px": 192, "thickness-A": 600, "tilt-step-deg": 30,
          "phantom-radius-A": 50, "phantom-detail-A": 6, "defocus-A": 20000}
TINY = ["--box-px", "12", "--binning", "2", "--pad", "1", "--quiet", "--unit-particles", "2"]


@pytest.fixture(scope="module")
def tiny_set(mpirun, tmp_path_factory):
    """Six particles in five tilts."""
    folder = tmp_path_factory.mktemp("tiny") / "project"
    options = [word for name, value in SERIES.items() for word in (f"--{name}", str(value))]
    done = mpirun(1, "-m", "sta_mpi", "simulate", *options, "--quiet", "-o", str(folder))
    assert done.returncode == 0, done.stderr
    return folder / "optimisation_set.star"


@pytest.fixture(scope="module")
def average(tiny_set, mpirun, tmp_path_factory):
    """A function that averages the tiny set on a device and n ranks, once each; its folder."""
    folders = {}

    def run(device, ranks=1):
        if (device, ranks) not in folders:
            folder = tmp_path_factory.mktemp("average") / "out"
            done = mpirun(
                ranks, "-m", "sta_mpi", "average", "--optimisation-set", str(tiny_set), *TINY,
                "--device", device, "-o", str(folder), timeout=300,
                env={"NUMBA_ENABLE_CUDASIM": str(int(device == "gpu"))})
            assert done.returncode == 0, done.stderr
            folders[device, ranks] = folder
        return folders[device, ranks]

    return run


@pytest.mark.parametrize("name", ["half1.mrc", "half2.mrc", "merged.mrc"])
def test_map_of_a_simulated_gpu_is_that_of_the_cpu(average, name):
    cpu, gpu = (read_mrc(average(device) / name).data for device in ("cpu", "gpu"))
    error = np.abs(gpu - cpu).max() / np.abs(cpu).max()
    # sums are float32 on the CPU: 1e-7 of the largest, more where the weight is small
    assert 0 < error < 1e-5


@pytest.mark.slow
def test_maps_of_a_gpu_have_the_same_bits_on_1_and_2_ranks(average):
    for name in ("half1.mrc", "half2.mrc"):
        one, two = (read_mrc(average("gpu", ranks) / name).data for ranks in (1, 2))
        np.testing.assert_array_equal(one, two)


def test_job_says_which_device_it_ran_on(average):
    assert 'device = "gpu"' in (average("gpu") / "job.toml").read_text()
    assert json.loads((average("gpu") / "job.json").read_text())["status"] == "finished"


def test_gpu_that_is_not_there_ends_the_run_with_one_line_and_exit_code_2(
        tiny_set, mpirun, tmp_path):
    if importlib.util.find_spec("numba_cuda"):
        pytest.skip("numba-cuda is installed here")
    done = mpirun(2, "-m", "sta_mpi", "average", "--optimisation-set", str(tiny_set), *TINY,
                  "--device", "gpu", "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "--device gpu: numba-cuda" in done.stderr
    assert "not installed on rank 0@" in done.stderr
    assert "pip install 'sta_mpi[gpu]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("UsageError") <= 1
