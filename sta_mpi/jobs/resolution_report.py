"""The resolution report of `postprocess`: how far its number can be trusted.

Mask sweep from the half maps alone; ResLog curve, predicted from the FSC and measured where half
maps of subsets are given; spread over other random splits of the particles where they are given.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sta_mpi.data import HalfMaps
from sta_mpi.errors import InputError
from sta_mpi.jobs.final_fsc import FinalFsc
from sta_mpi.jobs.folder import JobOutcome
from sta_mpi.jobs.half_maps import read_half_maps
from sta_mpi.jobs.parameters.postprocess import PostprocessParameters
from sta_mpi.post.mask_sweep import depends_on_mask, mask_sweep
from sta_mpi.post.reslog import fit_reslog, predicted_reslog, spread
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import resolution as figures
from sta_mpi.signal.fsc import FscResult, corrected_fsc


@dataclass(frozen=True)
class OtherCurves:
    """Corrected FSC of half maps of other splits and of subsets, in the order they were given."""

    splits: list[FscResult]
    subsets: list[FscResult]


def other_curves(p: PostprocessParameters, halves: HalfMaps, mask: np.ndarray) -> OtherCurves:
    """Read and compare the other half maps, before anything is written."""
    return OtherCurves([_other_curve(p, path, halves, mask) for path in p.split_half1],
                       [_other_curve(p, path, halves, mask) for path in p.subset_half1])


def resolution_report(p: PostprocessParameters, halves: HalfMaps, curves: FinalFsc,
                      others: OtherCurves, outcome: JobOutcome) -> None:
    """Add sections, results and warnings to the outcome."""
    fsc = curves.fsc
    if p.mask_sweep:
        _sweep(p, halves, fsc, curves.mask, outcome)
    if others.splits:
        splits_section([str(p.half1), *map(str, p.split_half1)], [fsc, *others.splits], outcome)
    if p.n_particles is not None or others.subsets:
        reslog_section(fsc, p.n_particles, list(p.subset_n_particles), others.subsets, outcome)


def _sweep(p: PostprocessParameters, halves: HalfMaps, fsc: FscResult, mask: np.ndarray,
           outcome: JobOutcome) -> None:
    points = mask_sweep(halves.half1.data, halves.half2.data, mask, fsc.voxel_A,
                        np.random.default_rng(p.seed), from_shell=fsc.randomised_from_shell)
    rows = [(f"{q.grown_px:+g}", round(100 * q.box_share, 2), q.resolution_A, q.shell)
            for q in points]
    outcome.sections.append(Section("Dependence on the mask", figures=[Figure(
        "Mask sweep", figures.mask_sweep(
            [q.grown_px for q in points], [q.resolution_A for q in points],
            [q.corrected for q in points], fsc.voxel_A, fsc.box_px),
        "The surface of the mask moved out and in, each with a new soft edge of 5 px. A resolution "
        "that is a property of the map stays within the grey band for the masks near the given "
        "one; it gets slowly worse as solvent noise comes in.")], tables=[Table(
            "Masks", ("grown by [px]", "share of the box [%]", "resolution [Å]", "shell"), rows)]))
    near = [q.resolution_A for q in points if abs(q.grown_px) <= 4]
    if near:
        outcome.results["resolution_mask_lowest_A"] = max(near)
        outcome.results["resolution_mask_highest_A"] = min(near)
    if depends_on_mask(points):
        near_shells = [q.shell for q in points if abs(q.grown_px) <= 4]
        shells = max(near_shells) - min(near_shells)
        outcome.warnings.append(
            f"the resolution depends on the mask: {min(near):.3g} to {max(near):.3g} Å within 4 px "
            f"of the given one, {shells:.0f} Fourier shells. State the mask with the number, and "
            "compare maps under one mask only.")


def _other_curve(p: PostprocessParameters, half1: Path, halves: HalfMaps, mask: np.ndarray
                 ) -> FscResult:
    """Corrected FSC of other half maps under the same mask."""
    other = read_half_maps(half1, None, p.voxel_A)
    if other.half1.data.shape != halves.half1.data.shape or \
            abs(other.half1.voxel_A - halves.half1.voxel_A) > 1e-3 * halves.half1.voxel_A:
        raise InputError(
            f"{half1}: box {other.half1.box_px} px and voxel {other.half1.voxel_A:.4f} Å, "
            f"{p.half1} has {halves.half1.box_px} px and {halves.half1.voxel_A:.4f} Å. Give maps "
            "made with the same settings.")
    return corrected_fsc(other.half1.data, other.half2.data, mask, halves.half1.voxel_A,
                         np.random.default_rng(p.seed), p.randomise_at_A, p.randomise_at_fsc)


def splits_section(names: list[str], every: list[FscResult], outcome: JobOutcome) -> None:
    """Resolution of every random split, the first one that of the maps."""
    between = [f.resolution_A(0.143, "interpolated") for f in every]
    shells = [f.box_px * f.voxel_A / d for f, d in zip(every, between, strict=True)]
    found = spread(between)
    rows = [(name, f.resolution_A(), f.resolution_A(0.143, "interpolated"), f.resolution_A(0.5))
            for name, f in zip(names, every, strict=True)]
    outcome.sections.append(Section("Other random splits", tables=[Table(
        "Half-sets", ("half-sets", "0.143 [Å]", "0.143, between shells [Å]", "0.5 [Å]"), rows,
        f"{found.n} splits, between shells: {found.mean:.4g} ± {found.sd:.2g} Å (s.d.), "
        f"{found.lowest:.4g} to {found.highest:.4g} Å. Differences between two maps that are "
        "smaller than this mean nothing.")]))
    outcome.results |= {"splits": found.n, "resolution_splits_mean_A": found.mean,
                        "resolution_splits_sd_A": found.sd}
    if np.ptp(shells) > 1.0:
        outcome.warnings.append(
            f"the resolution depends on how the particles were split: {found.lowest:.3g} to "
            f"{found.highest:.3g} Å over {found.n} random splits. Give the mean and the spread.")


def reslog_section(fsc: FscResult, n_particles: int | None, subset_counts: list[int],
                   subsets: list[FscResult], outcome: JobOutcome) -> None:
    """Predicted (where `n_particles` in all are known) and measured resolution against number."""
    predicted = None
    if n_particles is not None:
        predicted = predicted_reslog(fsc.corrected, n_particles, fsc.voxel_A, fsc.box_px)
    counts = [float(n) for n in subset_counts]
    at = [f.resolution_A(0.143, "interpolated") for f in subsets]
    if n_particles is not None and subsets:
        counts.append(float(n_particles))
        at.append(fsc.resolution_A(0.143, "interpolated"))
    measured = (np.array(counts), np.array(at)) if subsets else None
    fit = fit_reslog(*measured) if measured is not None else None
    text = ("Dashes: what fewer or more particles of the same quality and poses would give, from "
            "the FSC alone. A measured curve that bends away downward says that small sets align "
            "worse; one that is flat says that something other than the number of particles limits "
            "the map.")
    if fit is not None:
        text += (f" Line through the measured points: B = {fit.b_factor_A2:.0f} Å²; twice the "
                 f"particles would give {fit.doubling_A:.3g} Å.")
        outcome.results |= {"reslog_b_factor_A2": fit.b_factor_A2,
                            "reslog_doubling_A": fit.doubling_A}
    if predicted is not None:
        doubled = predicted[1][np.argmin(np.abs(predicted[0] - 2.0 * float(n_particles or 0)))]
        outcome.results["predicted_doubling_A"] = float(doubled)
    outcome.sections.append(Section("Resolution and number of particles", figures=[Figure(
        "ResLog", figures.reslog(predicted, measured, n_particles), text)]))
