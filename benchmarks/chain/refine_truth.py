"""Refinement against the truth: three simulated sets, from a low-passed reference.

    OMP_NUM_THREADS=1 python benchmarks/chain/refine_truth.py [--sets 70S C6 D2] [--ranks 2]

For each set: tilt series are simulated, `average` at the true poses gives the resolution that
poses cannot better, and `refine` starts from perturbed poses and their average at 40 or 60 Å. The
lattice needs its neighbours in the reference and a prior on shifts, so that particles do not slide
along it, and is compared with the truth in one unit; half-sets
of clusters and random ones are compared for it. Printed as Markdown: half-map resolution of both
(FSC 0.143, mask-corrected), resolution against the true map (FSC 0.5), pose errors, rounds and
CPU time.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fsc import fsc_masked, resolution_A
from sta_mpi.signal.masks import soft_sphere

SETS = {
    "70S": {"simulate": ["--phantom", "70S", "--n-series", "3", "--n-particles", "60",
                         "--pixel-A", "5", "--image-width-px", "480", "--image-height-px", "480",
                         "--tilt-step-deg", "3", "--snr", "0.05"],
            "box": 76, "symmetry": "C1", "lowpass_A": 60, "mask_A": 290, "unit_A": 290,
            "refine": []},
    "C6": {"simulate": ["--phantom", "C6", "--placement", "spheres", "--n-spheres", "1",
                        "--sphere-radius-A", "420", "--lattice-spacing-A", "75",
                        "--phantom-radius-A", "45", "--phantom-detail-A", "3", "--n-series", "2",
                        "--n-particles", "150", "--pixel-A", "4", "--image-width-px", "400",
                        "--image-height-px", "400", "--thickness-A", "1100", "--snr", "0.1"],
           "box": 64, "symmetry": "C6", "lowpass_A": 40, "mask_A": 220, "unit_A": 80,
           "refine": ["--shift-range-A", "20", "--shift-prior-A", "5"]},
    "D2": {"simulate": ["--phantom", "D2", "--phantom-radius-A", "60", "--phantom-detail-A", "3",
                        "--n-series", "2", "--n-particles", "80", "--pixel-A", "4",
                        "--image-width-px", "480", "--image-height-px", "480",
                        "--tilt-step-deg", "3", "--snr", "0.05"],
           "box": 48, "symmetry": "D2", "lowpass_A": 40, "mask_A": 140, "unit_A": 140,
           "refine": []},
}


def run(ranks: int, *words: object) -> float:
    """Run a command; CPU seconds of all its ranks."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    subprocess.run([*start, sys.executable, "-m", "sta_mpi", *map(str, words), "--quiet"],
                   check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def pose_errors(folder: Path, poses: Path, symmetry: str) -> tuple[float, float]:
    """Median angle [deg] and shift [A] from the truth, over the best symmetry mate."""
    tomograms = read_tomograms(folder / "tomograms.star")
    truth = read_particles(folder / "particles_truth.star", tomograms)
    found, _ = read_poses(poses)
    mates = found.R_p2t[:, None] @ symmetry_matrices(symmetry)[None]
    angle = angular_distance_deg(truth.R_p2t[:, None], mates).min(axis=1)
    shift = np.linalg.norm(found.position_A - truth.position_A, axis=1)
    return float(np.median(angle)), float(np.median(shift))


def truth_resolution(job: Path, name: str, truth: Path, mask_A: float) -> float:
    """Resolution of a map against the true one, FSC 0.5 under a soft sphere."""
    found, true = read_mrc(job / name), read_mrc(truth)
    mask = soft_sphere(found.box_px, mask_A / 2 / found.voxel_A, 4.0)
    curve = fsc_masked(found.data, true.data, mask)
    return float(resolution_A(curve, found.voxel_A, found.box_px, 0.5))


def results(job: Path) -> dict[str, float]:
    """Numbers of a finished job."""
    found: dict[str, float] = json.loads((job / "job.json").read_text())["results"]
    return found


def study(name: str, ranks: int, work: Path) -> list[str]:
    """Rows of the table of one set."""
    case = SETS[name]
    sim, box = work / "sim", case["box"]
    run(ranks, "simulate", *case["simulate"], "--perturb-angle-deg", 8, "--perturb-shift-A", 10,
        "--truth-box-px", box, "-o", sim)
    common = ["--tomograms", sim / "tomograms.star", "--box-px", box, "--symmetry",
              case["symmetry"], "--mask-diameter-A", case["mask_A"]]
    rows = []
    for halves in ("clusters", "random") if name == "C6" else ("random",):
        oracle, refined = work / f"oracle_{halves}", work / f"refine_{halves}"
        run(ranks, "average", *common, "--halves", halves, "--particles",
            sim / "particles_truth.star", "-o", oracle)
        cpu_s = run(ranks, "refine", *common, "--halves", halves, "--particles",
                    sim / "particles.star", "--search", "local", "--lowpass-A",
                    case["lowpass_A"], *case["refine"], "-o", refined)
        best, found = results(oracle), results(refined)
        mask_A, truth = case["unit_A"], sim / "truth.mrc"
        to_truth = [truth_resolution(oracle, "merged.mrc", truth, mask_A),
                    truth_resolution(refined, "run_class001.mrc", truth, mask_A)]
        angle, shift = pose_errors(sim, refined / "poses.h5", case["symmetry"])
        rows.append(
            f"| {name}, {halves} | {found['particles']} | {best['resolution_A']:.2f} "
            f"| {found['resolution_A']:.2f} "
            f"| {to_truth[0]:.2f} | {to_truth[1]:.2f} "
            f"| {angle:.2f} | {shift:.2f} | {found['rounds']} | {cpu_s:.0f} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Simulate, average, refine, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the sets and results here")
    arguments = parser.parse_args()
    print("| set, half-sets | particles | true poses [Å] | refined [Å] | true poses to truth [Å] "
          "| refined to truth [Å] | error [°] | error [Å] | rounds | CPU [s] |")
    print("| " + "--- | " * 10)
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as work:
            study(name, arguments.ranks, (arguments.folder or Path(work)) / name)


if __name__ == "__main__":
    main()
