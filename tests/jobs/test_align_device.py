"""`align --device gpu` in numba's simulator: the poses and maps of the CPU."""

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.poses_h5 import read_poses

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

SERIES = {"n-series": 1, "n-particles": 6, "pixel-A": 6, "image-width-px": 192,
          "image-height-px": 192, "thickness-A": 600, "tilt-step-deg": 30,
          "phantom-radius-A": 50, "phantom-detail-A": 6, "defocus-A": 20000,
          "perturb-angle-deg": 4, "perturb-shift-A": 8}
SMALL = ["--box-px", "16", "--binning", "2", "--pad", "1", "--lowpass-A", "60",
         "--iterations", "1", "--oracle-particles", "0", "--quiet"]


@pytest.fixture(scope="module")
def aligned(mpirun, tmp_path_factory):
    """Folder with the same alignment on the CPU and on a simulated GPU."""
    folder = tmp_path_factory.mktemp("device")
    options = [word for name, value in SERIES.items() for word in (f"--{name}", str(value))]
    made = mpirun(1, "-m", "sta_mpi", "simulate", *options, "--quiet", "-o", str(folder / "set"))
    assert made.returncode == 0, made.stderr
    for device in ("cpu", "gpu"):
        done = mpirun(1, "-m", "sta_mpi", "align", "--optimisation-set",
                      str(folder / "set/optimisation_set.star"), *SMALL, "--device", device,
                      "-o", str(folder / device), timeout=600,
                      env={"NUMBA_ENABLE_CUDASIM": str(int(device == "gpu"))})
        assert done.returncode == 0, done.stderr
    return folder


def test_poses_of_a_simulated_gpu_are_those_of_the_cpu(aligned):
    (cpu, _), (gpu, _) = (read_poses(aligned / device / "poses.h5") for device in ("cpu", "gpu"))
    # sums of a pose differ by 1e-6; 4 degrees and 8 A were to be found
    assert 0 < np.abs(gpu.R_p2t - cpu.R_p2t).max() < 1e-4
    assert np.abs(gpu.offset_A - cpu.offset_A).max() < 1e-2


@pytest.mark.parametrize("name", ["half1.mrc", "half2.mrc"])
def test_half_maps_of_a_simulated_gpu_are_those_of_the_cpu(aligned, name):
    cpu, gpu = (read_mrc(aligned / device / name).data for device in ("cpu", "gpu"))
    assert np.abs(gpu - cpu).max() < 1e-3 * np.abs(cpu).max()
