"""Gathering of the slices of one particle (41 tilts): ns a sample, against its target.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_gather.py
"""

from functools import partial

import numpy as np
from bench_insert import tilt_axes
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.gather import gather_slices, pack_volume

# r: ns a sample at pad 2 on a Zen 4 core
TARGET = {14: 10.0, 30: 10.0, 60: 50.0, 90: 50.0}


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    axes, rng, calls, samples = tilt_axes(), np.random.default_rng(0), [], []
    for r in TARGET:
        n = 2 * r + 4
        parts = rng.normal(size=(2 * n, 2 * n, n + 1, 2)).astype(np.float32)
        volume = pack_volume(parts.view(np.complex64)[..., 0], n, r)
        out = np.empty((41, n, n // 2 + 1), np.complex64)
        calls.append(partial(gather_slices, volume, axes, n, r, out))
        k = np.fft.fftfreq(n, 1 / n)
        samples.append(41 * int((k[:, None] ** 2 + np.arange(n // 2 + 1) ** 2 <= r * r).sum()))
    seconds = median_seconds(calls, rounds)
    rows = [[str(r), "2", f"{1e9 * s / m:.1f}", f"{t:.1f}", f"{1e3 * s:.2f}"]
            for (r, t), s, m in zip(TARGET.items(), seconds, samples, strict=True)]
    print_table("gather", ["r", "pad", "ns/sample", "target", "ms/particle"], rows)


if __name__ == "__main__":
    main()
