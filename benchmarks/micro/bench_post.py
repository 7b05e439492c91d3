"""From half maps to a resolution: CPU time of local windows, cones, mask sweep and sharpening.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_post.py
"""

from collections.abc import Callable

import numpy as np
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.post.automask import MaskSettings, mask_of_map
from sta_mpi.post.directional import directional_fsc
from sta_mpi.post.local_filter import filter_locally
from sta_mpi.post.local_fsc import make_window, pad_for_windows, windowed_fsc
from sta_mpi.post.mask_sweep import mask_sweep
from sta_mpi.post.sharpen import Sharpening, sharpen
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.masks import soft_sphere

N, VOXEL_A, N_WINDOWS = 192, 1.35, 50


def calls() -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    rng = np.random.default_rng(1)
    ball = soft_sphere(N, 50, 4)
    maps = [(3 * ball + rng.standard_normal(ball.shape)).astype(np.float32) for _ in range(2)]
    mask, smooth = soft_sphere(N, 54, 6), lowpass_map(maps[0], VOXEL_A, 15.0)
    s_map = (0.1 + 0.2 * ball).astype(np.float32)
    places = rng.integers(60, 130, (N_WINDOWS, 3))
    found: dict[str, Callable[[], object]] = {}
    for px in (24, 36, 48, 72):
        window = make_window(px)
        padded = [pad_for_windows(m, window) for m in maps]
        found[f"{N_WINDOWS} local windows of {px} px"] = (
            lambda padded=padded, window=window: windowed_fsc(
                *padded, places, places, window))
    found[f"local filter, box {N}, {1 + round(0.2 * N * VOXEL_A / 3)} bands"] = (
        lambda: filter_locally(smooth, s_map, VOXEL_A))
    found[f"FSC in cones, box {N}"] = lambda: directional_fsc(*maps, mask, VOXEL_A)
    found[f"mask sweep, box {N}, 7 masks"] = lambda: mask_sweep(
        *maps, mask, VOXEL_A, np.random.default_rng(1), from_shell=20)
    found[f"sharpening with B-factor, box {N}"] = lambda: sharpen(
        maps[0], VOXEL_A, Sharpening(auto_b_factor=True, lowpass_A=5.0))
    found[f"automatic mask, box {N}"] = lambda: mask_of_map(smooth, VOXEL_A, MaskSettings())
    return found


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    measured = calls()
    seconds = median_seconds(list(measured.values()), rounds)
    print_table("post", ["step", "CPU ms"],
                [[name, f"{1e3 * s:.0f}"] for name, s in zip(measured, seconds, strict=True)])


if __name__ == "__main__":
    main()
