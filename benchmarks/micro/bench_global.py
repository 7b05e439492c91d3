"""Global search at box 64: rate of its matrix products and time of every stage of a particle.

4,608 rotations (HEALPix order 2, all of them: no symmetry) x 33 shifts (4 px, step 2),
voxels up to r0 = 7; the best 6 candidates are polished on 41 tilts up to r = 24, all of them
or in stages. Particles are views of a blob phantom with white noise.

CPU time of one thread, interleaved medians; the rate of the products is compared with the
rate of a 2048 x 2048 product of the same rounds.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_global.py
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align import global_search
from sta_mpi.align.candidates import pick_candidates
from sta_mpi.align.marching import marching_radii
from sta_mpi.align.multi_start import polish_best
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.align.rotation_list import PoseWindow, make_search_list, normal_rotations
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.geometry.sampling import shift_grid
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

BOX, R_MAX, R_LOW, N_CANDIDATES, SEPARATION_DEG = 64, 24, 7.0, 24, 18.0
BATCHES = (16, 32, 64)
CONES_DEG = (15.0, 30.0, 60.0)
PHANTOM = chiral_phantom(0.27 * BOX, 1.6 * BOX / 48)
TILTS = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True).as_matrix()


@dataclass
class Scene:
    """Particles and what is searched."""

    reference: Any
    band: Any
    samples: list[TiltSamples]
    truth: np.ndarray
    search_list: Any
    rotated: Any
    phases: np.ndarray
    shifts: np.ndarray


def make_scene(n_particles: int, sd: float) -> Scene:
    """Noisy particles with displacements of up to 2 px an axis."""
    rng, plans = np.random.default_rng(0), FftPlans(effort="estimate")
    truth = random_rotations(n_particles, rng)
    samples = [observe(R, rng.uniform(-2, 2, 3), sd, rng) for R in truth]
    reference = prepare_reference(PHANTOM.truth_map(BOX, 1.0), None, float(R_MAX), plans)
    band = global_search.make_voxel_band(BOX, R_LOW)
    search_list = make_search_list(normal_rotations(2))
    rotated = global_search.rotate_reference(reference, band, search_list.rotations)
    shifts = shift_grid(4.0, 2.0)
    return Scene(reference, band, samples, truth, search_list, rotated,
                 global_search.shift_phases_of_band(band, shifts), shifts)


def observe(R: np.ndarray, shift: np.ndarray, sd: float, rng: np.random.Generator) -> TiltSamples:
    """Views of a displaced particle with white noise."""
    k_y, k_x = np.fft.fftfreq(BOX, 1 / BOX)[:, None], np.arange(BOX // 2 + 1)
    xy = (TILTS @ shift)[:, :2, None, None]
    X = PHANTOM.views_rft(TILTS @ R, BOX, 1.0) * np.exp(
        -2j * np.pi / BOX * (xy[:, 0] * k_x + xy[:, 1] * k_y))
    X = X + np.fft.rfft2(rng.normal(scale=sd, size=(len(TILTS), BOX, BOX)), norm="ortho")
    return TiltSamples((X / sd**2).astype(np.complex64),
                       np.full(X.shape, 1 / sd**2, np.float32), TILTS, np.arange(len(TILTS)))


def products(scene: Scene, merged: list) -> None:
    """The two products of a batch, as the search makes them, and nothing else."""
    columns, weights = global_search._columns(merged, scene.phases, np)
    for start, stop, _ in global_search._tiles(None, None, len(scene.search_list),
                                               global_search.TILE):
        values, power = scene.rotated.tile(start, stop)
        values[0] @ columns
        power[0] @ weights


def product_table(scene: Scene, rounds: int) -> None:
    """Rates of the products and of whole searches, by batch size."""
    merged = [global_search.merge_band(s, scene.band) for s in scene.samples]
    square = np.random.default_rng(1).normal(size=(2048, 2048)).astype(np.float32)
    separation = SEPARATION_DEG
    calls = [partial(np.matmul, square, square)]
    for b in BATCHES:
        calls += [partial(global_search._columns, merged[:b], scene.phases, np),
                  partial(products, scene, merged[:b]),
                  partial(global_search.search_batch, merged[:b], scene.rotated, scene.phases,
                          N_CANDIDATES, separation)]
    seconds = median_seconds(calls, rounds)
    peak, rows = 2 * 2048**3 / seconds[0], []
    R, k, S = len(scene.search_list), len(scene.band.index), len(scene.shifts)
    for i, b in enumerate(BATCHES):
        pack, both, whole = seconds[1 + 3 * i : 4 + 3 * i]
        rate = 2 * R * k * b * (2 * S + 1) / (both - pack)
        rows.append([str(b), f"{rate / 1e9:.0f}", f"{peak / 1e9:.0f}", f"{100 * rate / peak:.0f} %",
                     f"{1e3 * (both - pack) / b:.2f}", f"{1e3 * whole / b:.2f}"])
    print_table(f"products of a global search, {R} rotations x {S} shifts, {k} voxels", [
        "batch", "GFLOP/s", "of sgemm 2048", "share", "products, ms/particle",
        "search, ms/particle"], rows)


def problem_of(scene: Scene, samples: TiltSamples) -> PoseProblem:
    """A particle as a function of its pose."""
    layout = make_layout(BOX, marching_radii(R_MAX))
    packed = pack_samples(samples.data_rft, samples.weight_rft, layout)
    return PoseProblem(scene.reference.volume, packed, layout, samples.rotation, BOX)


def starts_of(scene: Scene, found: global_search.Candidates) -> list[Pose]:
    """Candidates as poses."""
    return [Pose(scene.search_list.rotations[r], scene.shifts[s])
            for r, s in zip(found.i_rotation, found.i_shift, strict=True)]


def stage_table(scene: Scene, sd: float, rounds: int) -> None:
    """Time of every stage of a particle."""
    b, settings = len(scene.samples), PolishSettings()
    merged = [global_search.merge_band(s, scene.band) for s in scene.samples]
    search = partial(global_search.search_batch, merged, scene.rotated, scene.phases,
                     N_CANDIDATES, SEPARATION_DEG)
    found = search()
    problems = [problem_of(scene, s) for s in scene.samples]
    starts = [starts_of(scene, c) for c in found]
    table = np.random.default_rng(2).random((1, b, len(scene.search_list)), np.float32)
    calls = [
        lambda: [global_search.merge_band(s, scene.band) for s in scene.samples],
        search,
        lambda: pick_candidates(table.copy(), np.zeros(table.shape, np.int16),
                                scene.search_list.rotations, N_CANDIDATES, SEPARATION_DEG, None,
                                np),
        lambda: [problem_of(scene, s) for s in scene.samples],
        lambda: [[polish_pose(p, x, settings) for x in own]
                 for p, own in zip(problems, starts, strict=True)],
        lambda: [polish_best(p, own, settings) for p, own in zip(problems, starts, strict=True)]]
    seconds = [1e3 * s / b for s in median_seconds(calls, rounds)]
    everyone = [max((polish_pose(p, x, settings) for x in own), key=lambda r: r.score)
                for p, own in zip(problems, starts, strict=True)]
    staged = [polish_best(p, own, settings)[0] for p, own in zip(problems, starts, strict=True)]
    rows = [[str(sd), *(f"{s:.2f}" for s in seconds),
             f"{seconds[0] + seconds[1] + seconds[3] + seconds[5]:.2f}",
             found_share(scene, everyone), found_share(scene, staged)]]
    print_table(f"stages, ms a particle, batch of {b}", [
        "noise sd", "merge", "search", "of it: choose", "pack", f"polish all {N_CANDIDATES}",
        "polish in stages", "merge + search + pack + stages", "found < 10 deg, all",
        "found, in stages"], rows)


def found_share(scene: Scene, results: list) -> str:
    """How many of the particles end within 10 degrees of the truth."""
    near = [np.degrees(Rotation.from_matrix(R.T @ r.R_p2t).magnitude()) < 10
            for R, r in zip(scene.truth, results, strict=True)]
    return f"{sum(near)} of {len(near)}"


def cone_table(scene: Scene, rounds: int) -> None:
    """Cost of a search whose normals are limited to cones."""
    merged = [global_search.merge_band(s, scene.band) for s in scene.samples]
    windows = [PoseWindow(scene.truth, cone) for cone in CONES_DEG]
    common = merged, scene.rotated, scene.phases, N_CANDIDATES, SEPARATION_DEG, None
    calls = [partial(global_search.search_batch, *common)]
    calls += [partial(global_search.search_batch, *common, scene.search_list, w) for w in windows]
    seconds = median_seconds(calls, rounds)
    rows = [["none", "100 %", "100 %", f"{1e3 * seconds[0] / len(merged):.2f}"]]
    for cone, window, s in zip(CONES_DEG, windows, seconds[1:], strict=True):
        inside = window.allows(scene.search_list.rotations).mean()
        share = global_search.work_share(scene.search_list, window)
        rows.append([f"{cone:g}", f"{100 * inside:.1f} %", f"{100 * share:.1f} %",
                     f"{1e3 * s / len(merged):.2f}"])
    print_table(f"search within cones, batch of {len(merged)}", [
        "cone, deg", "rotations inside", "multiplied", "ms/particle"], rows)


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    scene = make_scene(max(BATCHES), 8.0)
    product_table(scene, rounds)
    print()
    cone_table(scene, rounds)
    for sd in (8.0, 64.0, 112.0):
        print()
        stage_table(make_scene(32, sd), sd, rounds)


if __name__ == "__main__":
    main()
