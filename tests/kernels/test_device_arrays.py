"""What stays on a GPU: uploaded once, sums independent of order, faults refused.

Without a GPU the cases run in numba's simulator, in a process of its own:
`NUMBA_ENABLE_CUDASIM=1 python tests/kernels/test_device_arrays.py gpu`.
"""

import gc
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.errors import DataError
from sta_mpi.kernels.array_module import array_module, to_host
from sta_mpi.kernels.gather import gather_slices, pack_volume
from sta_mpi.kernels.insert import DeviceSums, insert_slices
from sta_mpi.kernels.insert import reference as insert_reference
from sta_mpi.kernels.planes import box_planes, slice_planes
from sta_mpi.kernels.polish import PoseBatch, PoseProblem, make_layout, pack_samples

ROOT = Path(__file__).resolve().parents[2]
N = 5


def slices(seed: int, m: int = 2, n: int = N):
    """(data, weight, axes) of random slices."""
    rng, shape = np.random.default_rng(seed), (m, n, n // 2 + 1)
    data = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    axes = Rotation.random(m, rng=rng).as_matrix()[:, :2]
    return data, rng.random(shape).astype(np.float32), np.ascontiguousarray(axes)


def check_sums_equal_the_reference():
    sums, expected = DeviceSums(N, 10.0, 10), 0
    for seed in (1, 2):
        data, weight, axes = slices(seed)
        sums.insert_slices(data, weight, axes, N // 2)
        expected = expected + insert_reference.insert(
            N, data, weight, 1.0, *slice_planes(axes), N // 2)
    R = Rotation.random(rng=3).as_matrix()
    data, weight, _ = slices(3, m=N)
    sums.insert_box(data, weight, R, N // 2)
    expected = expected + insert_reference.insert(
        N, data, weight, 1.0, *box_planes(R, N), N // 2)
    insert_slices(sums, *slices(4), N // 2)  # sums on a GPU may stand for those on the host
    expected = expected + insert_reference.insert(
        N, *slices(4)[:2], 1.0, *slice_planes(slices(4)[2]), N // 2)
    error = np.abs(sums.total() - expected).max() / np.abs(expected).max()
    # coordinates and weights are float32; the integers add less than 1e-12
    assert 1e-10 < error < 2e-6, error


def check_sums_do_not_depend_on_the_order():
    parts = [slices(seed, m=1) for seed in range(4)]
    totals = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        sums = DeviceSums(N, 10.0, 4)
        for i in order:
            sums.insert_slices(*parts[i], N // 2)
        totals.append(sums.total())
    together = DeviceSums(N, 10.0, 4)
    together.insert_slices(*(np.concatenate(x) for x in zip(*parts, strict=True)), N // 2)
    np.testing.assert_array_equal(totals[0], totals[1])
    np.testing.assert_array_equal(totals[0], together.total())
    again = sums.total()
    sums.clear()
    assert (sums.total() == 0).all()
    assert (again != 0).any()


def check_equal_samples_reach_the_bound_without_overflow():
    """The largest samples allowed, all in the plane of the same voxels."""
    data = np.full((4, N, N // 2 + 1), 7.0 + 7.0j, np.complex64)
    weight = np.full(data.shape, 7.0, np.float32)
    sums = DeviceSums(N, 7.0, 4)
    sums.insert_slices(data, weight, np.repeat(np.eye(3)[None, :2], 4, axis=0), N // 2)
    total = sums.total()
    assert total[0, 0, 1, 2] == 28.0
    assert total[0, 0, 1, 3] == 4.0


def check_faulty_samples_are_refused():
    for fault in (np.nan, np.inf, 11.0):
        data, weight, axes = slices(5)
        data[0, 1, 1] = fault
        sums = DeviceSums(N, 10.0, 2)
        sums.insert_slices(data, weight, axes, N // 2)
        with pytest.raises(DataError, match="1 Fourier samples are not finite or larger than 10"):
            sums.total()
        sums.clear()
        sums.total()
    with pytest.raises(ValueError, match="3 slices inserted into sums made for 2"):
        sums.insert_slices(*slices(5, m=3), N // 2)
    with pytest.raises(ValueError, match=r"pad 0\.5"):
        sums.insert_slices(*slices(5), N // 2, pad=0.5)
    with pytest.raises(ValueError, match="expected at least 2"):
        DeviceSums(1, 10.0, 2)
    with pytest.raises(ValueError, match="bound above 0"):
        DeviceSums(4, np.inf, 2)


class Uploads:
    """Counts what is copied to the GPU [bytes], by size of the array."""

    def __init__(self, monkeypatch):
        from numba import cuda

        self.sizes, to_device = [], cuda.to_device

        def counted(array, *rest, **named):
            self.sizes.append(array.nbytes)
            return to_device(array, *rest, **named)

        monkeypatch.setattr(cuda, "to_device", counted)


def check_volume_and_samples_are_uploaded_once(monkeypatch):
    rng, n = np.random.default_rng(1), 7
    padded = np.fft.rfftn(rng.normal(size=(n, n, n))).astype(np.complex64)
    volume, layout = pack_volume(padded, n), make_layout(n, [1, 2])
    data, weight, _ = slices(7, m=2, n=n)
    packed, R = pack_samples(data, weight, layout), Rotation.random(2, rng=2).as_matrix()
    uploads, count = Uploads(monkeypatch), np.full(2, layout.n_samples)
    problem = PoseProblem(volume, packed, layout, R, n, "gpu")
    first = sorted(uploads.sizes)
    assert volume.data.nbytes in first
    assert packed.w.nbytes in first
    for step in range(3):
        problem.sums(R[0], np.full(3, 0.1 * step), count)
        problem.score(R[1], np.full(3, 0.1 * step), count)
    assert sorted(uploads.sizes) == first
    # another particle, a batch and slices of the same reference
    PoseBatch(volume, [packed, packed], layout, [R, R], n, "gpu")
    gather_slices(volume, R[:, :2], n, 2, device="gpu")
    assert uploads.sizes.count(volume.data.nbytes) == 1


def check_what_was_kept_goes_with_its_source():
    from sta_mpi.kernels.device import KeptByIdentity

    class Source:
        pass

    made, kept = [], KeptByIdentity(lambda source: made.append(source.__class__) or object())
    one, other = Source(), Source()
    assert kept(one) is kept(one)
    assert kept(one) is not kept(other)
    assert len(made) == len(kept) == 2
    del one
    gc.collect()
    assert len(kept) == 1


def check_batch_evaluates_poses_of_all_references_with_one_launch_each(monkeypatch):
    from sta_mpi.kernels.polish import cuda

    rng, n = np.random.default_rng(1), 7
    volumes = [pack_volume(np.fft.rfftn(rng.normal(size=(n, n, n))).astype(np.complex64), n)
               for _ in range(2)]
    layout = make_layout(n, [1, 2])
    rotations = [Rotation.random(m, rng=m).as_matrix() for m in (2, 1, 3)]
    packed = [pack_samples(*slices(len(R), m=len(R), n=n)[:2], layout) for R in rotations]
    batch, on_cpu = (PoseBatch(volumes, packed, layout, rotations, n, d) for d in ("gpu", "cpu"))
    assert len(batch) == 6
    which, R = np.array([5, 0, 2, 3]), Rotation.random(4, rng=9).as_matrix()
    shift = rng.normal(size=(4, 3))
    counts = [np.full(len(rotations[i % 3]), c)
              for i, c in zip(which, (layout.n_samples, 3, 0, layout.n_samples), strict=True)]
    launches = []
    for n_sums, kernel in list(cuda.KERNELS.items()):
        monkeypatch.setitem(cuda.KERNELS, n_sums, Launches(kernel, launches))
    found, expected = (b.sums(which, R, shift, counts) for b in (batch, on_cpu))
    assert [grid for grid, _ in launches] == [5, 5]
    for a, b in zip(found, expected, strict=True):
        size = np.abs(b.H).max(axis=1) + 1e-30
        assert (np.abs(a.H - b.H) <= 2e-5 * np.sqrt(np.outer(size, size))).all()
        assert abs(a.cross - b.cross) <= 2e-5 * (np.abs(b.gd).max() + abs(b.cross))
    assert found[2].power == 0
    assert found[0].power > 0


class Launches:
    """A kernel that notes with how many blocks and threads it is launched."""

    def __init__(self, kernel, noted):
        self._kernel, self._noted = kernel, noted

    def __getitem__(self, configuration):
        self._noted.append(configuration)
        return self._kernel[configuration]


def check_the_host_is_the_device_of_the_simulator():
    from sta_mpi.kernels.device import gpu_problem, is_simulated, n_devices

    assert gpu_problem() is None
    assert n_devices() >= 1
    xp = array_module("gpu")
    assert (xp is np) == is_simulated()
    np.testing.assert_array_equal(to_host(xp.arange(3)), [0, 1, 2])


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]


def run_checks() -> str:
    for check in CHECKS:
        with pytest.MonkeyPatch.context() as patch:
            check(*[patch] * len(inspect.signature(check).parameters))
    return f"{len(CHECKS)} checks hold"


def test_arrays_that_stay_on_a_gpu_hold_all_checks():
    from numba import cuda

    expected = f"{len(CHECKS)} checks hold"
    if cuda.is_available():
        assert run_checks() == expected
        return
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT),
           "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, "gpu"], env=env, timeout=600,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected


def test_array_module_of_the_cpu_is_numpy():
    assert array_module("cpu") is np
    assert to_host(np.ones(2)).sum() == 2


@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_kernels_say_so_where_there_is_no_such_device(device):
    from numba import cuda

    if device == "gpu" and cuda.is_available():
        pytest.skip("a GPU is here")
    sums = np.zeros((N, N, N // 2 + 1, 4), np.float32)
    with pytest.raises(ValueError, match="device"):
        insert_slices(sums, *slices(1), N // 2, device=device)
    with pytest.raises(ValueError, match="device"):
        array_module(device)


if __name__ == "__main__":
    print(run_checks())
