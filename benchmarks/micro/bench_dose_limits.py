"""What dose limits save and cost: polish of poses (41 tilts, 120 e/A^2, dose-symmetric).

CPU time of `polish_pose` with all samples and with those whose D(k)^2 is above a share, the
share of samples that is left, the rms pose error, and the information (determinant to the
power 1/6) that is left. Particles are views of a blob phantom, damped by critical exposure,
with white noise; every variant polishes the same particles from 4 degrees and 1.5 px away.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_dose_limits.py
"""

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align.dose_limits import dose_limits, ring_bands, sample_counts
from sta_mpi.align.polish import PolishResult, PolishSettings, Pose, polish_pose
from sta_mpi.kernels.gather import GatherVolume, prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

# box, r, voxel, pad, noise, particles: errors of a tenth of a degree
CASES = [(64, 24, 2.7, 2.0, 4.0, 60), (192, 80, 1.35, 1.5, 12.0, 16)]

DETAIL_PX = 0.8
"""Standard deviation of the finest blobs: they still have signal at the last shell."""

# rings, share of D^2 (None: all samples)
VARIANTS: list[tuple[int, float | None]] = [
    (1, None), (12, None), (1, 1e-3), (6, 1e-3), (12, 1e-3), (24, 1e-3), (12, 1e-4), (12, 1e-2)]

TILT_DEG = np.linspace(-60, 60, 41)
TILTS = Rotation.from_euler("y", TILT_DEG[:, None], degrees=True).as_matrix()
DOSE = np.linspace(0, 120, 41)[np.argsort(np.argsort(np.abs(TILT_DEG), kind="stable"))]


def make_images(n: int, voxel_A: float, sd: float, n_particles: int):
    """(poses, list of (data, weight), map) of noisy, dose-damped particles."""
    rng, phantom = np.random.default_rng(n), chiral_phantom(0.27 * n, DETAIL_PX)
    s = np.hypot(np.fft.fftfreq(n)[:, None], np.arange(n // 2 + 1) / n) / voxel_A
    damping = dose_damping(DOSE, s).astype(np.float32)
    poses = Rotation.random(n_particles, rng=rng).as_matrix()
    images = []
    for R in poses:
        X = damping * phantom.views_rft(TILTS @ R, n, 1.0)
        X = X + np.fft.rfft2(rng.normal(scale=sd, size=(41, n, n)), norm="ortho")
        images.append(((damping * X / sd**2).astype(np.complex64), damping**2 / sd**2))
    return poses, images, phantom.truth_map(n, 1.0)


def make_call(volume: GatherVolume, image, R, n: int, r: int, voxel_A: float, rings: int,
              share: float | None):
    """(polish of one particle in one variant, share of the samples that it reads)."""
    bands = ring_bands(r, [r / 4, r / 2, r], rings)
    layout = make_layout(n, bands.radii)
    count = None if share is None else sample_counts(layout, dose_limits(DOSE, n, voxel_A, share))
    problem = PoseProblem(volume, pack_samples(*image, layout), layout, TILTS, n)
    turn = Rotation.from_rotvec(np.radians(4.0) * np.array([0.6, -0.64, 0.48])).as_matrix()
    start = Pose(R @ turn, 1.5 * np.array([0.48, 0.6, -0.64]))
    settings = PolishSettings(bands=bands.stages, grey_scale=1.0)
    left = 1.0 if count is None else count.sum() / (41 * layout.n_samples)
    return partial(polish_pose, problem, start, settings, count), left


def errors(found: PolishResult, R) -> tuple[float, float]:
    """(degrees, px) from the truth."""
    turn = Rotation.from_matrix(R.T @ found.R_p2t).magnitude()
    return float(np.degrees(turn)), float(np.linalg.norm(found.shift_xyz_px))


def measure(n: int, r: int, voxel_A: float, pad: float, sd: float, n_particles: int, rounds: int
            ) -> list[list[str]]:
    """Rows of one box."""
    poses, images, truth = make_images(n, voxel_A, sd, n_particles)
    plans = FftPlans(effort="estimate")
    volume = prepare_gather(plans.rfft3(truth), plans, pad, r)
    found: list[list[tuple]] = []
    timed, left = [], []
    for rings, share in VARIANTS:
        calls = [make_call(volume, image, R, n, r, voxel_A, rings, share)
                 for image, R in zip(images, poses, strict=True)]
        left.append(calls[0][1])
        results = [call() for call, _ in calls]
        found.append([(*errors(x, R), np.linalg.slogdet(x.information)[1] / 6)
                      for x, R in zip(results, poses, strict=True)])
        few = [call for call, _ in calls[:8]]
        timed.append(partial(lambda few: [call() for call in few], few))
    seconds = median_seconds(timed, rounds)
    values = np.array(found)
    rms = np.sqrt(np.mean(values[..., :2] ** 2, axis=1))
    information = np.exp((values[..., 2] - values[0, :, 2]).mean(axis=1))
    return [[str(n), str(rings), "-" if share is None else f"{share:g}", f"{100 * left[i]:.0f} %",
             f"{1e3 * seconds[i] / 8:.2f}", f"{rms[i, 0]:.4f}", f"{rms[i, 1]:.4f}",
             f"{100 * information[i]:.3f} %"]
            for i, (rings, share) in enumerate(VARIANTS)]


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    rows = [row for case in CASES for row in measure(*case, rounds)]
    print_table("dose limits of the polish", [
        "box", "rings", "share of D^2", "samples", "ms/particle", "rms error, deg",
        "rms error, px", "information left"], rows)


if __name__ == "__main__":
    main()
