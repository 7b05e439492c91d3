"""Aligned noise must not look like signal: half-set correlation past the starting low-pass.

Two half-sets of pure noise start from one low-passed reference. Ten rounds: poses against the
half's own reference (the first round by the global search, then by polish from the current
pose), average, next reference. All shells of the band are used for alignment, also those past
the low-pass, which is harsher than a band that follows the correlation. What both halves
have in common past the low-pass is made by the alignment alone. Shells are counted from two
past the low-pass, because its edge is two shells wide.

Run: OMP_NUM_THREADS=1 python benchmarks/accuracy/no_bias.py
"""

import argparse
from dataclasses import replace

import numpy as np
from analytic_particles import Blobs, Tilts, draw_noise, draw_tilts, lumpy_object, weighted
from averages import average
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from searches import Searches

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishSettings, Pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc

Floats = NDArray[np.float64]

EDGE = 2
"""Shells over which the starting low-pass falls to nothing."""


def noise_particles(rng: np.random.Generator, n: int, count: int, colour: float,
                    n_tilts: int) -> list[TiltSamples]:
    """Particles without any signal, weighted as if they had one."""
    found = []
    for _ in range(count):
        tilts: Tilts = draw_tilts(rng, n, 1.0, n_tilts, colour=colour)
        found.append(TiltSamples(*weighted(draw_noise(rng, tilts, n), tilts), tilts.rotation,
                                 np.arange(n_tilts)))
    return found


def aligned_noise_fsc(blobs: Blobs, n: int, lowpass: float, r_max: float, count: int,
                      colour: float, rounds: int, seed: int, n_tilts: int = 41,
                      with_global: bool = True) -> NDArray[np.float64]:
    """FSC (rounds + 1, n // 2 + 1) between the half averages; row 0 at random poses."""
    rng, plans = np.random.default_rng(seed), FftPlans(effort="estimate")
    halves = [noise_particles(rng, n, count, colour, n_tilts) for _ in range(2)]
    poses = [[Pose(R, np.zeros(3)) for R in Rotation.random(count, rng=rng).as_matrix()]
             for _ in range(2)]
    start, settings = blobs.volume(n), PolishSettings(max_shift_px=6.0)
    maps = [average(h, p, plans) for h, p in zip(halves, poses, strict=True)]
    curves = [fsc(*maps)]
    for i in range(rounds):
        for half in range(2):
            reference, band = ((start, lowpass) if i == 0 else (maps[half], r_max))
            search = Searches(prepare_reference(reference, None, band, plans),
                              min(band + EDGE, r_max), settings=settings)
            if i == 0 and with_global:
                poses[half] = list(search.find(halves[half]))
            else:
                poses[half] = [search.polish(s, [Pose(p.R_p2t, p.shift_xyz_px)])
                               for s, p in zip(halves[half], poses[half], strict=True)]
        maps = [average(h, p, plans) for h, p in zip(halves, poses, strict=True)]
        curves.append(fsc(*maps))
    return np.array(curves)


def hand_scores(n: int, r_max: float, count: int, noise_sd: float, seed: int
                ) -> tuple[Floats, Floats]:
    """(scores with the right reference, scores with its mirror image) of particles found by
    the global search."""
    from analytic_particles import project

    rng, plans = np.random.default_rng(seed), FftPlans(effort="estimate")
    blobs = lumpy_object(0.27 * n, n / 64)
    particles = []
    for R in Rotation.random(count, rng=rng).as_matrix():
        tilts = draw_tilts(rng, n, 1.0)
        tilts = replace(tilts, noise=noise_sd**2 * tilts.noise)
        images = (tilts.transfer * project(blobs, tilts, R, rng.uniform(-2, 2, 3), n)
                  + draw_noise(rng, tilts, n))
        particles.append(TiltSamples(*weighted(images, tilts), tilts.rotation, np.arange(41)))
    right, mirrored = (np.array([f.score for f in Searches(
        prepare_reference(b.volume(n), None, r_max, plans), r_max).find(particles)])
        for b in (blobs, blobs.mirrored()))
    return right, mirrored


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=60, help="in each half-set")
    parser.add_argument("--box", type=int, default=48)
    parser.add_argument("--lowpass", type=float, default=7.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    n, first = given.box, int(given.lowpass) + EDGE + 1
    blobs = lumpy_object(0.27 * n, n / 64)
    print(f"{given.particles} particles of pure noise a half-set, box {n}, low-pass at shell "
          f"{given.lowpass:g}, band to {n // 2 - 2}, {given.rounds} rounds\n")
    print("| noise | seed | largest FSC past the low-pass, any round | at shell | last round | "
          "mean over shells, last round | FSC within the low-pass, last round |")
    print("|---" * 7 + "|")
    for name, colour in (("white", 0.0), ("coloured", 4.0)):
        for seed in range(given.seeds):
            curves = aligned_noise_fsc(blobs, n, given.lowpass, n // 2 - 2, given.particles,
                                       colour, given.rounds, seed)
            past = curves[1:, first : n // 2 - 1]
            shell = first + int(np.argmax(past.max(axis=0)))
            print(f"| {name} | {seed} | {past.max():.3f} | {shell} | {past[-1].max():.3f} | "
                  f"{past[-1].mean():.3f} | {curves[-1, 1 : int(given.lowpass)].mean():.3f} |")
    print("\n| noise sd | particles | right hand scores higher | mean score, right hand | "
          "mean score, mirrored |")
    print("|---" * 5 + "|")
    for noise_sd in (0.5, 1.0, 2.0, 3.0):
        right, mirrored = hand_scores(n, n // 2 - 2, 40, noise_sd, 0)
        print(f"| {noise_sd:g} | {len(right)} | {100 * np.mean(right > mirrored):.0f} % | "
              f"{right.mean():.1f} | {mirrored.mean():.1f} |")


if __name__ == "__main__":
    main()
