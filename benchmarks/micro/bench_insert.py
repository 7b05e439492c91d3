"""Insertion of the slices of one particle (41 tilts): ns a sample, against its target.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_insert.py
"""

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.insert import insert_slices

# (r, pad): ns a sample measured for a prototype on a Zen 4 core; the target is 1.5 times that
PROTOTYPE = {(15, 1): 8.3, (30, 1): 11, (60, 1): 25, (90, 1): 33,
             (15, 2): 10.5, (30, 2): 19, (60, 2): 54, (90, 2): 55}


def tilt_axes() -> np.ndarray:
    """Slices of one turned particle, 41 tilts from -60 to 60 degrees."""
    tilts = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True)
    particle = Rotation.from_euler("zyz", [33, 47, 12], degrees=True)
    return (tilts * particle).as_matrix()[:, :2]


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    axes, rng, calls, samples = tilt_axes(), np.random.default_rng(0), [], []
    for r, pad in PROTOTYPE:
        n = 2 * r + 4
        shape = (41, n, n // 2 + 1)
        data = rng.normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
        weight = np.ones(shape, np.float32)
        sums = np.zeros((n * pad, n * pad, n * pad // 2 + 1, 4), np.float32)
        calls.append(partial(insert_slices, sums, data, weight, axes, r, pad))
        k = np.fft.fftfreq(n, 1 / n)
        samples.append(41 * int((k[:, None] ** 2 + np.arange(n // 2 + 1) ** 2 <= r * r).sum()))
    seconds = median_seconds(calls, rounds)
    rows = [[str(r), str(pad), f"{1e9 * s / m:.1f}", f"{1.5 * ns:.1f}", f"{1e3 * s:.2f}"]
            for ((r, pad), ns), s, m in zip(PROTOTYPE.items(), seconds, samples, strict=True)]
    print_table("insert", ["r", "pad", "ns/sample", "target", "ms/particle"], rows)


if __name__ == "__main__":
    main()
