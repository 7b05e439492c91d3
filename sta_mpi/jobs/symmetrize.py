"""`symmetrize`: impose a symmetry on a map, or expand particles by it. Rank 0 alone works."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.expand import expand_poses, helical_turns
from sta_mpi.align.move_map import helical_map, symmetrise_map
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.averaging import check_symmetry
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import InputSet, load_set, set_files
from sta_mpi.jobs.map_files import MapSet, map_set_files, read_map_set
from sta_mpi.jobs.parameters.symmetrize import SymmetrizeParameters
from sta_mpi.jobs.set_output import given_members, has_set, write_particle_set
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import angular_coverage, fsc_curves, map_slices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

LOW_AGREEMENT = 0.8
"""FSC of a map with its symmetrised self, at low resolution, that calls for a warning."""
SHOWN_VOXELS = 4.0
"""Resolution of the drawn maps [voxels]."""
FIRST_SHELL = 3
"""Coarser shells agree for any axes."""


def input_files(parameters: SymmetrizeParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [] if parameters.reference is None else map_set_files(parameters.reference)
    return files + (set_files(parameters) if parameters.expand else [])


def run(parameters: SymmetrizeParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Write symmetrised maps, expanded particles, or both."""
    if not runtime.is_root:
        return JobOutcome()
    check_symmetry(parameters.symmetry)
    outcome = JobOutcome()
    if parameters.reference is not None:
        _symmetrise(read_map_set(parameters.reference), parameters, folder, outcome)
    if parameters.expand:
        _expand(load_set(parameters), parameters, folder, outcome)
    elif has_set(parameters):
        outcome.warnings.append("particles are given but not expanded: pass --expand.")
    return outcome


def _symmetrise(given: MapSet, p: SymmetrizeParameters, folder: JobFolder, outcome: JobOutcome
                ) -> None:
    plans, operators = FftPlans(effort="estimate"), symmetry_matrices(p.symmetry)
    made = {}
    for name, data in given.maps.items():
        made[name] = symmetrise_map(data, operators, plans) if len(operators) > 1 else data
        if p.helical_rise_A is not None:
            made[name] = helical_map(made[name], p.helical_rise_A / given.voxel_A,
                                     p.helical_twist_deg, p.helical_share, plans)
    after = replace(given, maps=made)
    outcome.outputs |= after.write(folder.path)
    n = given.box_px
    mask = soft_sphere(n, 0.35 * n, max(2.0, 0.05 * n))
    curve = fsc(given.mean * mask, after.mean * mask)
    low = float(curve[FIRST_SHELL : max(FIRST_SHELL + 4, n // 6)].mean())
    outcome.results |= {"box_px": n, "voxel_A": given.voxel_A, "operators": len(operators),
                        "fsc_with_itself_low": low}
    if low < LOW_AGREEMENT:
        outcome.warnings.append(
            f"the map agrees with its symmetrised self at FSC {low:.2f} (low resolution) only: "
            "its axes may lie elsewhere. Find them with sta-mpi recenter --find-symmetry.")
    outcome.sections += [Section("Map", figures=[
        *(Figure(title, map_slices.later(lowpass_map(m.mean, m.voxel_A, SHOWN_VOXELS * m.voxel_A),
                                         m.voxel_A),
                 f"Central slices above, projections below; here low-passed at {SHOWN_VOXELS:g} "
                 "voxels.") for title, m in (("Before", given), ("After", after))),
        Figure("Before against after", fsc_curves.later({"masked": curve}, given.voxel_A, n, []),
               "FSC of the map with its symmetrised self under a sphere: high where the map has "
               "the symmetry, also where it is noise that is shared.")])]


def _expand(inputs: InputSet, p: SymmetrizeParameters, folder: JobFolder, outcome: JobOutcome
            ) -> None:
    particles = inputs.particles
    assert isinstance(particles, RelionParticles)
    operators = symmetry_matrices(p.symmetry)
    turns, rises_A = helical_turns(p.helical_units, p.helical_twist_deg, p.helical_rise_A or 0.0)
    rows, R, offset = expand_poses(particles.R_p2t, particles.offset_A, operators, turns, rises_A)
    copies = len(rows) // len(particles)
    grown = replace(particles.select(rows), R_p2t=R, offset_A=offset,
                    names=_names(particles.names, copies))
    outcome.outputs |= write_particle_set(
        folder, grown, inputs.tomograms,
        replace(given_members(p), tomograms=inputs.paths.tomograms),
        None if inputs.motion_A is None else inputs.motion_A[rows])
    outcome.results |= {"particles_in": len(particles), "particles": len(grown),
                        "copies": copies}
    outcome.sections.append(Section("Particles", figures=[Figure(
        "Angular coverage", angular_coverage.later(grown.R_p2t, symmetry_matrices("C1"), "C1"),
        f"Of all {copies} copies. Copies of a particle are in one half-set; a search from here "
        "must be local, or copies meet again.")]))


def _names(names: NDArray[Any], copies: int) -> NDArray[Any]:
    """`<name>_s<k>`, k from 1, copies of a particle together."""
    width = len(str(copies))
    return np.array([f"{name}_s{k + 1:0{width}d}" for name in names.tolist()
                     for k in range(copies)], object)
