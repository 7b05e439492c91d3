"""Our polish against a grid search in the manner of PEET: CPU time and error, same particles.

Every particle (41 tilts with CTF, formulas of `benchmarks/accuracy/analytic_particles.py`) starts
up to 6 degrees and 2 px from the truth. The opponent (`real_space_search`) gets it merged into
a 3D box, we get its tilt images; both get the exact reference. Runs are interleaved: for each
particle the grid search once, then the polish three times. Time is process CPU time.

Run: OMP_NUM_THREADS=1 python benchmarks/alignment/peet_like.py --box 64
     OMP_NUM_THREADS=1 python benchmarks/alignment/peet_like.py --box 192
"""

# ruff: noqa: E402
import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_space_search import RealSpaceSearch
from scipy.spatial.transform import Rotation

sys.path[:0] = [str(Path(__file__).parent.parent / name) for name in ("accuracy", "micro")]
from analytic_particles import (
    Tilts,
    draw_noise,
    draw_tilts,
    fisher_information,
    lumpy_object,
    moved,
    pose_error,
    project,
    weighted,
)
from searches import Searches
from timing import commit, machine

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import Pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]

START_DEG, START_PX = 6.0, 2.0


@dataclass(frozen=True)
class Case:
    """Size, band, padding of the reference, noise and numbers of particles."""

    r_max: float
    pad: float
    noise_sd: float
    n_particles: int
    n_cubic: int


CASES = {64: Case(24, 2.0, 0.25, 16, 4), 96: Case(36, 1.5, 0.4, 6, 1),
         192: Case(80, 1.5, 0.6, 3, 0)}


@dataclass
class Tally:
    """Seconds and errors of one method, a row a particle."""

    seconds: list[float]
    error: list[Floats]

    def add(self, seconds: float, error: Floats) -> None:
        self.seconds.append(seconds)
        self.error.append(error)

    def row(self, name: str, what: str) -> str:
        angle = np.degrees(np.linalg.norm(np.array(self.error)[:, :3], axis=1))
        shift = np.linalg.norm(np.array(self.error)[:, 3:], axis=1)
        return (f"| {name} | {what} | {len(self.seconds)} | {1e3 * np.median(self.seconds):.3g} | "
                f"{np.median(angle):.3f} | {np.sqrt(np.mean(angle**2)):.3f} | "
                f"{np.median(shift):.3f} | {np.sqrt(np.mean(shift**2)):.3f} |")


def merged(samples: TiltSamples, n: int, r_max: float, plans: FftPlans
           ) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """The particle as one box: D, corrected for its trilinear insertion, and W."""
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    axes = np.ascontiguousarray(samples.rotation[:, :2])
    insert_slices(sums, samples.data_rft, samples.weight_rft, axes, min(r_max + 1, n // 2 - 1))
    D = (sums[..., 0] + 1j * sums[..., 1]).astype(np.complex64)
    return plans.rfft3(correct_gridding(plans.irfft3(D), 1.0)), sums[..., 2].copy()


def draw_start(rng: np.random.Generator, R: Floats, shift: Floats) -> Pose:
    """A pose up to START_DEG and START_PX from another one."""
    away = rng.normal(size=(2, 3))
    away *= (rng.random(2) ** (1 / 3) / np.linalg.norm(away, axis=1))[:, None]
    step = np.concatenate([np.radians(START_DEG) * away[0], START_PX * away[1]])
    return Pose(*moved(R, shift, step))


def timed(call) -> tuple[float, object]:
    """(CPU seconds, result) of a call."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def measure(n: int, case: Case, seed: int = 1) -> tuple[dict[str, Tally], list[float], Floats]:
    """(tallies, CPU time ratios a particle, rms bound of rotation and shift)."""
    rng, plans = np.random.default_rng(seed), FftPlans(effort="measure")
    blobs = lumpy_object(0.27 * n, n / 64)
    volume = blobs.volume(n)
    ours = Searches(prepare_reference(volume, None, case.r_max, plans, case.pad), case.r_max)
    grids = {"trilinear": RealSpaceSearch(volume, case.r_max),
             "tricubic": RealSpaceSearch(volume, case.r_max, cubic=True)}
    tallies = {name: Tally([], []) for name in ("polish", *grids)}
    ratios, bounds = [], []
    for i in range(case.n_particles + 1):
        R, shift = Rotation.random(rng=rng).as_matrix(), rng.uniform(-1, 1, 3)
        tilts: Tilts = draw_tilts(rng, n, 1.0)
        tilts = replace(tilts, noise=case.noise_sd**2 * tilts.noise)
        images = tilts.transfer * project(blobs, tilts, R, shift, n) + draw_noise(rng, tilts, n)
        samples = TiltSamples(*weighted(images, tilts), tilts.rotation, np.arange(41))
        start = draw_start(rng, R, shift)
        box = merged(samples, n, case.r_max, plans)
        if i == 0:  # compiles and warms
            ours.polish(samples, [start])
            for grid in grids.values():
                grid.score(*box, start.R_p2t)
            continue
        information = fisher_information(blobs, tilts, R, shift, n, [case.r_max])[0]
        bounds.append(np.diag(np.linalg.inv(information)))
        seconds = {}
        for name, grid in grids.items():
            if name == "tricubic" and i > case.n_cubic:
                continue
            # the grid searches shifts about the start, whole voxels from it
            moved_box = _moved_back(box[0], start.shift_xyz_px), box[1]
            seconds[name], found = timed(lambda g=grid, b=moved_box, s=start: g.search(
                *b, s.R_p2t))
            tallies[name].add(seconds[name], pose_error(
                found[0], found[1] + start.shift_xyz_px, R, shift))
        runs = [timed(lambda x=samples, s=start: ours.polish(x, [s])) for _ in range(3)]
        seconds["polish"] = float(np.median([r[0] for r in runs]))
        pose = runs[0][1]
        tallies["polish"].add(
            seconds["polish"], pose_error(pose.R_p2t, pose.shift_xyz_px, R, shift))
        ratios.append(seconds["trilinear"] / seconds["polish"])
    mean = np.mean(bounds, axis=0)
    return tallies, ratios, np.array([np.degrees(np.sqrt(mean[:3].sum())), np.sqrt(mean[3:].sum())])


def _moved_back(D: NDArray[np.complex64], shift_px: Floats) -> NDArray[np.complex64]:
    """The transform of a box after moving its content by minus the shift."""
    n = len(D)
    full, half = np.fft.fftfreq(n), np.fft.rfftfreq(n)
    phase = (half * shift_px[0] + full[:, None] * shift_px[1]
             + full[:, None, None] * shift_px[2])
    return (D * np.exp(2j * np.pi * phase)).astype(np.complex64)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=64, choices=sorted(CASES))
    parser.add_argument("--particles", type=int)
    parser.add_argument("--noise", type=float, help="standard deviation of the noise")
    given = parser.parse_args()
    case = CASES[given.box]
    if given.noise:
        case = replace(case, noise_sd=given.noise)
    if given.particles:
        case = replace(case, n_particles=given.particles)
    tallies, ratios, bound = measure(given.box, case)
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, commit {commit()}, one thread; box "
          f"{given.box}, r = {case.r_max:g}, 41 tilts, CTF, start within {START_DEG:g} degrees and "
          f"{START_PX:g} px; Cramer-Rao bound {bound[0]:.3f} degrees, {bound[1]:.3f} px (rms)\n")
    print("| method | what | particles | ms a particle (CPU, median) | error, ° (median) | (rms) | "
          "shift, px (median) | (rms) |")
    print("|---" * 8 + "|")
    print(tallies["polish"].row("polish", "packing and polish"))
    for name in ("trilinear", "tricubic"):
        if tallies[name].seconds:
            print(tallies[name].row(f"real space, {name}", "375 orientations"))
    print(f"\nCPU time of the trilinear search over that of the polish, particle by particle: "
          f"median {np.median(ratios):.0f} (from {min(ratios):.0f} to {max(ratios):.0f})")


if __name__ == "__main__":
    main()
