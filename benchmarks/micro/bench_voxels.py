"""Pose polish of 3D boxes with a missing wedge: ns a voxel.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_voxels.py
"""

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.gather import GatherVolume, pack_volume
from sta_mpi.kernels.voxels import VoxelProblem, make_voxel_layout, pack_voxels

POSE = Rotation.from_euler("zyz", [30, 70, -20], degrees=True).as_matrix()
KERNEL_CASES = [(64, 24, 2.0), (128, 50, 1.5), (192, 80, 1.5)]


def noise_volume(n: int, pad: float, r: int) -> GatherVolume:
    """A random reference."""
    n_pad, rng = round(n * pad), np.random.default_rng(n)
    parts = rng.normal(size=(n_pad, n_pad, n_pad // 2 + 1, 2)).astype(np.float32)
    return pack_volume(parts.view(np.complex64)[..., 0], n, r)


def wedge_box(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random data and weights of a tilt series to 60 degrees."""
    k, rng = np.fft.fftfreq(n, 1 / n), np.random.default_rng(n)
    z, x = np.meshgrid(k, np.arange(n // 2 + 1), indexing="ij")
    seen = np.abs(z) <= np.tan(np.radians(60)) * np.abs(x)
    weight = np.repeat(seen[:, None], n, axis=1).astype(np.float32)
    data = rng.normal(size=(n, n, n // 2 + 1, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return data * weight, weight


def kernel_table(rounds: int) -> None:
    """Value, gradient and information, and the value alone, ns a voxel."""
    calls, labels = [], []
    for n, r, pad in KERNEL_CASES:
        volume, layout = noise_volume(n, pad, r), make_voxel_layout(n, [r / 4, r / 2, r])
        data, weight = wedge_box(n)
        for dtype in (np.float32, np.float16):
            packed = pack_voxels(data, weight, layout, dtype)
            problem, p = VoxelProblem(volume, packed, np.eye(3), n), packed.layout.n_samples
            for name in ("sums", "score"):
                calls.append(partial(getattr(problem, name), POSE, np.ones(3), np.array([p])))
                labels.append([str(n), str(r), str(pad), name, np.dtype(dtype).name, str(p)])
    rows = [[*label, f"{1e9 * s / int(label[-1]):.1f}", f"{1e3 * s:.3f}"]
            for label, s in zip(labels, median_seconds(calls, rounds), strict=True)]
    print_table("polish of a box: kernel", [
        "box", "r", "pad", "call", "storage", "voxels", "ns/voxel", "ms"], rows)


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    kernel_table(rounds)


if __name__ == "__main__":
    main()
