"""Pose polish of one particle (41 tilts): ns a sample of both kernels, against their targets.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_polish.py
"""

from functools import partial

import numpy as np
from bench_insert import tilt_axes
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.gather import pack_volume
from sta_mpi.kernels.polish import make_layout, normal_equations, pack_samples, score

# (box, r, pad): targets of normal equations and score, ns a sample on a Zen 4 core
TARGET = {(64, 24, 2.0): (30.0, 15.0), (96, 36, 1.5): (30.0, 15.0), (128, 50, 1.5): (30.0, 15.0),
          (192, 80, 1.5): (32.0, 15.0)}


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    axes, rng, calls, labels = tilt_axes(), np.random.default_rng(0), [], []
    for (n, r, pad), targets in TARGET.items():
        n_pad = round(n * pad)
        parts = rng.normal(size=(n_pad, n_pad, n_pad // 2 + 1, 2)).astype(np.float32)
        volume = pack_volume(parts.view(np.complex64)[..., 0], n, r)
        layout = make_layout(n, [r / 4, r / 2, r])
        shape = (41, n, n // 2 + 1)
        data = rng.normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
        shift, count = rng.normal(size=(41, 2)), np.full(41, layout.n_samples)
        for dtype in (np.float32, np.float16):
            packed = pack_samples(data, np.ones(shape, np.float32), layout, dtype)
            for kernel, target in zip((normal_equations, score), targets, strict=True):
                calls.append(partial(kernel, volume, axes, shift, packed, layout, count, n))
                labels.append((n, r, pad, kernel.__name__, np.dtype(dtype).name,
                               41 * layout.n_samples, target))
    seconds = median_seconds(calls, rounds)
    rows = [[str(n), str(r), str(pad), name, dtype, str(samples), f"{1e9 * s / samples:.1f}",
             f"{target:.0f}", f"{1e3 * s:.2f}"]
            for (n, r, pad, name, dtype, samples, target), s in zip(labels, seconds, strict=True)]
    print_table("polish", ["box", "r", "pad", "kernel", "storage", "samples", "ns/sample",
                           "target", "ms/particle"], rows)


if __name__ == "__main__":
    main()
