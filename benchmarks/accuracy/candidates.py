"""How many candidates of the low band are worth a polish, and what more candidates or shifts find.

The particles are those of `ideal_model` (own formulas, known truth). For each noise level:

right one     the first candidate within 18 degrees of the truth: its deficit of log-likelihood
              to the best candidate, 50 % and 99 % of the particles
overlooked    share of particles whose search ends below the optimum that the truth leads to
found         share of them that end within 15 degrees of the truth

Run: OMP_NUM_THREADS=1 python benchmarks/accuracy/candidates.py
     OMP_NUM_THREADS=1 python benchmarks/accuracy/candidates.py --seed 6 --starts 24 \
         --noise 0.25 0.8 1.1 1.35 --shift-px 6 --shift-steps-px 1 2 2.286 3.2 4.5
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from analytic_particles import draw_noise, draw_tilts, lumpy_object, pose_error, project
from ideal_model import as_samples
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from searches import Searches

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import Pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.signal.fft import FftPlans

sys.path.insert(0, str(Path(__file__).parent.parent / "micro"))
from timing import print_table

BOX, R_MAX, RIGHT_DEG, FOUND_DEG = 64, 24.0, 18.0, 15.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.25, 0.5, 0.8, 1.1, 1.35])
    parser.add_argument("--starts", type=int, nargs="+", default=[6, 12, 24, 48])
    parser.add_argument("--shift-steps-px", type=float, nargs="+", default=[None],
                        help="of the candidates; by default that of align")
    parser.add_argument("--shift-px", type=float, default=4.0, help="how far they reach")
    parser.add_argument("--detail-px", type=float, default=0.65)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    blobs = lumpy_object(0.27 * BOX, given.detail_px)
    reference = prepare_reference(blobs.volume(BOX), None, R_MAX, FftPlans(effort="estimate"))
    searches = [Searches(reference, R_MAX, grey_scale=1.0, starts=n, shift_px=given.shift_px,
                         shift_step_px=step)
                for n in given.starts for step in given.shift_steps_px]
    cases = []
    for _ in range(given.particles):
        R, shift = Rotation.random(rng=rng).as_matrix(), rng.uniform(-2, 2, 3)
        tilts = draw_tilts(rng, BOX, 1.0)
        cases.append((R, shift, tilts, project(blobs, tilts, R, shift, BOX)))
    rows = []
    for sd in given.noise:
        seen = [replace(tilts, noise=sd**2 * tilts.noise) for _, _, tilts, _ in cases]
        noisy = [as_samples(t.transfer * c[3] + draw_noise(rng, t, BOX), t)
                 for c, t in zip(cases, seen, strict=True)]
        truth = [Pose(R, shift) for R, shift, _, _ in cases]
        floor = np.array([searches[0].polish(s, [p]).score
                          for s, p in zip(noisy, truth, strict=True)])
        deficit = right_deficit(searches[-1], noisy, truth)
        for search in searches:
            rows.append([f"{sd:g}", f"{np.median(deficit):.1f}, "
                         f"{np.quantile(deficit, 0.99, method='lower'):.1f}", str(search.starts),
                         f"{search.n_shifts}", *row(search, noisy, truth, floor)])
    print_table(f"{given.particles} particles a point, box {BOX}, r = {R_MAX:g}, finest blobs "
                f"{given.detail_px:g} px", [
        "noise", "deficit of the right one", "at most", "starts", "shifts",
        "polished", "overlooked", "found", "candidates, ms", "polish, ms"], rows)


def right_deficit(search: Searches, noisy: list[TiltSamples], truth: list[Pose]) -> NDArray:
    """Of the right candidates; infinite where there is none."""
    deficits = []
    for pose, (poses, loglik) in zip(truth, search.scored_candidates(noisy), strict=True):
        turn = angular_distance_deg(np.stack([p.R_p2t for p in poses]), pose.R_p2t)
        right = np.flatnonzero(turn < RIGHT_DEG)
        deficits.append(loglik[0] - loglik[right[0]] if right.size else np.inf)
    return np.array(deficits)


def row(search: Searches, noisy: list[TiltSamples], truth: list[Pose], floor: NDArray
        ) -> list[str]:
    """Columns of one number of starts."""
    search.candidates(noisy[:1])  # the rotated reference is made once a run
    begin = time.process_time()
    candidates = search.candidates(noisy)
    middle = time.process_time()
    found = [search.polish(s, c) for s, c in zip(noisy, candidates, strict=True)]
    end = time.process_time()
    error = np.array([pose_error(f.R_p2t, f.shift_xyz_px, p.R_p2t, p.shift_xyz_px)
                      for f, p in zip(found, truth, strict=True)])
    turn = np.degrees(np.linalg.norm(error[:, :3], axis=1))
    overlooked = np.mean(np.array([f.score for f in found]) < floor - 0.5)
    return [f"{np.mean([len(c) for c in candidates]):.1f}", f"{100 * overlooked:.1f} %",
            f"{100 * np.mean(turn < FOUND_DEG):.1f} %",
            *(f"{1e3 * s / len(noisy):.1f}" for s in (middle - begin, end - middle))]


if __name__ == "__main__":
    main()
