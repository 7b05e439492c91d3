"""Real commands on small simulated sets: made once a session, run on n ranks."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))    # helper modules of these tests

ROOT = Path(__file__).resolve().parents[2]
PLANTED = Path(__file__).with_name("planted_command.py")

SMALL_SET = {"n_series": 2, "n_particles": 12, "pixel_A": 6, "image_width_px": 192,
             "image_height_px": 192, "thickness_A": 600, "tilt_step_deg": 10,
             "phantom_radius_A": 50, "phantom_detail_A": 6, "defocus_A": 20000, "snr": 0.5,
             "perturb_angle_deg": 4, "perturb_shift_A": 8}

NOTHING = {}


def words(values):
    """Options of the command line."""
    return [part for name, value in values.items()
            for part in ("--" + name.replace("_", "-"), str(value))]


def arguments(commands, plant):
    """What Python is started with; plant=None: the command itself, with its figures."""
    if plant is None:
        return ["-m", "sta_mpi", *map(str, commands)]
    return [str(PLANTED), json.dumps(plant), *map(str, commands)]


@pytest.fixture(scope="module")
def empty_figures():
    """Commands run in this process draw no figures: they take most of the time of a short run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    pixel = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJg"
        "gg==")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "print_png",
                      lambda canvas, stream, **options: stream.write(pixel))
        yield


@pytest.fixture(scope="session")
def command(mpirun):
    """A function that runs a command, or several parted by `++`, on n ranks."""
    def run(n, *commands, plant=NOTHING, timeout=150):
        return mpirun(n, *arguments(commands, plant), timeout=timeout)

    return run


@pytest.fixture(scope="session")
def relion():
    """A function that runs a program of RELION in a folder; without it the test is skipped.

    Oracle: RELION 3.1.3, Debian's package. Its postprocess writes all files and then ends with an
    error where Ghostscript is missing, so the files are what is to be looked at.
    """
    def run(program, folder, *words):
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} not found: apt-get install relion")
        subprocess.run([path, *map(str, words)], cwd=folder, capture_output=True, check=False,
                       timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})

    return run


@pytest.fixture
def started(mpirun_program, tmp_path):
    """A function that starts a command under mpirun: (process, path of what it prints)."""
    processes = []

    def start(n, *commands, plant=NOTHING):
        path = tmp_path / f"printed{len(processes)}.txt"
        with path.open("w") as printed:
            processes.append(subprocess.Popen(
                [mpirun_program, "-n", str(n), sys.executable, *arguments(commands, plant)],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=printed, stderr=printed))
        return processes[-1], path

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="session")
def mpirun_program():
    """Path of mpirun."""
    import shutil

    beside = Path(sys.executable).parent / "mpirun"
    program = str(beside) if beside.exists() else shutil.which("mpirun")
    if program is None:
        pytest.skip("mpirun not found: pip install 'sta_mpi[mpich]'")
    return program


@pytest.fixture(scope="session")
def wait_for():
    """A function that waits until a condition holds."""
    def wait(condition, limit_s=60.0):
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < limit_s, "nothing happened in time"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def small_scene():
    """Parameters of `simulate` that make the small set."""
    return dict(SMALL_SET)


@pytest.fixture(scope="session")
def small_set(command, tmp_path_factory):
    """Optimisation set of 2 series of 12 particles with perturbed poses."""
    folder = tmp_path_factory.mktemp("small") / "project"
    run = command(2, "simulate", *words(SMALL_SET), "--quiet", "-o", folder)
    assert run.returncode == 0, run.stderr
    return folder / "optimisation_set.star"


@pytest.fixture(scope="session")
def average_words(small_set):
    """`average` of the small set in 24 units; the output folder is to be added."""
    return ["average", "--optimisation-set", str(small_set), "--box-px", "32",
            "--unit-particles", "1", "--quiet"]


@pytest.fixture(scope="session")
def align_words(small_set):
    """`align` of the small set in two rounds of 12 units."""
    return ["align", "--optimisation-set", str(small_set), "--box-px", "32",
            "--unit-particles", "2", "--search", "grid", "--iterations", "2",
            "--angle-range-deg", "4", "--quiet"]


@pytest.fixture(scope="session")
def bits():
    """A function that gives the bytes of all maps, curves and poses in a job folder."""
    def read(folder):
        names = ["half1.mrc", "half2.mrc", "merged.mrc", "fsc.star"]
        if (folder / "poses.h5").exists():
            names += ["poses.h5", "particles.star"]
        return {name: (folder / name).read_bytes() for name in names}

    return read


@pytest.fixture(scope="session")
def truth_bits(command, bits, average_words, align_words, tmp_path_factory):
    """Bits of an uninterrupted `average` and `align` on one rank."""
    folder = tmp_path_factory.mktemp("truth")
    run = command(1, *average_words, "-o", folder / "average",
                  "++", *align_words, "-o", folder / "align")
    assert run.returncode == 0, run.stderr
    return {name: bits(folder / name) for name in ("average", "align")}
