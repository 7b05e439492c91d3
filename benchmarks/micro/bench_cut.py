"""Transforms of cutting a patch: whole ones and separate products, or the middle rows in one pass.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_cut.py
"""

from functools import partial

import numpy as np
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.half_filter import filter_and_shift
from sta_mpi.signal.fft import BoxTransforms, FftPlans, Window, shift_phases

CASES = [(256, 64), (384, 128), (640, 192)]


class Patch:
    """A window of noise, its filter and its phases."""

    def __init__(self, edge_px: int) -> None:
        rng = np.random.default_rng(edge_px)
        half = edge_px // 2 + 1
        self.image = rng.normal(size=(edge_px, edge_px)).astype(np.float32)
        self.factor = rng.normal(size=(edge_px, half)).astype(np.float32)
        self.shift_px = rng.random(2)
        self.phases = shift_phases(edge_px, self.shift_px)

    def whole(self, box: BoxTransforms) -> None:
        """Both transforms whole, the products one after the other."""
        box.real[...] = self.image
        box.to_half()
        box.half *= self.factor
        box.half *= self.phases
        box.to_real()

    def middle(self, box: BoxTransforms) -> None:
        """One pass for the products, and the middle rows alone."""
        box.real[...] = self.image
        box.to_half()
        filter_and_shift(box.half, self.factor, self.shift_px, 1.0)
        box.to_real()


def main() -> None:
    """Measure and print."""
    rounds, rows = rounds_argument(__doc__ or ""), []
    for edge_px, kept_px in CASES:
        plans = FftPlans()
        patch = Patch(edge_px)
        seconds = median_seconds([partial(patch.whole, plans.box((edge_px, edge_px))),
                                  partial(patch.middle, plans.window(Window(edge_px, kept_px)))],
                                 rounds)
        rows.append([str(edge_px), str(kept_px), *(f"{1e3 * s:.3f}" for s in seconds),
                     f"{seconds[1] / seconds[0]:.2f}"])
    print_table("cutting a patch", ["window, px", "box, px", "whole, ms", "middle rows, ms",
                                    "ratio"], rows)


if __name__ == "__main__":
    main()
