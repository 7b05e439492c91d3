"""Polish of a batch in lock step: the same results as one particle after the other.

On a GPU, or in numba's simulator, in a process of its own:
`NUMBA_ENABLE_CUDASIM=1 python tests/align/test_polish_batch.py gpu`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.multi_start import polish_best
from sta_mpi.align.polish import PolishSettings, Pose, bands_of, polish_pose, polish_steps
from sta_mpi.align.polish_batch import OneByOne, polish_batch, run_together
from sta_mpi.kernels.gather import gather_slices, prepare_gather
from sta_mpi.kernels.polish import PoseBatch, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans, shift_phases

ROOT = Path(__file__).resolve().parents[2]


def blobs(n: int) -> np.ndarray:
    """A map of Gaussian blobs without symmetry."""
    z, y, x = np.indices((n, n, n)) - n // 2
    points = np.random.default_rng(2).uniform(-0.22 * n, 0.22 * n, (7, 3))
    return sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * (0.06 * n) ** 2))
               for a, b, c in points).astype(np.float32)


def particles(n: int, n_particles: int, n_tilts: int, device: str, dtype=np.float32):
    """(batch, true poses): slices of the blobs with noise; every particle has other tilts."""
    rng, plans = np.random.default_rng(n), FftPlans(effort="estimate")
    volume = prepare_gather(plans.rfft3(blobs(n)), plans, pad=1.5)
    layout = make_layout(n, [n // 4, n // 2 - 1])
    packed, rotations, truth = [], [], []
    for i in range(n_particles):
        tilts = np.radians(np.linspace(-50, 50, n_tilts - i % 2))
        R = Rotation.from_euler("y", tilts[:, None]).as_matrix()
        pose = Pose(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3) * 0.5)
        views = gather_slices(volume, np.ascontiguousarray((R @ pose.R_p2t)[:, :2]), n, n // 2 - 1)
        views = views * shift_phases(n, (R @ pose.shift_xyz_px)[:, :2])
        noise = rng.normal(size=views.shape) + 1j * rng.normal(size=views.shape)
        data = (views + 0.05 * noise).astype(np.complex64)
        packed.append(pack_samples(data, np.ones(data.shape, np.float32), layout, dtype))
        rotations.append(R)
        truth.append(pose)
    return PoseBatch(volume, packed, layout, rotations, n, device), truth


def moved(pose: Pose, angle_deg: float, seed: int) -> Pose:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(angle_deg) * vector / np.linalg.norm(vector))
    return Pose(pose.R_p2t @ turn.as_matrix(), pose.shift_xyz_px + rng.normal(size=3) * 0.3)


def angle_deg(one, other) -> float:
    turn = Rotation.from_matrix(one.R_p2t.T @ other.R_p2t)
    return float(np.degrees(turn.magnitude()))


def same(one, other) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.fixture(params=["in lock step", "one after the other"])
def order(request, monkeypatch):
    """Both ways to run searches; a batch on the CPU would choose the second."""
    monkeypatch.setattr(PoseBatch, "is_batched", request.param == "in lock step")


@pytest.mark.usefixtures("order")
def test_batch_gives_the_bits_of_one_particle_after_the_other():
    batch, truth = particles(24, 5, 6, "cpu")
    starts = [[moved(t, 5, 10 * i + j) for j in range(1 + i % 3)] for i, t in enumerate(truth)]
    settings = PolishSettings(max_angle_deg=12, prior_shift_px=2.0)
    counts = [None, *(np.full(p.n_tilts, 90) for p in list(batch)[1:])]
    found = polish_batch(batch, starts, settings, counts, truth)
    alone = [polish_best(batch[i], starts[i], settings, counts[i], truth[i]) for i in range(5)]
    assert [len(own) for own in found] == [len(own) for own in alone]
    assert all(same(a, b) for x, y in zip(found, alone, strict=True)
               for a, b in zip(x, y, strict=True))


def test_batch_finds_the_planted_poses():
    batch, truth = particles(24, 4, 6, "cpu")
    found = polish_batch(batch, [[moved(t, 5, i)] for i, t in enumerate(truth)])
    errors = [angle_deg(own[0], t) for own, t in zip(found, truth, strict=True)]
    # the uncertainty that a result carries is about 0.2 degrees; the starts were 5 degrees off
    assert 1e-3 < max(errors) < 1.0


@pytest.mark.usefixtures("order")
def test_searches_of_one_particle_run_together_as_alone():
    batch, truth = particles(24, 2, 5, "cpu")
    starts = [moved(truth[1], angle, 3) for angle in (1, 4, 8)]
    found = run_together(batch, [(1, polish_steps(bands_of(batch[1]), s)) for s in starts])
    assert all(same(a, polish_pose(batch[1], s)) for a, s in zip(found, starts, strict=True))


def test_particles_of_any_kind_run_together_one_by_one():
    batch, truth = particles(24, 2, 5, "cpu")
    starts = [[moved(t, 4, i)] for i, t in enumerate(truth)]
    found, expected = (polish_batch(b, starts) for b in (OneByOne(list(batch)), batch))
    assert all(same(a[0], b[0]) for a, b in zip(found, expected, strict=True))


def test_no_particles_give_no_results():
    batch, _ = particles(8, 0, 3, "cpu")
    assert polish_batch(batch, []) == []


def test_lists_of_another_length_than_the_batch_are_refused():
    batch, truth = particles(8, 2, 3, "cpu")
    with pytest.raises(ValueError, match="2 particles with 1 lists of starts"):
        polish_batch(batch, [[truth[0]]])


def test_samples_of_two_dtypes_are_refused():
    one, _ = particles(8, 1, 3, "cpu")
    rng, layout = np.random.default_rng(1), make_layout(8, [3])
    data = rng.normal(size=(3, 8, 5)).astype(np.complex64)
    packed = [pack_samples(data, np.ones(data.shape, np.float32), layout, d)
              for d in (np.float32, np.float16)]
    plans = FftPlans(effort="estimate")
    volume = prepare_gather(plans.rfft3(blobs(8)), plans)
    with pytest.raises(ValueError, match="one dtype"):
        PoseBatch(volume, packed, layout, [one[0].rotation] * 2, 8)


def run_cases(device: str) -> str:
    """Poses of a tiny batch on a device, against those of the CPU."""
    for dtype, max_steps in ((np.float32, 2), (np.float16, 1)):
        batch, truth = particles(8, 2, 3, device, dtype)
        on_cpu, _ = particles(8, 2, 3, "cpu", dtype)
        starts = [[moved(t, 6, i), moved(t, 3, 10 + i)][: 1 + i % 2] for i, t in enumerate(truth)]
        settings = PolishSettings(max_steps=max_steps)
        found, expected = (polish_batch(b, starts, settings) for b in (batch, on_cpu))
        for own, other in zip(found, expected, strict=True):
            assert len(own) == len(other)
            for a, b in zip(own, other, strict=True):
                # sums differ by 1e-6 of their size; a step amplifies that by the condition
                # of the information, about 10 here
                assert angle_deg(a, b) < 2e-3
                assert np.abs(a.shift_xyz_px - b.shift_xyz_px).max() < 2e-4
                assert a.n_evaluations == b.n_evaluations
                assert abs(a.score - b.score) < 1e-4 * abs(b.score)
    return "batches agree"


def test_batch_on_a_gpu_gives_the_poses_of_the_cpu():
    from numba import cuda

    if cuda.is_available():
        assert run_cases("gpu") == "batches agree"
        return
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT),
           "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, "gpu"], env=env, timeout=600,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "batches agree"


if __name__ == "__main__":
    print(run_cases(sys.argv[1]))
