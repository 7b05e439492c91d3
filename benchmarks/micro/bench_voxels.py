"""Pose polish of 3D boxes: ns a voxel, and where merging 41 tilt images to voxels pays.

Four tables. The kernel on boxes with a missing wedge. One evaluation of the tilt images (2D)
and of the band merged from them (3D), and what merging costs. A search of several starts, one
8 degrees off and the others anywhere, with and without the first band (r/4) merged. Errors of
poses polished to the end in 2D and in 3D. Phantoms are blobs of radius 0.27 of the box with
white noise; the bound is the inverse information of the tilt images at the true pose.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_voxels.py
"""

import time
from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align.multi_start import polish_best
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.align.voxels import EarlyMerged, merge_tilts, prefer_voxels
from sta_mpi.kernels.gather import GatherVolume, pack_volume, prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.kernels.voxels import VoxelProblem, make_voxel_layout, pack_voxels
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.phantom import GaussianPhantom

TILTS = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True).as_matrix()
POSE = Rotation.from_euler("zyz", [30, 70, -20], degrees=True).as_matrix()
KERNEL_CASES = [(64, 24, 2.0), (128, 50, 1.5), (192, 80, 1.5)]
SWITCH_CASES = [(64, r, 2.0) for r in (8, 12, 16, 24, 31)] + [
    (128, r, 1.5) for r in (8, 16, 32, 50)] + [(192, r, 1.5) for r in (8, 20, 40, 80)]
SEARCH_CASES = [(64, 24, 2.0, 24.0, s) for s in (1, 4, 8, 16, 32)] + [
    (128, 50, 1.5, 48.0, s) for s in (8, 16, 32)] + [(192, 80, 1.5, 90.0, s) for s in (8, 16, 32)]
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
    for (n, r, _), (p2, p3), times in zip(SWITCH_CASES, sizes, seconds, strict=True):
        rows.append([str(n), str(r), str(p2), str(p3), *(f"{1e3 * t:.3f}" for t in times)])
    print_table("tilt images against the merged band", [
        "box", "r", "samples", "voxels", "2D, ms", "3D, ms", "packing 2D, ms", "merging, ms"],
        rows)


def search(n: int, r: int, pad: float, sd: float, n_starts: int, particles: int) -> list[str]:
    """Time and error of a search with several starts, with and without merging."""
    plans, rng, phantom = FftPlans(effort="estimate"), np.random.default_rng(n), chiral_phantom(
        0.27 * n, 0.9 + 0.005 * n)
    volume = prepare_gather(plans.rfft3(phantom.truth_map(n, 1.0)), plans, pad, r)
    flat, voxels = make_layout(n, [r / 4, r / 2, r]), make_voxel_layout(n, [r / 4])
    seconds, turns = np.zeros((particles, 2)), np.zeros((particles, 2))
    for i in range(particles):
        R, samples = noisy_particle(phantom, n, sd, rng)
        axis = rng.normal(size=3)
        near = Rotation.from_rotvec(np.radians(8) * axis / np.linalg.norm(axis)).as_matrix()
        starts = [Pose(R @ near, rng.uniform(-1, 1, 3))] + [
            Pose(Rotation.random(rng=rng).as_matrix(), rng.uniform(-2, 2, 3))
            for _ in range(n_starts - 1)]
        images = PoseProblem(volume, pack_samples(samples.data_rft, samples.weight_rft, flat),
                             flat, TILTS, n)
        for j in range(2):
            begin = time.process_time()
            problem = images if j == 0 else EarlyMerged(images, VoxelProblem(
                volume, merge_tilts(samples, voxels), np.eye(3), n))
            found = polish_best(problem, starts)[0]
            seconds[i, j] = time.process_time() - begin
            turns[i, j] = Rotation.from_matrix(R.T @ found.R_p2t).magnitude()
    two, three = 1e3 * np.median(seconds, axis=0)
    errors = np.degrees(np.sqrt(np.mean(turns**2, axis=0)))
    return [str(n), str(r), str(n_starts), f"{sd:g}", f"{two:.2f}", f"{three:.2f}",
            "yes" if prefer_voxels(41, r / 4, n_starts) else "no",
            *(f"{e:.3f}" for e in errors)]


def noisy_particle(phantom: GaussianPhantom, n: int, sd: float, rng: np.random.Generator
                   ) -> tuple[np.ndarray, TiltSamples]:
    """(orientation, samples) of a particle at the origin."""
    R = Rotation.random(rng=rng).as_matrix()
    X = phantom.views_rft(TILTS @ R, n, 1.0)
    X = X + np.fft.rfft2(rng.normal(scale=sd, size=(41, n, n)), norm="ortho")
    weight = np.full(X.shape, 1 / sd**2, np.float32)
    return R, TiltSamples((X / sd**2).astype(np.complex64), weight, TILTS, np.arange(41))


def errors(r: int, sd: float, particles: int, n: int = 64) -> list[str]:
    """Rms errors [deg] of poses from images and from the merged band, and time of a polish."""
    plans, rng, phantom = FftPlans(effort="estimate"), np.random.default_rng(r), chiral_phantom(
        0.27 * n, 1.6 * n / 48)
    volume = prepare_gather(plans.rfft3(phantom.truth_map(n, 1.0)), plans, 2.0)
    flat, voxels = make_layout(n, [r / 4, r / 2, r]), make_voxel_layout(n, [r / 4, r / 2, r])
    turns: list[list[float]] = []
    for _ in range(particles):
        R, samples = noisy_particle(phantom, n, sd, rng)
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
    print_table("search of several starts, first band merged or not", [
        "box", "r", "starts", "noise", "2D, ms", "merged, ms", "rule", "error 2D, deg", "merged"],
        [search(*case, 4 * rounds) for case in SEARCH_CASES])
    print()
    print_table("errors of poses, degrees", ["box", "r", "noise", "bound", "2D", "3D"],
                [errors(r, sd, 8 * rounds) for r, sd in ERROR_CASES])


if __name__ == "__main__":
    main()
