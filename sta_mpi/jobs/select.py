"""`select`: choose particles of a set, remove duplicates, join and split sets.

The order is fixed: join, edit columns, filter rows, lattice, duplicates, holes, numbers,
half-sets, names, split.
Rank 0 alone works.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.relion_particle_table import RelionParticles, new_names
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.averaging import check_symmetry
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves, set_files
from sta_mpi.jobs.parameters.select import SelectParameters
from sta_mpi.jobs.select_compare import Comparison, compare_with
from sta_mpi.jobs.select_input import SelectInput, joined_sets, read_input, scores_of
from sta_mpi.jobs.select_report import select_sections
from sta_mpi.jobs.select_steps import (
    count_filters,
    needed_scores,
    region_files,
    row_filters,
)
from sta_mpi.jobs.select_threshold import Thresholds, automatic_thresholds
from sta_mpi.jobs.set_output import given_members, write_particle_set
from sta_mpi.pick.duplicates import (
    DuplicateResult,
    DuplicateRule,
    relion_duplicates,
    remove_duplicates,
)
from sta_mpi.pick.lattice import Lattice, LatticeRule, consistent, fill_holes, find_lattice
from sta_mpi.pick.selection import split

UNEVEN_HALVES = 0.1
"""Difference of the half-sets, over all particles, from which the user is told."""


def input_files(parameters: SelectParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    sets = joined_sets(parameters)
    files = set_files(parameters)
    for item in sets[1:]:
        files += [path for path in (item.particles, item.tomograms) if path not in files]
    names = read_tomograms(sets[0].tomograms).names if parameters.region_mask else []
    files += [path for path in region_files(parameters, names) if path.exists()]
    return files + ([parameters.compare] if parameters.compare else [])


@dataclass
class Selection:
    """Particles on their way through the steps.

    Parameters
    ----------
    particles : RelionParticles
    rows : (n,) int            row of the input that each particle came from
    is_new : (n,) bool         particles added at lattice holes
    steps : list               (name, particles before, particles after)
    lattice : Lattice or None  neighbours of those that stayed
    duplicates : dict          what each rule keeps
    thresholds : Thresholds    of --false-share, a tomogram each
    """

    particles: RelionParticles
    rows: NDArray[np.intp]
    is_new: NDArray[np.bool_]
    steps: list[tuple[str, int, int]] = field(default_factory=list)
    lattice: Lattice | None = None
    duplicates: dict[str, int] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)

    def keep(self, name: str, keep: NDArray[np.bool_]) -> None:
        """Go on with the rows `keep`; InputError where none is left."""
        before = len(self.particles)
        if not keep.any():
            raise InputError(f"no particle is left after {name!r}: it removed all {before}. Check "
                             "the limits of this option.")
        self.particles = self.particles.select(keep)
        self.rows, self.is_new = self.rows[keep], self.is_new[keep]
        self.steps.append((name, before, len(self.particles)))


def run(parameters: SelectParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Select and write particles, set and report."""
    if not runtime.is_root:
        return JobOutcome()
    check_symmetry(parameters.symmetry)
    given = read_input(parameters)
    n = len(given.particles)
    chosen = Selection(given.particles, np.arange(n), np.zeros(n, bool))
    rng = np.random.default_rng(np.random.SeedSequence([parameters.seed, 0x5E1EC7]))
    for name, keeps in row_filters(parameters, given.tomograms):
        chosen.keep(name, keeps(chosen.particles))
    warnings = list(given.notes)
    if parameters.lattice_spacing_A is not None:
        _keep_lattice(chosen, parameters)
    if parameters.min_distance_A is not None:
        warnings += _drop_duplicates(chosen, parameters)
    if parameters.false_share is not None:
        _keep_good(chosen, parameters)
    if parameters.fill_holes:
        warnings += _fill(chosen, parameters)
    for name, keeps in count_filters(parameters, rng):
        chosen.keep(name, keeps(chosen.particles))
    if parameters.halves != "keep":
        half = assign_halves(chosen.particles, parameters.halves, parameters.seed,
                             parameters.cluster_distance_A)
        chosen.particles = replace(chosen.particles, half=half)
    if parameters.lattice_spacing_A is not None:
        chosen.lattice = _lattice(chosen.particles, parameters)
    if chosen.is_new.any() or parameters.renumber == "always":
        chosen.particles = replace(chosen.particles, names=new_names(
            chosen.particles.tomo_names, chosen.particles.i_tomo))
    compared = None if parameters.compare is None else compare_with(
        chosen.particles, given, parameters)
    outputs = _write(chosen, given, parameters, folder, rng, compared)
    warnings += _half_warnings(chosen.particles)
    results = _results(chosen, given, compared)
    sections = select_sections(given, chosen, parameters, compared)
    return JobOutcome(results, outputs, sections, warnings)


def _keep_good(chosen: Selection, p: SelectParameters) -> None:
    scores = needed_scores(chosen.particles, p, "--false-share")
    keep, chosen.thresholds = automatic_thresholds(chosen.particles, scores,
                                                   float(p.false_share or 0.0))
    chosen.keep("automatic threshold", keep)


def _keep_lattice(chosen: Selection, p: SelectParameters) -> None:
    lattice = _lattice(chosen.particles, p)
    chosen.keep("lattice", consistent(lattice, p.min_neighbours, p.min_patch))


def _lattice(s: RelionParticles, p: SelectParameters) -> Lattice:
    return find_lattice(s.position_A, s.R_p2t, s.i_tomo, lattice_rule(p),
                        symmetry_matrices(p.symmetry))


def lattice_rule(p: SelectParameters) -> LatticeRule:
    """The lattice that the options describe."""
    if p.lattice_spacing_A is None:
        raise UsageError("--lattice-spacing-A is needed. Give the distance of neighbours.")
    return LatticeRule(p.lattice_spacing_A, p.lattice_neighbours, p.lattice_phase_deg,
                       p.lattice_tolerance, p.lattice_angle_deg)


def _drop_duplicates(chosen: Selection, p: SelectParameters) -> list[str]:
    """Remove duplicates by the rule asked for; what the user should know of it."""
    s, distance = chosen.particles, float(p.min_distance_A or 0.0)
    score, _ = scores_of(s, p)
    result = remove_duplicates(
        s.position_A, s.i_tomo, np.zeros(len(s)) if score is None else score,
        DuplicateRule(distance, p.duplicate_angle_deg, p.across_halves), s.R_p2t,
        symmetry_matrices(p.symmetry), s.half)
    # the origin as RELION has it in its file, and as it lies in the tomogram
    origin = -np.einsum("nji,nj->ni", s.R_box2t, s.offset_A)
    as_relion = relion_duplicates(s.xyz_A, origin, s.i_tomo, distance)
    in_frame = relion_duplicates(s.xyz_A, -s.offset_A, s.i_tomo, distance)
    chosen.duplicates = {
        "best score stays": int(result.keep.sum()), "RELION's rule": int(as_relion.sum()),
        "RELION's rule, origins in the frame of the box": int(in_frame.sum()),
        "places in both half-sets": result.n_across}
    if p.relion_compatible:
        chosen.keep("duplicates, RELION's rule", as_relion)
        return []
    chosen.particles = replace(s, half=result.half)
    chosen.keep("duplicates", result.keep)
    notes = [] if score is not None else [
        "duplicates: no column of scores is known, so positions decide which one stays. Name a "
        "column with --score-column."]
    return notes + _across_notes(result, p, s)


def _across_notes(result: DuplicateResult, p: SelectParameters, s: RelionParticles) -> list[str]:
    moved = int((result.half != s.half)[result.keep].sum())
    if p.across_halves == "ignore" and result.n_across:
        return [f"{result.n_across} pairs of one place are in different half-sets and stay: the "
                "half maps are not independent. Use --across-halves best."]
    return [f"{moved} particles moved to the other half-set"] if moved else []


def _fill(chosen: Selection, p: SelectParameters) -> list[str]:
    """Add particles at holes of the lattice; images that others have are given up."""
    s, rule, operators = chosen.particles, lattice_rule(p), symmetry_matrices(p.symmetry)
    position, R, parent = fill_holes(s.position_A, s.R_p2t, s.i_tomo, _lattice(s, p), rule,
                                     operators, p.hole_votes)
    before, n_new = len(s), len(parent)
    chosen.steps.append(("holes filled", before, before + n_new))
    if n_new == 0:
        return []
    grown = s.select(np.concatenate([np.arange(before), parent]))
    xyz, offset, R_p2t = grown.xyz_A, grown.offset_A, grown.R_p2t
    xyz[before:], offset[before:], R_p2t[before:] = position, 0.0, R
    notes = [] if grown.image_names is None else [
        "image names are left out: the added particles have no images. Extract again."]
    chosen.particles = replace(grown, xyz_A=xyz, offset_A=offset, R_p2t=R_p2t, image_names=None,
                               weight_names=None, visible=None)
    chosen.rows = np.concatenate([chosen.rows, chosen.rows[parent]])
    chosen.is_new = np.concatenate([chosen.is_new, np.ones(n_new, bool)])
    return notes


def _write(chosen: Selection, given: SelectInput, p: SelectParameters, folder: JobFolder,
           rng: np.random.Generator, compared: Comparison | None) -> dict[str, str]:
    """Write all files; name -> path in the folder."""
    particles, tomograms = chosen.particles, given.tomograms
    members = replace(given_members(p), tomograms=given.paths.tomograms)
    outputs: dict[str, str] = {}
    if given.is_joined:
        tomograms.write(folder.file("tomograms.star"))
        members = replace(members, tomograms=folder.path / "tomograms.star")
        outputs["tomograms"] = "tomograms.star"
    outputs |= write_particle_set(
        folder, particles, tomograms, members,
        None if given.motion_A is None else given.motion_A[chosen.rows])
    lost = np.setdiff1d(np.arange(len(given.particles)), chosen.rows)
    if len(lost):
        write_particles(folder.file("removed.star"), given.particles.select(lost), tomograms)
        outputs["removed"] = "removed.star"
    if compared is not None:
        write_particles(folder.file("only_here.star"), particles.select(compared.only_here),
                        tomograms)
        outputs["only_here"] = "only_here.star"
    if p.split_parts is not None or p.split_size is not None:
        n = len(particles)
        order = rng.permutation(n) if p.random_order else np.arange(n)
        for i, rows in enumerate(split(n, p.split_parts, p.split_size, order), 1):
            name = f"particles_split{i:03d}.star"
            write_particles(folder.file(name), particles.select(rows), tomograms)
            outputs[f"split {i}"] = name
    return outputs


def _half_warnings(particles: RelionParticles) -> list[str]:
    counts = [int((particles.half == h).sum()) for h in (1, 2)]
    if any(counts) and sum(counts) < len(particles):
        return [f"{len(particles) - sum(counts)} of {len(particles)} particles have no half-set "
                "while others have. Assign all: --halves random or clusters."]
    if not any(counts) or min(counts) == 0:
        return []
    if abs(counts[0] - counts[1]) <= UNEVEN_HALVES * sum(counts):
        return []
    return [f"half-sets hold {counts[0]} and {counts[1]} particles. Their FSC is that of the "
            "smaller one; assign them anew where the particles are independent."]


def _results(chosen: Selection, given: SelectInput, compared: Comparison | None
             ) -> dict[str, Any]:
    particles = chosen.particles
    results: dict[str, Any] = {
        "particles_in": len(given.particles), "particles": len(particles),
        "removed": len(given.particles) - len(np.unique(chosen.rows)),
        "added": int(chosen.is_new.sum()), "tomograms": len(np.unique(particles.i_tomo)),
        "half1": int((particles.half == 1).sum()), "half2": int((particles.half == 2).sum())}
    results |= {f"duplicates: {name}": count for name, count in chosen.duplicates.items()}
    if chosen.lattice is not None:
        results["lattice_phase_deg"] = chosen.lattice.phase_deg
        results["mean_neighbours"] = float(chosen.lattice.count.mean())
    if compared is not None:
        results |= {"compared_common": compared.n_common, "compared_only_here": int(
            compared.only_here.sum()), "compared_only_there": compared.n_only_there}
    return results
