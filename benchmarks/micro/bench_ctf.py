"""CTF images of one particle (41 tilts), and shell sums: ns a sample.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_ctf.py
"""

from functools import partial

import numpy as np
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.ctf import ctf_image_stack
from sta_mpi.kernels.shells import shell_sums


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    rng, calls, names, samples = np.random.default_rng(0), [], [], []
    for n in (32, 64, 192):
        out = np.empty((41, n, n // 2 + 1), np.float32)
        coefficients = rng.normal(size=(41, 5)) * [1e-2, 1e-4, 1e-2, 1e-6, 1]
        damping = np.ones(out.shape, np.float32)
        calls.append(partial(ctf_image_stack, coefficients, n, None, damping, out))
        names.append(f"CTF with damping, {n}")
        samples.append(out.size)
    rft = np.ones((192, 192, 97), np.complex64)
    calls.append(partial(shell_sums, rft, rft))
    names.append("shell sums, 192")
    samples.append(rft.size)
    seconds = median_seconds(calls, rounds)
    print_table("ctf and shells", ["operation", "ns/sample", "ms"],
                [[name, f"{1e9 * s / m:.2f}", f"{1e3 * s:.2f}"]
                 for name, s, m in zip(names, seconds, samples, strict=True)])


if __name__ == "__main__":
    main()
