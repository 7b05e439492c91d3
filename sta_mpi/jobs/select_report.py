"""Sections of the report of `select`."""

from typing import TYPE_CHECKING

import numpy as np

from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.parameters.select import SelectParameters
from sta_mpi.jobs.select_compare import Comparison
from sta_mpi.jobs.select_input import SelectInput, numbers, scores_of
from sta_mpi.jobs.select_threshold import threshold_section
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import angular_coverage, pose_change, score_histogram
from sta_mpi.report.figures.picks import kept_and_removed, neighbour_counts

if TYPE_CHECKING:
    from sta_mpi.jobs.select import Selection

_DRAWN_TOMOGRAMS = 4


def select_sections(given: SelectInput, chosen: "Selection", p: SelectParameters,
                    compared: Comparison | None) -> list[Section]:
    """Steps, tomograms, places, scores, lattice, comparison."""
    sections = [_steps(given, chosen), _places(given, chosen)]
    scores, label = scores_of(chosen.particles, p)
    s = chosen.particles
    histograms = [(label, scores if not p.score_low_is_good or scores is None else -scores)]
    histograms += [(name.removeprefix("_"), numbers(s, name.removeprefix("_"), "--histogram"))
                   for name in p.histogram]
    half = s.half if s.half.any() else None
    figures = [Figure(name, score_histogram.later(values, half, s.i_tomo, s.tomo_names, name))
               for name, values in histograms if values is not None]
    figures.append(Figure("Angular coverage", angular_coverage.later(
        s.R_p2t, symmetry_matrices(p.symmetry), p.symmetry), "Of the particles that stay."))
    if p.false_share is not None:
        sections.append(threshold_section(
            chosen.thresholds, f"-{label}" if p.score_low_is_good else label, p.false_share))
    sections.append(Section("What stays", figures=figures))
    if chosen.lattice is not None and p.lattice_spacing_A is not None:
        sections.append(_lattice(chosen, p.lattice_spacing_A))
    if compared is not None:
        sections.append(_comparison(compared, p))
    return sections


def _steps(given: SelectInput, chosen: "Selection") -> Section:
    rows = [(name, before, after, after - before) for name, before, after in chosen.steps]
    tables = [Table("Steps", ("step", "before", "after", "change"), rows)]
    if chosen.duplicates:
        tables.append(Table(
            "Duplicates: what each rule keeps", ("rule", "particles"),
            list(chosen.duplicates.items()),
            "RELION's rule removes a particle if any later row is within the distance, so of a "
            "chain of neighbours only the last one stays, whatever its score; and it takes "
            "origins without the orientation of the box. Ours keeps the best score of a place "
            "and what is farther than the distance from all kept ones."))
    before = np.bincount(given.particles.i_tomo, minlength=len(given.particles.tomo_names))
    after = np.bincount(chosen.particles.i_tomo, minlength=len(before))
    tables.append(Table("Tomograms", ("tomogram", "before", "after"), [
        (name, int(b), int(a)) for name, b, a in
        zip(given.particles.tomo_names, before, after, strict=True) if b or a]))
    return Section("What was done", tables=tables)


def _places(given: SelectInput, chosen: "Selection") -> Section:
    lost = np.setdiff1d(np.arange(len(given.particles)), chosen.rows)
    changed = np.bincount(given.particles.i_tomo[lost],
                          minlength=len(given.particles.tomo_names))
    changed += np.bincount(chosen.particles.i_tomo, minlength=len(changed)) > 0
    figures = []
    for i in np.argsort(-changed, kind="stable")[:_DRAWN_TOMOGRAMS]:
        if changed[i]:
            removed = given.particles.position_A[lost[given.particles.i_tomo[lost] == i]]
            here, position = chosen.particles.i_tomo == i, chosen.particles.position_A
            figures.append(Figure(given.particles.tomo_names[i], kept_and_removed.later(
                position[here & ~chosen.is_new], removed, position[here & chosen.is_new]),
                "Seen along z, and along y."))
    return Section("Where particles are", figures=figures)


def _lattice(chosen: "Selection", spacing_A: float) -> Section:
    lattice, s = chosen.lattice, chosen.particles
    assert lattice is not None
    position = s.position_A
    a, b = lattice.pairs.T
    distance = np.linalg.norm(position[a] - position[b], axis=1) if len(s) else np.zeros(0)
    return Section("Lattice", figures=[Figure(
        "Neighbours", neighbour_counts.later(lattice.count, distance, spacing_A),
        "Sites of a particle that hold a particle of the right place and orientation; edges of "
        "a patch have fewer. A peak away from the spacing asked for says that it is wrong.")])


def _comparison(compared: Comparison, p: SelectParameters) -> Section:
    rows = [("common places", compared.n_common), ("only here", int(compared.only_here.sum())),
            ("only there", compared.n_only_there), ("names in both", compared.n_same_name)]
    return Section(
        f"Compared with {p.compare}", tables=[Table("Counts", ("", "particles"), rows)],
        figures=[Figure("Difference of common particles", pose_change.later(
            [compared.angle_deg], [compared.distance_A]), "Modulo symmetry.")])
