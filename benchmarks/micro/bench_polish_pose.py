"""Polish of the pose of one particle (41 tilts), from 4 degrees and 1.5 px away.

CPU time of `polish_pose`, the share of it spent outside the evaluation of poses (the same
search with recorded answers), and the time per sample and evaluation in the last band.
Samples are views of a blob phantom with white noise.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_polish_pose.py
"""

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.kernels.gather import prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

# box, r, pad, standard deviation of the noise: bounds of a few tenths of a degree
CASES = [(64, 24, 2.0, 8.0), (96, 36, 1.5, 12.0), (128, 50, 1.5, 24.0), (192, 80, 1.5, 48.0)]


def make_problem(n: int, r: int, pad: float, sd: float) -> tuple[PoseProblem, Pose, Pose]:
    """(problem, start, truth) of one noisy particle."""
    rng, plans = np.random.default_rng(n), FftPlans(effort="estimate")
    phantom = chiral_phantom(0.27 * n, 1.6 * n / 48)
    tilts = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True).as_matrix()
    R = Rotation.random(rng=rng).as_matrix()
    X = phantom.views_rft(tilts @ R, n, 1.0)
    X = X + np.fft.rfft2(rng.normal(scale=sd, size=(41, n, n)), norm="ortho")
    layout = make_layout(n, [r / 4, r / 2, r])
    packed = pack_samples((X / sd**2).astype(np.complex64),
                          np.full(X.shape, 1 / sd**2, np.float32), layout)
    volume = prepare_gather(plans.rfft3(phantom.truth_map(n, 1.0)), plans, pad, r)
    turn = Rotation.from_rotvec(np.radians(4.0) * np.array([0.6, -0.64, 0.48])).as_matrix()
    start = Pose(R @ turn, 1.5 * np.array([0.48, 0.6, -0.64]))
    return PoseProblem(volume, packed, layout, tilts, n), start, Pose(R, np.zeros(3))


class Replay:
    """A problem that answers with the sums of an earlier search, in no time."""

    def __init__(self, problem: PoseProblem) -> None:
        self.n, self.n_tilts = problem.n, problem.n_tilts
        self.layout, self.radius = problem.layout, problem.radius
        self._problem, self._answers, self._i = problem, [], 0

    def sums(self, *arguments):
        """Sums of a pose, computed when they are asked for the first time."""
        if self._i == len(self._answers):
            self._answers.append(self._problem.sums(*arguments))
        self._i += 1
        return self._answers[self._i - 1]

    def rewind(self) -> None:
        """Begin again."""
        self._i = 0


def replay(problem: Replay, start: Pose, settings: PolishSettings) -> None:
    """A polish without its evaluations: what is left is the time outside."""
    problem.rewind()
    polish_pose(problem, start, settings)


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    problems = [make_problem(*case) for case in CASES]
    settings = PolishSettings(grey_scale=1.0)
    calls = [partial(polish_pose, problem, start, settings) for problem, start, _ in problems]
    full = [partial(problem.sums, start.R_p2t, start.shift_xyz_px,
                    np.full(41, problem.layout.n_samples)) for problem, start, _ in problems]
    outside = [partial(replay, Replay(problem), start, settings)
               for problem, start, _ in problems]
    seconds = median_seconds(calls + full + outside, rounds)
    rows = []
    for i, (n, r, pad, _) in enumerate(CASES):
        problem, _, truth = problems[i]
        found, samples = calls[i](), 41 * problem.layout.n_samples
        turn = Rotation.from_matrix(truth.R_p2t.T @ found.R_p2t).magnitude()
        share = seconds[2 * len(CASES) + i] / seconds[i]
        one = seconds[len(CASES) + i]
        rows.append([
            str(n), str(r), str(pad), str(samples), str(found.n_evaluations),
            f"{1e3 * seconds[i]:.2f}", f"{1e9 * one / samples:.1f}", f"{100 * share:.0f} %",
            f"{np.degrees(turn):.3f}", f"{np.linalg.norm(found.shift_xyz_px):.3f}"])
    print_table("polish of a pose", [
        "box", "r", "pad", "samples", "evaluations (3 bands)", "ms/particle", "ns/sample",
        "outside `sums`", "error, deg", "error, px"], rows)


if __name__ == "__main__":
    main()
