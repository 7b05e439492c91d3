"""Reference = CPU = CUDA for every kernel, on awkward shapes.

Without a GPU the CUDA twins run in numba's simulator, in a process of its own:
`NUMBA_ENABLE_CUDASIM=1 python tests/kernels/test_parity.py gpu`. With
`NUMBA_DISABLE_JIT=1 python tests/kernels/test_parity.py cpu` the CPU loops run as plain Python,
where numpy checks every index.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.kernels.back_project import back_project, frame_images
from sta_mpi.kernels.back_project import reference as back_reference
from sta_mpi.kernels.ctf import TiltPhases, ctf_image_stack, masked_tilts, weigh_masked_samples
from sta_mpi.kernels.ctf import reference as ctf_reference
from sta_mpi.kernels.gather import gather_box, gather_slices, pack_volume
from sta_mpi.kernels.gather import reference as gather_reference
from sta_mpi.kernels.insert import insert_box, insert_slices
from sta_mpi.kernels.insert import reference as insert_reference
from sta_mpi.kernels.planes import box_planes, slice_planes
from sta_mpi.kernels.shells import reference as shells_reference
from sta_mpi.kernels.shells import shell_sums
from sta_mpi.kernels.symmetrise import mean_over_turns
from sta_mpi.kernels.symmetrise import reference as symmetrise_reference

ROOT = Path(__file__).resolve().parents[2]
GATHER = [(1, 1, 1), (2, 2, 2), (7, 7, 7), (7, 10, 7), (31, 31, 31), (32, 48, 32), (33, 33, 8)]
INSERT = [(2, 2, 1.0), (3, 3, 1.0), (7, 7, 1.0), (8, 8, 1.0), (7, 14, 2.0), (31, 31, 1.0),
          (32, 32, 1.0), (32, 40, 1.25), (33, 33, 1.0), (6, 33, 1.0)]
CTF = [1, 7, 31, 32, 33]
SHELLS = [1, 2, 7, 8, 9]
TURNS = [(2, 1), (6, 3), (8, 2), (9, 3), (12, 4)]
BACK = [((1, 1), (1, 1, 1)), ((2, 3), (1, 2, 5)), ((7, 8), (3, 7, 9)), ((33, 31), (2, 17, 40))]


def rotations(n: int) -> np.ndarray:
    """The identity, whose slice lies in a plane of the grid, and random rotations."""
    return np.concatenate([np.eye(3)[None], Rotation.random(n - 1, rng=5).as_matrix()])


def complex_noise(rng, shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def relative(found, expected) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def gather_error(device: str, n: int, n_pad: int, n_out: int) -> float:
    rng = np.random.default_rng(n)
    padded = np.fft.rfftn(rng.normal(size=(n_pad,) * 3)).astype(np.complex64)
    volume, r_max, R = pack_volume(padded, n), n_out // 2, rotations(2)
    slices = gather_slices(volume, R[:, :2], n_out, r_max, device=device)
    errors = [relative(slices, gather_reference.gather(
        padded, n_pad / n, *slice_planes(R[:, :2]), n_out, r_max))]
    if n <= 8:
        box = gather_box(volume, R[1], n_out, r_max, device=device)
        errors.append(relative(box, gather_reference.gather(
            padded, n_pad / n, *box_planes(R[1], n_out), n_out, r_max)))
    return max(errors)


def insert_error(device: str, n: int, n_sums: int, pad: float) -> float:
    rng = np.random.default_rng(n)
    R, r_max = rotations(2), n // 2
    shape = (2, n, n // 2 + 1)
    data, weight = complex_noise(rng, shape), rng.random(shape).astype(np.float32)
    errors = []
    for limits in (None, np.array([np.inf, 0.6 * r_max])):
        sums = np.zeros((n_sums, n_sums, n_sums // 2 + 1, 4), np.float32)
        insert_slices(sums, data, weight, R[:, :2], r_max, pad, device, limits)
        radius = r_max if limits is None else np.minimum(r_max, limits)
        errors.append(relative(sums, insert_reference.insert(
            n_sums, data, weight, pad, *slice_planes(R[:, :2]), radius)))
    if n <= 8:
        shape = (n, n, n // 2 + 1)
        data, weight = complex_noise(rng, shape), rng.random(shape).astype(np.float32)
        sums[...] = 0
        insert_box(sums, data, weight, R[1], r_max, pad, device)
        errors.append(relative(sums, insert_reference.insert(
            n_sums, data, weight, pad, *box_planes(R[1], n), r_max)))
    return max(errors)


def ctf_error(device: str, n: int) -> float:
    rng = np.random.default_rng(n)
    coefficients = rng.normal(size=(2, 5)) * [1e-1, 1e-2, 1e-1, 1e-4, 1]
    shape = (2, n, n // 2 + 1)
    extra, damping = rng.normal(size=shape[1:]), rng.random(shape).astype(np.float32)
    plain = ctf_image_stack(coefficients, n, device=device)
    full = ctf_image_stack(coefficients, n, extra, damping, device=device)
    errors = (plain - ctf_reference.ctf_images(coefficients, n),
              full - ctf_reference.ctf_images(coefficients, n, extra, damping))
    return float(np.abs(errors).max())


def masked_error(device: str, n: int) -> float:
    """Every part its own values, tilts out of order, with and without a share; data stay."""
    assert device == "cpu"
    rng = np.random.default_rng(n)
    coefficients = rng.normal(size=(4, 5)) * [1e-1, 1e-2, 1e-1, 1e-4, 1]
    xyz_A = rng.normal(size=3)
    plain = TiltPhases(coefficients, 1e-2 * rng.normal(size=(4, 3)))
    extra = plain._replace(extra_cycles=rng.normal(size=(n, n // 2 + 1)))
    parts = tuple(0.9 * rng.random((4, n, n // 2 + 1), np.float32) for _ in range(3))
    tilts, before = np.array([2, 0, 3]), complex_noise(rng, (3, n, n // 2 + 1))
    errors = []
    share, unchanged = rng.random((n, n // 2 + 1), np.float32), before.copy()
    limits = np.array([0.3 * n, 1.0, np.inf, 0.0])
    for phases, *more in ((plain,), (extra,), (plain, share, 0.5), (extra, share, 2.0, 5.0),
                          (plain, share, 0.5, np.inf, limits), (extra, None, 1.0, 5.0, limits)):
        found = weigh_masked_samples(masked_tilts(phases, *parts), xyz_A, tilts, before, *more)
        if more and more[0] is None:
            more[0] = 1.0
        expected = ctf_reference.weigh_masked(phases, xyz_A, parts, tilts, before, *more)
        errors += [relative(*pair) for pair in zip(found, expected, strict=True)]
    np.testing.assert_array_equal(before, unchanged)
    return max(errors)


def shells_error(device: str, n: int) -> float:
    rng = np.random.default_rng(n)
    a, b = (np.fft.rfftn(rng.normal(size=(n,) * 3)).astype(np.complex64) for _ in range(2))
    sums = shell_sums(a, b, device)
    found = np.stack([sums.power_a, sums.power_b, sums.cross, sums.count], axis=1)
    expected = shells_reference.shell_sums(a, b)
    np.testing.assert_array_equal(found[:, 3], expected[:, 3])
    return relative(found, expected)


def turns_error(device: str, n: int, n_turns: int) -> float:
    """Sums on the grid, whole and in parts; every channel has its own values."""
    assert device == "cpu"
    rng = np.random.default_rng(n)
    value, other = (np.fft.rfftn(rng.normal(size=(n,) * 3)) for _ in range(2))
    sums = np.stack([value.real, value.imag, np.abs(other) ** 2, np.zeros(value.shape)],
                    axis=-1).astype(np.float32)
    turns, phases = rotations(n_turns), np.exp(1j * rng.normal(size=(n_turns, n)))
    found = mean_over_turns(sums, turns, phases)
    assert np.array_equal(mean_over_turns(sums, turns, phases, slice(1, n - 1)), found[1 : n - 1])
    expected = symmetrise_reference.mean_over_turns(sums, turns, phases)
    return relative(found, expected) if expected.any() else float(np.abs(found).max())


def back_error(device: str, image_shape: tuple[int, int], shape: tuple[int, int, int]) -> float:
    rng = np.random.default_rng(shape[0])
    images = rng.normal(size=(3, *image_shape)).astype(np.float32)
    z0 = 4
    matrices = np.zeros((3, 2, 4))
    matrices[:, :, :3] = rotations(3)[:, :2]
    centre_px = np.array([shape[2] / 2, shape[1] / 2, z0 + shape[0] / 2])
    matrices[:, :, 3] = (np.array(image_shape[::-1]) / 2 + rng.uniform(-0.4, 0.4, (3, 2))
                         - matrices[:, :, :3] @ centre_px)
    out = np.full(shape, np.nan, np.float32)
    back_project(frame_images(images), matrices, z0, out, device)
    return relative(out, back_reference.back_project(images, matrices, z0, shape))


# float32 coordinates place a sample to 1e-6 of a voxel here and sums round at 1e-7;
# the sine polynomial is exact to 3e-7; shell sums are double
CASES = (
    [(gather_error, c, 5e-6) for c in GATHER]
    + [(insert_error, c, 5e-6) for c in INSERT]
    + [(ctf_error, (c,), 5e-7) for c in CTF]
    + [(shells_error, (c,), 1e-12) for c in SHELLS]
    + [(back_error, c, 5e-6) for c in BACK])
HOST_CASES = (CASES + [(turns_error, c, 5e-6) for c in TURNS]
              + [(masked_error, (c,), 5e-6) for c in CTF])
"""What has no twin on a GPU as well."""


@pytest.mark.parametrize(("error", "shape", "tolerance"), HOST_CASES)
def test_cpu_kernel_equals_reference(error, shape, tolerance):
    assert error("cpu", *shape) < tolerance


def test_errors_of_parity_are_not_trivially_zero():
    assert gather_error("cpu", 31, 31, 31) > 1e-9
    assert insert_error("cpu", 31, 31, 1.0) > 1e-9
    assert ctf_error("cpu", 31) > 1e-9
    assert masked_error("cpu", 31) > 1e-9
    assert back_error("cpu", *BACK[-1]) > 1e-9
    assert turns_error("cpu", *TURNS[-1]) > 1e-9


def run_cases(device: str) -> str:
    cases = CASES if device == "gpu" else HOST_CASES
    for error, shape, tolerance in cases:
        found = error(device, *shape)
        assert found < tolerance, f"{error.__name__}{shape} on {device}: {found}"
    return f"{len(cases)} cases agree"


def _run_in_process_with(variable: str, device: str) -> str:
    env = {**os.environ, variable: "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, device], env=env, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_cuda_kernels_equal_reference():
    from numba import cuda

    if cuda.is_available():
        assert run_cases("gpu") == f"{len(CASES)} cases agree"
    else:
        found = _run_in_process_with("NUMBA_ENABLE_CUDASIM", "gpu")
        assert found == f"{len(CASES)} cases agree"


def test_cpu_kernels_without_jit_equal_reference():
    assert _run_in_process_with("NUMBA_DISABLE_JIT", "cpu") == (
        f"{len(HOST_CASES)} cases agree")


if __name__ == "__main__":
    print(run_cases(sys.argv[1]))
