"""Duplicates and lattices of many particles: seconds of process time, by number of particles.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_select.py
"""

from functools import partial

import numpy as np
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.pick.duplicates import DuplicateRule, close_pairs, relion_duplicates, remove_duplicates
from sta_mpi.pick.lattice import LatticeRule, find_lattice

DISTANCE_A = 200.0
COUNTS = (30_000, 300_000)


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    c6 = symmetry_matrices("C6")
    rows = []
    for n in COUNTS:
        rng = np.random.default_rng(0)
        position_A = rng.uniform(0, 3000, (n, 3))
        i_tomo = (np.arange(n) % (n // 1000)).astype(np.int32)
        score, R = rng.normal(size=n), random_rotations(n, rng)
        half = rng.integers(1, 3, n).astype(np.int8)
        calls = [
            partial(remove_duplicates, position_A, i_tomo, score, DuplicateRule(DISTANCE_A), R, c6,
                    half),
            partial(remove_duplicates, position_A, i_tomo, score, DuplicateRule(DISTANCE_A, 10.0),
                    R, c6, half),
            partial(relion_duplicates, position_A, np.zeros((n, 3)), i_tomo, DISTANCE_A),
            partial(find_lattice, position_A, R, i_tomo, LatticeRule(DISTANCE_A), c6)]
        pairs = len(close_pairs(position_A, i_tomo, DISTANCE_A))
        rows.append([f"{n:,}", f"{pairs:,}",
                     *(f"{s:.2f}" for s in median_seconds(calls, rounds))])
    print_table("select", ["particles", "pairs", "best score s", "with angle s", "RELION's rule s",
                           "lattice s"], rows)


if __name__ == "__main__":
    main()
