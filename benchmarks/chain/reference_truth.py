"""First references against the truth: objects, lattices and noise, from particles alone.

    OMP_NUM_THREADS=1 python benchmarks/chain/reference_truth.py [--cases object lattice noise]
                                                                 [--ranks 1]

object: an asymmetric particle of 41 tilts with CTF, orientations thrown away, by every method: how
far the FSC with the truth stays above 0.5 after the best rigid move, for the map and for its mirror
image, and how well either fits. lattice: a C6 lattice on a sphere from seeds with normals known
within some degrees, twists unknown, places off by some Å: the group found, and poses against the
truth (normal, twist, place in the plane), where the true x axis points at a neighbour. noise:
images without particles, several seeds: the statistics of the competition. Printed as Markdown.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.map_fit import fit_map
from sta_mpi.align.move_map import move_map
from sta_mpi.data import Particles
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.pick.poses import nearest_mates
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc_masked
from sta_mpi.signal.masks import soft_sphere

BOX, PIXEL_A = 40, 6.0
IMAGES = ["--pixel-A", PIXEL_A, "--image-width-px", 400, "--image-height-px", 400,
          "--thickness-A", 1200, "--truth-box-px", BOX]
"""41 tilts, dose-symmetric, CTF: the simulator's defaults."""
PLANS = FftPlans(effort="estimate")


def run(ranks: int, *words: object) -> float:
    """Run a command; CPU seconds of all its ranks."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    subprocess.run([*start, sys.executable, "-m", "sta_mpi", *map(str, words), "--quiet"],
                   check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def results(job: Path) -> dict[str, float]:
    """Numbers of a finished job."""
    found: dict[str, float] = json.loads((job / "job.json").read_text())["results"]
    return found


def changed(sim: Path, name: str, change: Callable[[Particles], Particles]) -> Path:
    """The particles of a simulation with other poses, written beside them."""
    tomograms = read_tomograms(sim / "tomograms.star")
    particles = read_particles(sim / "particles.star", tomograms)
    write_particles(sim / name, change(particles), tomograms)
    return sim / name


def unknown(particles: Particles) -> Particles:
    """No orientations."""
    return particles.with_poses(np.tile(np.eye(3), (len(particles), 1, 1)), particles.offset_A)


def seeds(tilt_deg: float, shift_A: float) -> Callable[[Particles], Particles]:
    """Normals off by `tilt_deg` rms, places by `shift_A` rms, random twists."""
    def make(particles: Particles) -> Particles:
        rng, n = np.random.default_rng(3), len(particles)
        twist, tip = np.zeros((2, n, 3))
        twist[:, 2] = rng.random(n) * 2 * np.pi
        tip[:, :2] = np.radians(tilt_deg) * rng.normal(size=(n, 2)) / np.sqrt(2)
        turn = rotation_from_vector(tip) @ rotation_from_vector(twist)
        move = rng.normal(size=(n, 3)) * shift_A / np.sqrt(3)
        return particles.with_poses(particles.R_p2t @ turn, particles.offset_A + move)
    return make


def against_truth(path: Path, truth: Path) -> str:
    """Shell and Å of FSC 0.5 with the truth, and both fits, own and mirrored."""
    found, true = read_mrc(path), read_mrc(truth)
    mask = soft_sphere(BOX, 0.4 * BOX, 3.0)
    cells = []
    for data in (found.data, np.ascontiguousarray(np.roll(found.data[:, :, ::-1], 1, 2))):
        move, score = fit_map(data, true.data, mask, BOX / 4, BOX / 6, PLANS)
        curve = fsc_masked(move_map(data, move, PLANS), true.data, mask)
        below = np.flatnonzero(curve < 0.5)
        shell = int(below[0]) - 1 if len(below) else BOX // 2
        cells.append(f"{shell} ({BOX * found.voxel_A / max(shell, 1):.0f} Å) | {score:.2f}")
    return " | ".join(cells)


def study_object(ranks: int, work: Path) -> None:
    """Every method, at two signal-to-noise ratios."""
    print("\n| SNR, method | FSC 0.5 with truth: shell | fit | mirrored: shell | fit | z signal "
          "| z shape | CPU [s] |\n|---|---|---|---|---|---|---|---|")
    for snr, methods in ((0.1, ("denovo",)), (0.01, ("denovo", "particle", "tree"))):
        sim = work / f"object_{snr}"
        run(ranks, "simulate", "--n-series", 2, "--n-particles", 100, "--phantom-radius-A", 70,
            "--snr", snr, *IMAGES, "-o", sim)
        given = changed(sim, "unknown.star", unknown)
        for method in methods:
            out = work / f"object_{snr}_{method}"
            cpu_s = run(ranks, "reference", "--tomograms", sim / "tomograms.star", "--particles",
                        given, "--box-px", BOX, "--method", method, "-o", out)
            r = results(out)
            print(f"| {snr}, {method} | {against_truth(out / 'merged.mrc', sim / 'truth.mrc')} | "
                  f"{r['z_signal']:.0f} | {r['z_shape']:.0f} | {cpu_s:.0f} |", flush=True)


def study_lattice(ranks: int, work: Path) -> None:
    """Seeds that know less and less."""
    print("\n| seeds off by | SNR | group | normal off [°] | twist off [°] | mean place off in the "
          "plane [Å] | median place off [Å] | CPU [s] |\n|---|---|---|---|---|---|---|---|")
    for snr, tilt_deg, shift_A, more in (
            (0.1, 5, 6, []), (0.02, 5, 6, []), (0.1, 8, 25, ["--shift-range-A", 40])):
        sim, out = work / f"lattice_{snr}", work / f"lattice_{snr}_{shift_A}"
        if not sim.exists():
            run(ranks, "simulate", "--n-series", 1, "--placement", "spheres", "--phantom", "C6",
                "--phantom-radius-A", 45, "--sphere-radius-A", 350, "--lattice-spacing-A", 75,
                "--snr", snr, *IMAGES, "-o", sim)
        given = changed(sim, f"seeds_{shift_A}.star", seeds(tilt_deg, shift_A))
        cpu_s = run(ranks, "reference", "--tomograms", sim / "tomograms.star", "--particles", given,
                    "--box-px", BOX, "--cone-deg", 15, *more, "-o", out)
        print(f"| {tilt_deg}°, {shift_A} Å | {snr} | {results(out)['symmetry']} | "
              f"{lattice_errors(sim, out)} | {cpu_s:.0f} |", flush=True)


def lattice_errors(sim: Path, out: Path) -> str:
    """Errors of normals, twists and places, modulo C6, but for one height of all."""
    if not (out / "particles.star").exists():
        return "no reference | | | "
    tomograms = read_tomograms(sim / "tomograms.star")
    truth = read_particles(sim / "particles.star", tomograms)
    found = read_particles(out / "particles.star", tomograms)
    mates = nearest_mates(found.R_p2t, truth.R_p2t, symmetry_matrices("C6"))
    D = np.swapaxes(truth.R_p2t, 1, 2) @ mates
    tilt = np.degrees(np.arccos(np.clip(D[:, 2, 2], -1, 1)))
    twist = np.degrees(np.arctan2(D[:, 1, 0] - D[:, 0, 1], D[:, 0, 0] + D[:, 1, 1]))
    off: NDArray[np.float64] = np.einsum(
        "nji,nj->ni", truth.R_p2t, found.position_A - truth.position_A)[:, :2]
    return (f"{np.median(tilt):.1f} | {np.median(twist):+.1f} (spread {np.std(twist):.1f}) | "
            f"{np.linalg.norm(np.median(off, axis=0)):.1f} | "
            f"{np.median(np.linalg.norm(off, axis=1)):.1f}")


def study_noise(ranks: int, work: Path) -> None:
    """Images of noise: what the competition says."""
    print("\n| seed | log evidence a particle | z signal | z shape | supported |\n|---|---|---|---|"
          "---|")
    for seed in range(1, 5):
        sim, out = work / f"noise{seed}", work / f"noise{seed}_out"
        run(ranks, "simulate", "--n-series", 2, "--n-particles", 100, "--snr", 1e-6, "--seed", seed,
            *IMAGES, "-o", sim)
        run(ranks, "reference", "--optimisation-set", sim / "optimisation_set.star", "--box-px",
            BOX, "--seed", seed, "-o", out)
        r = results(out)
        print(f"| {seed} | {r['evidence_a_particle']:+.3f} | {r['z_signal']:.1f} | "
              f"{r['z_shape']:.1f} | {'yes' if r['is_supported'] else 'no'} |", flush=True)


STUDIES = {"object": study_object, "lattice": study_lattice, "noise": study_noise}


def main() -> None:
    """Run the studies asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(STUDIES), choices=STUDIES)
    parser.add_argument("--ranks", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.cases:
            STUDIES[name](chosen.ranks, Path(folder))


if __name__ == "__main__":
    main()
