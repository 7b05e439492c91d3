"""Transforms with copies, centring and scaling: pairs of 3D, stacks of 41 tilts of 2D.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_fft.py
"""

from functools import partial

import numpy as np
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.signal.fft import FftPlans

# FFTW alone on a Zen 4 core [ms]; here copies in and out, centring and scaling come on top
BARE_3D = {32: 0.10, 64: 0.97, 96: 4.3, 128: 9.1, 192: 48}
BARE_2D = {128: 1.0, 192: 2.5, 256: 4.2, 384: 11.6}


def _pair(plans: FftPlans, volume: np.ndarray) -> None:
    plans.irfft3(plans.rfft3(volume))


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    plans, rng, calls, rows = FftPlans(effort="measure"), np.random.default_rng(0), [], []
    for n, bare in BARE_3D.items():
        calls.append(partial(_pair, plans, rng.normal(size=(n, n, n)).astype(np.float32)))
        rows.append([f"3D forward and back, {n}", bare])
    for n, bare in BARE_2D.items():
        out = np.empty((41, n, n // 2 + 1), np.complex64)
        calls.append(partial(plans.rfft2, rng.normal(size=(41, n, n)).astype(np.float32), out))
        rows.append([f"2D forward, 41 x {n}", bare])
    seconds = median_seconds(calls, rounds)
    print_table("fft", ["transform", "ms", "FFTW alone"],
                [[name, f"{1e3 * s:.2f}", f"{bare:.2f}"]
                 for (name, bare), s in zip(rows, seconds, strict=True)])


if __name__ == "__main__":
    main()
