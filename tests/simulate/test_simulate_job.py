"""The whole job: the same bits for any number of ranks and after a stop; noise; movies."""

import hashlib
import json
import signal

import numpy as np
import pytest

from sta_mpi.errors import Stopped
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import open_stack, read_mrc
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.jobs.simulate import SimulateJob, input_files
from sta_mpi.jobs.simulate_scene import build_scene
from sta_mpi.parallel.checkpoint import CheckpointStore
from sta_mpi.parallel.engine import run_job
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.simulate.image import render_tilt
from sta_mpi.simulate.noise import noise_power

SMALL = {"n_series": 2, "n_particles": 4, "image_width_px": 96, "image_height_px": 80,
         "pixel_A": 8.0, "thickness_A": 500.0, "tilt_step_deg": 20.0, "phantom_radius_A": 40.0,
         "phantom_detail_A": 8.0, "tilt_shift_A": 5.0, "min_distance_A": 60.0}


def options(values):
    return [part for name, value in values.items()
            for part in ("--" + name.replace("_", "-"), str(value))]


def digests(folder):
    names = ("tilt_images/TS_01.mrcs", "tilt_images/TS_02.mrcs", "truth.h5", "truth.mrc",
             "particles.star", "tomograms.star", "frames/TS_02_003.mrcs")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.mpi
def test_output_does_not_depend_on_the_number_of_ranks(mpirun, tmp_path):
    found = []
    for n in (1, 3):
        out = tmp_path / f"ranks{n}"
        result = mpirun(n, "-m", "sta_mpi", "simulate", *options(SMALL), "--n-frames", "2",
                        "-o", str(out))
        assert result.returncode == 0, result.stderr
        assert json.loads((out / "job.json").read_text())["ranks"] == n
        found.append(digests(out))
    assert found[0] == found[1]


class _StopsEarly(SimulateJob):
    """Is told to stop, as by a batch system, after a few units."""

    def __init__(self, *args, after):
        super().__init__(*args)
        self.after = after

    def work(self, context, unit):
        self.after -= 1
        if self.after == 0:
            signal.raise_signal(signal.SIGUSR1)
        return super().work(context, unit)


def run_here(folder, scene, parameters, job=None, checkpoints=None):
    job = job or SimulateJob(scene, parameters, folder, "print")
    return run_job(job, Runtime(), checkpoints=checkpoints)


@pytest.fixture
def signal_handlers():
    """Put back the handlers that a Runtime replaces."""
    names = (signal.SIGUSR1, signal.SIGTERM)
    before = [signal.getsignal(name) for name in names]
    yield
    for name, handler in zip(names, before, strict=True):
        signal.signal(name, handler)


@pytest.mark.usefixtures("signal_handlers")
def test_stopped_job_ends_in_the_same_bits(tmp_path):
    parameters = SimulateParameters(output=tmp_path, **SMALL)
    scene = build_scene(parameters)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    run_here(whole, scene, parameters)
    checkpoints = CheckpointStore(parts / "checkpoint", "print", 60.0)
    early = _StopsEarly(scene, parameters, parts, "print", after=5)
    with pytest.raises(Stopped):
        run_here(parts, scene, parameters, early, checkpoints)
    assert not (parts / "tilt_images/TS_02.mrcs").exists()
    result = run_here(parts, scene, parameters, checkpoints=checkpoints)
    assert 0 < result.resumed_units < result.n_units
    for name in ("tilt_images/TS_01.mrcs", "tilt_images/TS_02.mrcs", "truth.h5"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_images_are_signal_plus_noise_of_the_level_in_the_truth(tmp_path):
    parameters = SimulateParameters(output=tmp_path, **{**SMALL, "n_series": 1}, snr=0.02,
                                    noise_tilt_spread=0.3, noise_colour=3.0)
    scene = build_scene(parameters)
    run_here(tmp_path, scene, parameters)
    noise_sd = read_h5(tmp_path / "truth.h5").arrays["TS_01/noise_sd"]
    assert np.ptp(noise_sd) > 0.2 * noise_sd.mean()
    stack, s = open_stack(tmp_path / "tilt_images/TS_01.mrcs"), scene.series[0]
    for i in range(s.true.n_tilts):
        noise = stack[i] - render_tilt(s.objects, s.true, i)
        power = np.abs(np.fft.fft2(noise, norm="ortho")) ** 2
        f = np.hypot(np.fft.fftfreq(80)[:, None], np.fft.fftfreq(96)[None, :])
        ratio = power / noise_power(f, noise_sd[i], 3.0)
        # mean of some 4000 independent exponentials
        assert ratio.mean() == pytest.approx(1.0, abs=0.06)
        assert ratio[f < 0.1].mean() == pytest.approx(1.0, abs=0.35)


def test_noise_of_two_tilts_is_not_alike(tmp_path):
    parameters = SimulateParameters(output=tmp_path, **{**SMALL, "n_series": 2})
    scene = build_scene(parameters)
    run_here(tmp_path, scene, parameters)
    images = []
    for s in scene.series:
        stack = open_stack(tmp_path / f"tilt_images/{s.name}.mrcs")
        images += [stack[i] - render_tilt(s.objects, s.true, i) for i in range(s.true.n_tilts)]
    alike = np.corrcoef([image.ravel() for image in images])
    np.fill_diagonal(alike, 0)
    assert np.abs(alike).max() < 5 / np.sqrt(80 * 96)


def test_aligned_movie_frames_add_up_to_the_tilt_image(tmp_path):
    parameters = SimulateParameters(output=tmp_path, **{**SMALL, "n_series": 1}, n_frames=4,
                                    frame_drift_px=6)
    run_here(tmp_path, build_scene(parameters), parameters)
    drift = read_h5(tmp_path / "truth.h5").arrays["TS_01/frame_drift_px"][2]
    frames = open_stack(tmp_path / "frames/TS_01_003.mrcs")
    image = open_stack(tmp_path / "tilt_images/TS_01.mrcs")[2]
    ky, kx = np.fft.fftfreq(80)[:, None], np.fft.fftfreq(96)[None, :]
    total = sum(np.fft.fft2(frames[i]) * np.exp(2j * np.pi * (kx * x + ky * y))
                for i, (x, y) in enumerate(drift))
    # the Nyquist lines of a shifted image are not defined
    total[40], total[:, 48] = 0, 0
    expected = np.fft.fft2(image)
    expected[40], expected[:, 48] = 0, 0
    assert np.abs(total - expected).max() < 1e-3 * np.abs(expected).max()


def test_float16_images_differ_by_rounding_only(tmp_path):
    images = []
    for kind in ("float32", "float16"):
        folder = tmp_path / kind
        folder.mkdir()
        parameters = SimulateParameters(output=folder, **{**SMALL, "n_series": 1}, image_type=kind)
        run_here(folder, build_scene(parameters), parameters)
        images.append(np.array(open_stack(folder / "tilt_images/TS_01.mrcs")[3], float))
    assert 0 < np.abs(images[0] - images[1]).max() < 1e-3 * np.abs(images[0]).max()


def test_map_as_particle_is_resampled_to_the_images(tmp_path):
    parameters = SimulateParameters(output=tmp_path, **{**SMALL, "n_series": 1})
    run_here(tmp_path, build_scene(parameters), parameters)
    again = SimulateParameters(output=tmp_path, **{**SMALL, "n_series": 1, "pixel_A": 6.0},
                               density_map=tmp_path / "truth.mrc")
    assert input_files(again) == [tmp_path / "truth.mrc"]
    scene = build_scene(again)
    found = scene.phantom.truth_map(40, 6.0)
    truth = build_scene(parameters).phantom.truth_map(40, 6.0)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.98
    assert read_mrc(tmp_path / "truth.mrc").voxel_A == 8.0
