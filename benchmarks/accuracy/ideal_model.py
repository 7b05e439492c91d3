"""Pose errors against the Cramer-Rao bound: reference known, noise as modelled.

Particles come from `analytic_particles` (own formulas of object, projection, CTF and noise), the
bound from numerical derivatives of those formulas in float64. At each noise level every
particle is polished from a start up to 4 degrees and 1.5 px (a component) away, polished from
the truth (the floor: no local search ends nearer), and found from no knowledge of its
orientation by the global search.

Run: OMP_NUM_THREADS=1 python benchmarks/accuracy/ideal_model.py --figure ideal.png
     OMP_NUM_THREADS=1 python benchmarks/accuracy/ideal_model.py --detail-px 0.65
"""

import argparse
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
from analytic_particles import (
    Blobs,
    draw_noise,
    draw_tilts,
    fisher_information,
    lumpy_object,
    mean_sample_snr,
    moved,
    pose_error,
    project,
    weighted,
)
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from searches import Searches

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishResult, Pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]

START_DEG, START_PX = 4.0, 1.5
FOUND_SD = 5.0
"""A particle counts as found within this many standard deviations (the bound's) of the truth."""


@dataclass
class Point:
    """Results of one noise level and band; all arrays have a row a particle."""

    r_max: float
    snr: float
    error: Floats
    bound: Floats
    information: Floats
    score: Floats
    floor_error: Floats
    floor_score: Floats
    found_error: Floats
    found_score: Floats
    seconds_polish: float
    seconds_global: float

    def bound_rms(self, part: slice) -> float:
        """Rms bound of a component of rotation [rad] or shift [px]."""
        return float(np.sqrt(np.mean([np.trace(b[part, part]) for b in self.bound]) / 3))

    def ratio(self, part: slice) -> float:
        """Rms error over rms bound."""
        return float(np.sqrt(np.mean(self.error[:, part] ** 2)) / self.bound_rms(part))

    @property
    def floor(self) -> float:
        """Rms error over rms bound of the rotation when the polish starts at the truth."""
        return float(np.sqrt(np.mean(self.floor_error[:, TURN] ** 2)) / self.bound_rms(TURN))

    def normalised(self, part: slice = slice(0, 6)) -> float:
        """Variance of the errors in units of the uncertainty that the program writes."""
        values = []
        for e, info in zip(self.error, self.information, strict=True):
            covariance = np.linalg.inv(info)[part, part]
            values.append(e[part] @ np.linalg.solve(covariance, e[part]) / len(covariance))
        return float(np.mean(values))

    def near_truth(self, error: Floats) -> NDArray[np.bool_]:
        """Particles whose rotation is within FOUND_SD times the bound of the truth."""
        limit = FOUND_SD * np.array([np.sqrt(np.trace(b[:3, :3])) for b in self.bound])
        return np.linalg.norm(error[:, :3], axis=1) < limit

    @property
    def outliers(self) -> tuple[float, float]:
        """Share that ends far from the truth: polished from near it, polished from the truth."""
        return tuple(float(1 - np.mean(self.near_truth(e)))
                     for e in (self.error, self.floor_error))  # type: ignore[return-value]

    @property
    def found(self) -> float:
        """Share of the particles found by the global search."""
        return float(np.mean(self.near_truth(self.found_error)))

    @property
    def overlooked(self) -> float:
        """Share where the global search ends below the optimum that the truth leads to."""
        return float(np.mean(self.found_score < self.floor_score - 0.5))


TURN, MOVE = slice(0, 3), slice(3, 6)


def as_samples(images: NDArray, tilts) -> TiltSamples:
    """Particle images as the package takes them."""
    data, weight = weighted(images, tilts)
    return TiltSamples(data, weight, tilts.rotation, np.arange(len(tilts.rotation)))


def run_points(blobs: Blobs, n: int, radii: list[float], noise_sds: list[float],
               n_particles: int, seed: int = 0, with_ctf: bool = True,
               with_global: bool = True) -> list[Point]:
    """Polish and find particles at every noise level in every band."""
    rng = np.random.default_rng(seed)
    plans = FftPlans(effort="estimate")
    volume = blobs.volume(n)
    searches = [Searches(prepare_reference(volume, None, r, plans), r, grey_scale=1.0)
                for r in radii]
    cases = []
    for _ in range(n_particles):
        R, shift = Rotation.random(rng=rng).as_matrix(), rng.uniform(-2, 2, 3)
        tilts = draw_tilts(rng, n, 1.0, with_ctf=with_ctf)
        cases.append((R, shift, tilts, project(blobs, tilts, R, shift, n),
                      fisher_information(blobs, tilts, R, shift, n, radii),
                      [mean_sample_snr(blobs, tilts, R, n, r) for r in radii]))
    points = []
    for sd in noise_sds:
        seen = [replace(c[2], noise=sd**2 * c[2].noise) for c in cases]
        noisy = [as_samples(t.transfer * c[3] + draw_noise(rng, t, n), t)
                 for c, t in zip(cases, seen, strict=True)]
        away = rng.uniform(-1, 1, (n_particles, 6)) * np.repeat(
            [np.radians(START_DEG), START_PX], 3)
        for i, search in enumerate(searches):
            points.append(_run_point(search, cases, noisy, away, sd, i, with_global))
    return points


def _run_point(search: Searches, cases: list, noisy: list[TiltSamples], away: Floats, sd: float,
               i_radius: int, with_global: bool) -> Point:
    def errors(found: list[PolishResult]) -> Floats:
        return np.array([pose_error(f.R_p2t, f.shift_xyz_px, c[0], c[1])
                         for f, c in zip(found, cases, strict=True)])

    begin = time.process_time()
    polished = [search.polish(s, [Pose(*moved(c[0], c[1], step))])
                for s, c, step in zip(noisy, cases, away, strict=True)]
    middle = time.process_time()
    floor = [search.polish(s, [Pose(c[0], c[1])]) for s, c in zip(noisy, cases, strict=True)]
    if with_global:
        search.candidates(noisy[:1])  # the rotated reference is made once a run
        middle_global = time.process_time()
        found = search.find(noisy)
    else:
        middle_global, found = time.process_time(), polished
    end = time.process_time()
    return Point(
        search.r_max, float(np.mean([c[5][i_radius] for c in cases])) / sd**2, errors(polished),
        np.array([np.linalg.inv(c[4][i_radius]) * sd**2 for c in cases]),
        np.array([f.information for f in polished]), np.array([f.score for f in polished]),
        errors(floor), np.array([f.score for f in floor]),
        errors(found), np.array([f.score for f in found]),
        (middle - begin) / len(cases), (end - middle_global) / len(cases))


def table(points: list[Point]) -> list[str]:
    """Markdown lines, one a point."""
    lines = ["| r | SNR a sample | bound, ° | rms error / bound: rotation | shift | rotation, "
             "started at the truth | variance of normalised errors | far from the truth: polish "
             "| started at the truth | global: found | below the truth's optimum |",
             "|---" * 11 + "|"]
    for p in points:
        lines.append(
            f"| {p.r_max:g} | {p.snr:.2g} | {np.degrees(p.bound_rms(TURN)) * np.sqrt(3):.2f} | "
            f"{p.ratio(TURN):.2f} | {p.ratio(MOVE):.2f} | {p.floor:.2f} | {p.normalised():.2f} | "
            f"{100 * p.outliers[0]:.1f} % | {100 * p.outliers[1]:.1f} % | "
            f"{100 * p.found:.1f} % | {100 * p.overlooked:.1f} % |")
    return lines


def figure(points: list[Point], path: str) -> None:
    """Error against bound, and share found, over the noise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    for r in sorted({p.r_max for p in points}):
        mine = [p for p in points if p.r_max == r]
        bound = np.degrees([p.bound_rms(TURN) * np.sqrt(3) for p in mine])
        left.loglog(bound, bound * [p.ratio(TURN) for p in mine], "o-",
                    label=f"rms error, r = {r:g}")
        right.semilogx([p.snr for p in mine], [100 * p.found for p in mine], "o-",
                       label=f"r = {r:g}")
    span = np.array(left.get_xlim())
    left.fill_between(span, 0.85 * span, 1.15 * span, alpha=0.2, label="0.85 to 1.15 of the bound")
    left.axvline(3, ls=":", c="grey")
    left.set(xlabel="Cramér-Rao bound of the rotation [°]", ylabel="rms error [°]")
    right.set(xlabel="mean signal-to-noise ratio of a sample", ylabel="found from no knowledge [%]")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    fig.tight_layout()
    fig.savefig(path, dpi=130)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=100)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--radii", type=float, nargs="+", default=[24.0, 30.0])
    parser.add_argument("--noise", type=float, nargs="+",
                        default=[0.125, 0.25, 0.5, 1, 2, 2.4, 3, 4, 6])
    parser.add_argument("--detail-px", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure")
    given = parser.parse_args()
    blobs = lumpy_object(0.27 * given.box, given.detail_px)
    points = run_points(blobs, given.box, given.radii, given.noise, given.particles, given.seed)
    points.sort(key=lambda p: (p.r_max, -p.snr))
    print(f"{given.particles} particles a point, box {given.box}, 41 tilts, CTF, finest blobs "
          f"{given.detail_px:g} px\n")
    print("\n".join(table(points)))
    ms = [1e3 * np.median([getattr(p, name) for p in points])
          for name in ("seconds_polish", "seconds_global")]
    print(f"\nCPU a particle: polish {ms[0]:.1f} ms, global search {ms[1]:.1f} ms")
    if given.figure:
        figure(points, given.figure)
        print(given.figure, file=sys.stderr)


if __name__ == "__main__":
    main()
