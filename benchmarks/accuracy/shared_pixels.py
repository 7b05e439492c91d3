"""Does noise that particles share pass for signal in the FSC? Random half-sets against clusters.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/shared_pixels.py [--ranks 2] [--only noise|signal]

Noise: tilt series of noise alone, with picks on the lattice sites of two virus-like particles,
the spacing less than a third of the box. Each site is picked once, or several times with some
scatter, as seeds denser than the lattice end after an alignment. Printed: the mean FSC of the
half maps from `average`, unmasked, beyond shell 8 (a site's share is known: with m picks a site
and random halves it is (m - 1) / (m + 1)).

Signal: the same with particles, every site picked once or three times, and `refine` from poses
that are 6 Å and 4 degrees off: the resolution that it states. Three picks hold no more data
than one.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.signal.fsc import fsc, fsc_masked, resolution_A
from sta_mpi.signal.masks import soft_sphere

BOX, PIXEL_A, SPACING_A = 40, 6.0, 75.0
FIRST_SHELL = 9
"""Coarser shells hold few samples, and the sinc of the spacing: neither inflation nor its absence
can be told there."""


def run(ranks: int, *words: object) -> None:
    """A command of the program."""
    start = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    subprocess.run([*start, sys.executable, "-m", "sta_mpi", *map(str, words), "--quiet"],
                   check=True)


def simulate(folder: Path, ranks: int, snr: float, n: int) -> None:
    """Two series, one lattice on a sphere in each."""
    run(ranks, "simulate", "--phantom", "C6", "--placement", "spheres", "--n-spheres", 1,
        "--sphere-radius-A", 420, "--lattice-spacing-A", SPACING_A, "--phantom-radius-A", 45,
        "--phantom-detail-A", 3, "--n-series", 2, "--n-particles", n, "--pixel-A", PIXEL_A,
        "--image-width-px", 256, "--image-height-px", 256, "--thickness-A", 1100,
        "--tilt-step-deg", 4, "--snr", snr, "--truth-box-px", BOX, "-o", folder)


def pick(folder: Path, name: str, picks: int, scatter_A: float, scatter_deg: float) -> Path:
    """Each particle `picks` times, every time moved and turned by normal errors a component."""
    tomograms = read_tomograms(folder / "tomograms.star")
    truth = read_particles(folder / "particles.star", tomograms)
    many = truth.select(np.repeat(np.arange(len(truth)), picks))
    rng = np.random.default_rng(4)
    turns = rotation_from_vector(np.radians(scatter_deg) * rng.normal(size=(len(many), 3)))
    moved = many.with_poses(many.R_p2t @ turns,
                            many.offset_A + scatter_A * rng.normal(size=(len(many), 3)))
    moved.names[:] = [f"{name}/{i % picks}" for i, name in enumerate(many.names)]
    path = folder / name
    write_particles(path, moved, tomograms)
    return path


def half_fsc(folder: Path, particles: Path, halves: str, seed: int, ranks: int
             ) -> NDArray[np.float64]:
    """FSC of half maps at the given poses, unmasked."""
    out = folder / f"average_{particles.stem}_{halves}_{seed}"
    run(ranks, "average", "--tomograms", folder / "tomograms.star", "--particles", particles,
        "--box-px", BOX, "--halves", halves, "--seed", seed, "--noise", "flat", "--no-ctf", "-o",
        out)
    half1, half2 = (read_mrc(out / f"half{h}.mrc").data for h in (1, 2))
    return fsc(half1, half2)


def noise_rows(work: Path, ranks: int) -> None:
    """Mean FSC of pure noise."""
    simulate(work / "noise", ranks, 1e-6, 150)
    print("| picks a site | scatter [Å] | half-sets | FSC beyond shell 8 | standard error "
          "| expected |\n| --- | --- | --- | --- | --- | --- |")
    for picks, scatter_A in ((1, 0.0), (2, 0.0), (3, 0.0), (3, 2.0)):
        particles = pick(work / "noise", f"picks{picks}_{scatter_A:g}.star", picks, scatter_A, 0.0)
        for halves in ("random", "clusters"):
            curves = np.array([half_fsc(work / "noise", particles, halves, seed, ranks)
                               for seed in (1, 2, 3)])[:, FIRST_SHELL:-1]
            expected = ("0" if halves == "clusters" or picks == 1 else
                        f"{(picks - 1) / (picks + 1):.2f}" if scatter_A == 0 else "less")
            # shells are nearly independent; the splits are of the same noise
            error = curves.mean(axis=0).std(ddof=1) / np.sqrt(curves.shape[1])
            print(f"| {picks} | {scatter_A:g} | {halves} | {curves.mean():.3f} | {error:.3f} "
                  f"| {expected} |", flush=True)


def signal_rows(work: Path, ranks: int) -> None:
    """Stated resolution of refinements."""
    folder = work / "signal"
    simulate(folder, ranks, 0.02, 100)
    mask = soft_sphere(BOX, 40 / PIXEL_A, 4.0)
    print("\n| picks a site | half-sets | stated resolution [Å] |\n| --- | --- | --- |")
    for picks in (1, 3):
        particles = pick(folder, f"seeds{picks}.star", picks, 6.0, 4.0)
        for halves in ("random", "clusters"):
            out = folder / f"refine{picks}_{halves}"
            run(ranks, "refine", "--tomograms", folder / "tomograms.star", "--particles", particles,
                "--box-px", BOX, "--halves", halves, "--reference", folder / "truth.mrc",
                "--lowpass-A", 40, "--symmetry", "C6", "--search", "local", "--shift-range-A", 20,
                "--mask-diameter-A", 100, "--oracle-particles", 0, "-o", out)
            half1, half2 = (read_mrc(out / f"run_half{h}_class001_unfil.mrc") for h in (1, 2))
            stated = resolution_A(fsc_masked(half1.data, half2.data, mask), PIXEL_A, BOX, 0.143,
                                  "interpolated")
            print(f"| {picks} | {halves} | {stated:.1f} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--only", choices=["noise", "signal"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if arguments.only != "signal":
            noise_rows(Path(work), arguments.ranks)
        if arguments.only != "noise":
            signal_rows(Path(work), arguments.ranks)


if __name__ == "__main__":
    main()
