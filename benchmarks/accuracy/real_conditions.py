"""The searches against an exhaustive oracle under real conditions.

Particles of one half-set are searched with an average of the other half-set, made from the
same images at poses as a refinement would leave them (1.5 degrees, 0.5 px off a component),
under a soft mask and low-passed at half of Nyquist. Neighbours crowd every particle; the
metadata have errors of tilt alignment and defocus (`scenes`). For every particle:

polish    from a start up to 4 degrees and 1.5 px (a component) from the truth
oracle    `refined_grid` around the truth and around the polished pose, the better of both
global    from no knowledge of the orientation; the position is known to 2 px a component
oracle'   the oracle around the truth, its near-symmetric mates and the pose of the global
          search: what an exhaustive search of everything would end with

Run: OMP_NUM_THREADS=1 python benchmarks/accuracy/real_conditions.py --object chiral
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from analytic_particles import moved, pose_error
from averages import average
from numpy.typing import NDArray
from refined_grid import Best, RefinedGrid
from scenes import BOX, Particle, Thing, cut_particles, make_scene, make_thing, spoiled
from searches import Searches

from sta_mpi.align.polish import Pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]

CONDITIONS = {
    "neighbours": {},
    "+ alignment 1.5 px": {"alignment_px": 1.5},
    "+ defocus 0.15 µm": {"defocus_A": 1500.0},
    "all": {"alignment_px": 1.5, "defocus_A": 1500.0},
}
R_MAX, R_MIN = 12.0, 1.0
NEAR_DEG, NEAR_PX = 12.0, 3.0
"""A pose nearer to the truth than both is the right optimum."""


@dataclass
class Row:
    """One particle: errors (6,) of the methods and scores."""

    polish: Floats
    oracle: Floats
    coarser: Floats
    polish_score: float
    oracle_score: float
    found: Floats
    best: Floats
    found_score: float
    best_score: float


def error_of(pose: Best | Pose, particle: Particle, thing: Thing) -> Floats:
    """(6,) rotation vector [rad] and shift [px] from the nearest symmetric copy of the truth."""
    errors = [pose_error(pose.R_p2t, pose.shift_xyz_px, particle.R @ turn, particle.shift)
              for turn in thing.same]
    return min(errors, key=lambda e: float(np.linalg.norm(e[:3])))


def is_near(error: Floats) -> bool:
    """Whether an error is that of the right optimum."""
    return bool(np.degrees(np.linalg.norm(error[:3])) < NEAR_DEG
                and np.linalg.norm(error[3:]) < NEAR_PX)


def refined_poses(particles: list[Particle], thing: Thing, rng: np.random.Generator
                  ) -> tuple[list, list[Pose]]:
    """Samples and poses, every symmetric copy, as a refinement would leave them."""
    samples, poses = [], []
    for particle in particles:
        step = rng.normal(size=6) * np.repeat([np.radians(1.5), 0.5], 3)
        R, shift = moved(particle.R, particle.shift, step)
        for turn in thing.same:
            samples.append(particle.wide)
            poses.append(Pose(R @ turn, shift))
    return samples, poses


def compare(search: Searches, particle: Particle, candidates: list[Pose], thing: Thing,
            rng: np.random.Generator) -> Row:
    """All methods on one particle."""
    away = rng.uniform(-1, 1, 6) * np.repeat([np.radians(4.0), 1.5], 3)
    polished = search.polish(particle.samples, [Pose(*moved(particle.R, particle.shift, away))])
    grid = RefinedGrid(particle.samples, search.reference, R_MAX, R_MIN)
    paths = [grid.climb(particle.R, particle.shift),
             grid.climb(polished.R_p2t, polished.shift_xyz_px, 1)]
    path = max(paths, key=lambda p: p[-1].score)
    found = search.polish(particle.samples, candidates)
    ends = [p[-1] for p in paths]
    ends += [grid.climb(particle.R @ turn, particle.shift)[-1] for turn in thing.nearly_same[1:]]
    best = max(ends, key=lambda b: b.score)
    # the global search's own optimum counts where it beats everything near the truth
    if found.score > best.score:
        best = Best(found.R_p2t, found.shift_xyz_px, found.score)
    return Row(error_of(polished, particle, thing), error_of(path[-1], particle, thing),
               error_of(path[-2], particle, thing), polished.score, path[-1].score,
               error_of(found, particle, thing), error_of(best, particle, thing),
               found.score, best.score)


def run_condition(thing: Thing, scenes: list, spoil: dict, n_tested: int, seed: int,
                  starts: int, global_r: float) -> tuple[list[Row], dict[str, float]]:
    """Rows of the tested particles, and CPU seconds a particle."""
    rng, plans = np.random.default_rng(seed), FftPlans(effort="estimate")
    particles = [p for s in scenes
                 for p in cut_particles(s, lambda g: spoiled(g, rng, **spoil), rng, plans)]
    tested, other = particles[::2], particles[1::2]
    volume = average(*refined_poses(other, thing, rng), plans, BOX)
    mask = soft_sphere(BOX, 19.0, 4.0)
    search = Searches(prepare_reference(volume, mask, R_MAX, plans), R_MAX, R_MIN,
                      global_r=global_r, starts=starts, symmetry=thing.symmetry)
    tested = tested[:n_tested]
    search.candidates([tested[0].samples])
    begin = time.process_time()
    candidates = search.candidates([p.samples for p in tested])
    seconds = (time.process_time() - begin) / len(tested)
    rows = [compare(search, p, c, thing, rng) for p, c in zip(tested, candidates, strict=True)]
    return rows, {"candidates_s": seconds}


def summary(name: str, rows: list[Row]) -> str:
    """One line of the table."""
    def rms(which: str, part: slice, chosen: list[Row]) -> float:
        return float(np.sqrt(np.mean([np.sum(getattr(r, which)[part] ** 2) for r in chosen])))

    turn, move = slice(0, 3), slice(3, 6)
    near = [r for r in rows if is_near(r.oracle)]
    ours, theirs, coarser = (np.degrees(rms(w, turn, near)) for w in (
        "polish", "oracle", "coarser"))
    shift = [rms(w, move, near) for w in ("polish", "oracle")]
    right = [r for r in rows if is_near(r.best)]
    found = np.mean([is_near(r.found) for r in right]) if right else np.nan
    behind = np.mean([r.oracle_score > r.polish_score + 0.5 for r in rows])
    return (f"| {name} | {len(rows)} | {ours:.3f} | {theirs:.3f} | {ours / theirs:.3f} | "
            f"{shift[0] / shift[1]:.3f} | {coarser / theirs:.3f} | {100 * behind:.1f} % | "
            f"{len(near)} | {len(right)} | {100 * found:.1f} % |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--object", default="chiral", choices=["chiral", "near C6", "pseudo D7"])
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument("--particles", type=int, default=100, help="tested, of each condition")
    parser.add_argument("--noise", type=float, default=6.0)
    parser.add_argument("--starts", type=int, default=24)
    parser.add_argument("--global-r", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    thing = make_thing(given.object)
    n_scenes = -(-2 * given.particles // 60)
    scenes = [make_scene(thing, f"TS_{i}", 60, given.noise, np.random.default_rng([given.seed, i]))
              for i in range(n_scenes)]
    print(f"{given.object}: {60 * n_scenes} particles in {n_scenes} series, box {BOX}, r = "
          f"{R_MAX:g}, noise {given.noise:g}; {given.starts} starts, global band "
          f"{given.global_r:g}\n")
    print("| condition | particles | polish, ° rms | oracle, ° rms | ratio | ratio, shift | "
          "oracle one step coarser | polish behind by > 0.5 | oracle finds, local | "
          "oracle finds, everywhere | of them found by the global search |")
    print("|---" * 11 + "|")
    for name in given.conditions:
        rows, _ = run_condition(thing, scenes, CONDITIONS[name], given.particles, given.seed,
                                given.starts, given.global_r)
        print(summary(name, rows), flush=True)


if __name__ == "__main__":
    main()
