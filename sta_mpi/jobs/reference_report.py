"""Report sections of `reference`: starts in competition, symmetry, axis, lattice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.lattice_direction import in_plane_correlation
from sta_mpi.align.support import LEAST_Z_SHAPE, LEAST_Z_SIGNAL, Verdict
from sta_mpi.jobs.reference_orient import LATTICE_SHARE, Orientation
from sta_mpi.jobs.reference_plan import ReferencePlan
from sta_mpi.jobs.reference_scores import SymmetryScore
from sta_mpi.jobs.reference_state import ReferenceState
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import map_slices
from sta_mpi.report.figures.gallery import image_gallery
from sta_mpi.report.figures.reference import (
    angular_order_bars,
    evidence_of_starts,
    lattice_picture,
)
from sta_mpi.signal.masks import soft_sphere

Map = NDArray[np.float32]


def starts_section(plan: ReferencePlan, state: ReferenceState, verdict: Verdict) -> Section:
    """Evidence, tests and slices of all starts."""
    starts = state.starts
    rows = [[i + 1, round(float(verdict.gain[i]), 3), round(float(verdict.z_signal[i]), 1),
             round(float(verdict.z_shape[i]), 1), _began_with(starts["first_rows"][i]),
             "winner" if i == verdict.winner else ""]
            for i in range(len(verdict.gain))]
    table = Table(
        "Starts", ("start", "log evidence a particle", "z of signal", "z of shape", "began with",
                   ""), rows,
        f"Of {starts['gain'].shape[1]} particles that no start saw. Log evidence: how much better "
        "the map explains a particle, over all poses, than no particle; below zero for what is not "
        "there. z of signal: against the map with inverted contrast, which noise cannot tell from "
        f"it (accepted from {LEAST_Z_SIGNAL:g}). z of shape: against its average over all "
        f"directions, or about the known normal (from {LEAST_Z_SHAPE:g}).")
    images, titles = [], []
    for i, (firsts, data) in enumerate(zip(starts["firsts"], starts["map"], strict=True)):
        for level, first in enumerate(firsts):
            images.append(first[len(first) // 2])
            titles.append(f"start {i + 1}, " + (
                f"{2**level} particles" if plan.parameters.method == "tree" else "first map"))
        images += [data[len(data) // 2], data[:, len(data) // 2]]
        titles += [f"start {i + 1}, end (xy)", f"start {i + 1}, end (xz)"]
    return Section("Starts in competition", tables=[table], figures=[
        Figure("Evidence",
               evidence_of_starts.later(starts["course"], starts["gain"], verdict.winner),
               "Left: mean log evidence of the particles of each round, over the rounds; it rises "
               "by itself, for noise as well, since the map was made from them. Right: of unseen "
               "particles. Starts that agree there have found the same map."),
        Figure("Maps of the starts", image_gallery(images, titles),
               "Central slices, first and last, each on its own grey scale.")])


def _began_with(rows: NDArray[np.intp]) -> str:
    """What a start began with, in words."""
    if len(rows) == 0:
        return "random poses"
    return f"particle {rows[0] + 1}" if len(rows) == 1 else f"{len(rows)} particles in pairs"


def symmetry_section(plan: ReferencePlan, found: Orientation, scores: Sequence[SymmetryScore]
                     ) -> Section:
    """Candidate axes, angular orders, groups, and what unseen particles say of them."""
    judged = [Table(
        "Unseen particles with symmetry imposed", ("group", "log evidence a particle",
                                                   "z of the gain over C1"),
        [(s.symmetry, round(s.evidence, 3), round(s.z, 1)) for s in scores],
        "The winner of the competition, averaged over each group about the same axes. A check; the "
        "group is chosen by the half maps.")] if scores else []
    if found.group is None:
        text = (f"{found.symmetry} was asked for." if found.fit is None else
                f"The axes of {found.symmetry}, which was asked for, were found with a correlation "
                f"of the map with itself of {found.fit.score:.2f} ({found.fit.before:.2f} with the "
                "axes as they were).")
        return Section("Symmetry", text, tables=judged)
    group = found.group
    rows = [[f"360/{a.prime}", round(a.score, 2), _degrees_from_z(a.direction),
             round(float(np.linalg.norm(a.centre_px)) * plan.setup.sizes.voxel_A, 1),
             ", ".join(map(str, a.orders.carries())) or "none",
             "round" if a.fold == 0 else f"C{a.fold}"] for a in group.axes]
    tables = [*judged, Table(
        "Candidate axes", ("found by a turn of", "correlation", "from z [°]", "off centre [Å]",
                           "orders that carry signal", "reads as"), rows,
        "n is the greatest common divisor of the angular orders in which the half maps agree, so "
        "that no n is favoured; correlations compare axes of one turn only.")]
    if group.shares:
        tables.append(Table(
            "Groups of several axes", ("group", "share of the signal left unchanged"),
            [(name, round(share, 2)) for name, share in group.shares.items()],
            "Of the signal that is not round; a group that is not there leaves about one part in "
            "its size, one that is there all of it."))
    best = max(group.axes, key=lambda a: (a.fold, a.score), default=None)
    figures = [] if best is None else [Figure(
        "Signal by angular order", angular_order_bars.later(
            best.orders.power, best.orders.correlation, best.fold),
        "About the best axis: cross power of the half maps, over its largest, and their "
        "correlation. A C6 map has orders 6, 12 ... and nothing between.")]
    return Section("Symmetry", f"Found: {found.symmetry}, looked for up to "
                   f"{found.limit_A:.0f} Å.", tables=tables, figures=figures)


def map_move_section(plan: ReferencePlan, found: Orientation) -> Section:
    """The map before and after."""
    voxel_A = plan.setup.sizes.voxel_A
    return Section("Axis before and after", figures=[
        Figure("Before", map_slices.later(found.before, voxel_A),
               f"Mean of the half maps, low-passed at {found.limit_A:.0f} Å, as the search left "
               "it."),
        Figure("After", map_slices.later(found.after, voxel_A),
               f"Turned by {found.move.angle_deg:.1f}°, moved by "
               f"{np.linalg.norm(found.move.t_px) * voxel_A:.1f} Å; the particles with it.")])


def lattice_section(plan: ReferencePlan, found: Orientation) -> list[Section]:
    """The lattice around the reference; nothing where none was looked for."""
    if found.lattice is None:
        return []
    voxel_A, n = plan.setup.sizes.voxel_A, plan.setup.sizes.box_px
    mask = soft_sphere(n, LATTICE_SHARE * n, 2.0)
    lattice, others = found.lattice, found.neighbours
    text = "No neighbours of a lattice are seen in the map."
    if lattice.is_lattice:
        text = (f"The map shows neighbours at {lattice.spacing_px * voxel_A:.0f} Å, "
                f"{lattice.angle_deg:.1f}° from +X (correlation {lattice.correlation:.2f}).")
    if others is not None and others.is_lattice:
        text += (f" {others.pairs} pairs of particles say {others.angle_deg:.1f}° (agreement "
                 f"{others.agreement:.2f}), and go before the map.")
    if lattice.is_lattice or (others is not None and others.is_lattice):
        text += f" It was turned to {plan.parameters.lattice_direction_deg:g}°."
    return [Section("Lattice", text, figures=[Figure(
        "Self-correlation in the plane", lattice_picture.later(
            found.after, in_plane_correlation(found.after, mask), voxel_A,
            plan.parameters.lattice_direction_deg,
            lattice.spacing_px if lattice.is_lattice else None),
        "Left: central slice. Right: correlation of the turned map with itself at in-plane shifts; "
        "peaks are neighbours. The line is the direction asked for.")])]


def _degrees_from_z(direction: NDArray[np.float64]) -> float:
    return round(float(np.degrees(np.arccos(np.clip(direction[2], -1, 1)))), 1)
