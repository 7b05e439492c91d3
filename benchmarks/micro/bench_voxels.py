"""Pose polish of 3D boxes: ns a voxel, and where merging 41 tilt images to voxels pays.

Three tables. The kernel on boxes with a missing wedge. One evaluation of the tilt images
(2D) and of the band merged from them (3D), and what merging costs, with the number of
starts (of 4 evaluations each) from which merging is faster. Errors of poses polished both ways,
for a blob phantom of radius 0.27 of the box with white noise; the bound is the inverse
information of the tilt images at the true pose.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_voxels.py
"""

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.align.voxels import EVALUATIONS, merge_tilts, prefer_voxels
from sta_mpi.kernels.gather import GatherVolume, pack_volume, prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.kernels.voxels import VoxelProblem, make_voxel_layout, pack_voxels
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

TILTS = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True).as_matrix()
POSE = Rotation.from_euler("zyz", [30, 70, -20], degrees=True).as_matrix()
KERNEL_CASES = [(64, 24, 2.0), (128, 50, 1.5), (192, 80, 1.5)]
SWITCH_CASES = [(64, r, 2.0) for r in (8, 12, 16, 24, 31)] + [
    (128, r, 1.5) for r in (8, 16, 32, 50)] + [(192, r, 1.5) for r in (8, 20, 40, 80)]
ERROR_CASES = [(8, 4.0), (8, 16.0), (12, 4.0), (12, 16.0), (12, 48.0), (24, 16.0)]


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


def noise_samples(n: int) -> TiltSamples:
    """Noise alone."""
    rng, shape = np.random.default_rng(n), (41, n, n // 2 + 1)
    data = rng.normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return TiltSamples(data, np.ones(shape, np.float32), TILTS, np.arange(41))


def switch_table(rounds: int) -> None:
    """Evaluations in 2D and 3D, and the cost of merging."""
    calls, sizes = [], []
    for n, r, pad in SWITCH_CASES:
        samples, volume = noise_samples(n), noise_volume(n, pad, r)
        flat, voxels = make_layout(n, [r]), make_voxel_layout(n, [r])
        pack = partial(pack_samples, samples.data_rft, samples.weight_rft, flat)
        merge = partial(merge_tilts, samples, voxels)
        images = PoseProblem(volume, pack(), flat, TILTS, n)
        merged = VoxelProblem(volume, merge(), np.eye(3), n)
        counts = np.full(41, flat.n_samples), np.array([merged.layout.n_samples])
        calls += [partial(p.sums, POSE, np.ones(3), count)
                  for p, count in zip((images, merged), counts, strict=True)] + [pack, merge]
        sizes.append((41 * flat.n_samples, merged.layout.n_samples))
    seconds = np.reshape(median_seconds(calls, rounds), (-1, 4))
    rows = []
    for (n, r, _), (p2, p3), (t2, t3, t_pack, t_merge) in zip(
            SWITCH_CASES, sizes, seconds, strict=True):
        starts = t_merge / (EVALUATIONS * (t2 - t3)) if t2 > t3 else np.inf
        rule = next((s for s in range(1, 10000) if prefer_voxels(41, r, s)), np.inf)
        rows.append([str(n), str(r), str(p2), str(p3),
                     *(f"{1e3 * t:.3f}" for t in (t2, t3, t_pack, t_merge)),
                     f"{starts:.1f}" if np.isfinite(starts) else "never",
                     str(rule) if np.isfinite(rule) else "never"])
    print_table("tilt images against the merged band", [
        "box", "r", "samples", "voxels", "2D, ms", "3D, ms", "packing 2D, ms", "merging, ms",
        "starts", "rule"], rows)


def errors(r: int, sd: float, particles: int, n: int = 64) -> list[str]:
    """Rms errors [deg] of poses from images and from the merged band, and time of a polish."""
    plans, rng, phantom = FftPlans(effort="estimate"), np.random.default_rng(r), chiral_phantom(
        0.27 * n, 1.6 * n / 48)
    volume = prepare_gather(plans.rfft3(phantom.truth_map(n, 1.0)), plans, 2.0)
    flat, voxels = make_layout(n, [r / 4, r / 2, r]), make_voxel_layout(n, [r / 4, r / 2, r])
    turns: list[list[float]] = []
    for _ in range(particles):
        R = Rotation.random(rng=rng).as_matrix()
        X = phantom.views_rft(TILTS @ R, n, 1.0)
        X = X + np.fft.rfft2(rng.normal(scale=sd, size=(41, n, n)), norm="ortho")
        samples = TiltSamples((X / sd**2).astype(np.complex64),
                              np.full(X.shape, 1 / sd**2, np.float32), TILTS, np.arange(41))
        images = PoseProblem(volume, pack_samples(samples.data_rft, samples.weight_rft, flat),
                             flat, TILTS, n)
        merged = VoxelProblem(volume, merge_tilts(samples, voxels), np.eye(3), n)
        away = Rotation.from_rotvec(np.radians(rng.uniform(-4, 4, 3))).as_matrix()
        start = Pose(R @ away, rng.uniform(-1, 1, 3))
        found = [polish_pose(p, start, PolishSettings(grey_scale=1.0)) for p in (images, merged)]
        H = images.sums(R, np.zeros(3), np.full(41, flat.n_samples)).H
        turns.append([*(Rotation.from_matrix(R.T @ f.R_p2t).magnitude() for f in found),
                      np.sqrt(np.trace(np.linalg.inv(2 * H)[:3, :3]))])
    two, three, bound = np.degrees(np.sqrt(np.mean(np.square(turns), axis=0)))
    return [str(n), str(r), f"{sd:g}", f"{bound:.3f}", f"{two:.3f}", f"{three:.3f}"]


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    kernel_table(rounds)
    print()
    switch_table(rounds)
    print()
    print_table("errors of poses, degrees", ["box", "r", "noise", "bound", "2D", "3D"],
                [errors(r, sd, 8 * rounds) for r, sd in ERROR_CASES])


if __name__ == "__main__":
    main()
