"""Parts of poses, and particles, that a search leaves as they are: `--fix`, `--fix-tomograms`."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import InputError, UsageError
from sta_mpi.jobs.align_search import Search
from sta_mpi.jobs.parameters.align import SearchParameters

Floats = NDArray[np.float64]

FIXED_BY = {"rotations": (0, 1, 2), "axis": (0, 1), "in-plane": (2,), "shifts": (3, 4, 5)}
"""Pose parameters that an option fixes: three turns about the particle's own axes, three shifts."""


STILL_DEG, TWIST_DEG = 0.001, 0.3
"""Turns of a fixed axis, and about one's own axis, that the check of a search takes for none. Turns
without a twist leave a little of it when they follow each other."""


def free_parameters(fix: tuple[str, ...]) -> tuple[bool, ...]:
    """For each of the six pose parameters whether it is searched.

    Examples
    --------
    >>> free_parameters(("axis", "shifts"))
    (False, False, True, False, False, False)
    """
    fixed = {i for part in fix for i in FIXED_BY[part]}
    return tuple(i not in fixed for i in range(6))


def fixed_particles(names: tuple[str, ...], particles: Particles) -> NDArray[np.bool_]:
    """(n,) True for the particles of the named tomograms; InputError for names that are not there.
    """
    unknown = [name for name in names if name not in particles.tomo_names]
    if unknown:
        known = ", ".join(list(particles.tomo_names)[:5])
        raise InputError(f"--fix-tomograms {unknown[0]}: no particle is in this tomogram "
                         f"({len(particles.tomo_names)} have some: {known}). Correct the name.")
    chosen = [i for i, name in enumerate(particles.tomo_names) if name in names]
    return np.isin(particles.i_tomo, chosen)


def check_fixed(parameters: SearchParameters, kind: str, particles: Particles) -> None:
    """UsageError where nothing is left to search, or a search of this kind cannot keep a part."""
    if not (parameters.fix or parameters.fix_tomograms):
        return
    option = "--fix" if parameters.fix else "--fix-tomograms"
    if kind in ("grid", "still"):
        raise UsageError(f"{option} keeps parts of local and global searches, but this one is "
                         f"{kind}. Use --search local, or leave it out.")
    free = free_parameters(parameters.fix)
    if not any(free):
        raise UsageError("--fix leaves nothing to search. Use `sta-mpi average` for given poses.")
    if kind == "global" and not all(free[:3]):
        raise UsageError("--fix keeps a rotation, but this search is global and tries all of them. "
                         "Use --search local, or --cone-deg and --tilt-prior-deg.")
    if parameters.relax_symmetry is not None and not all(free[:3]):
        raise UsageError("--relax-symmetry turns particles, and --fix keeps a rotation. Leave one "
                         "of them out.")
    if fixed_particles(parameters.fix_tomograms, particles).all():
        raise UsageError("--fix-tomograms names all tomograms: nothing is left to search. Name "
                         "fewer, or use `sta-mpi average`.")


def without_fixed(search: Search, particles: Particles) -> Search:
    """The search without candidates that turn or move a fixed part."""
    parameters = search.parameters
    free = free_parameters(parameters.fix)
    search = replace(search, is_kept=fixed_particles(parameters.fix_tomograms, particles))
    if not any(free[3:]):
        search = replace(search, shifts_px=np.zeros((1, 3)), max_shift_A=0.0)
    if not any(free[:3]):
        return replace(search, rotations=np.eye(3)[None], max_angle_deg=0.0)
    if not free[0]:
        return replace(search, rotations=search.rotations[search.rotations[:, 2, 2] > 1 - 1e-9])
    if not free[2]:
        return replace(search, rotations=search.rotations[abs(twist(search.rotations)) < 1e-9])
    return search


def twist(R: Floats) -> Floats:
    """Turn about Z [rad] of rotations (..., 3, 3), when the Z axis is swung back first."""
    return np.asarray(np.arctan2(R[..., 1, 0] - R[..., 0, 1], R[..., 0, 0] + R[..., 1, 1]))


def log_limit(search: Search, row: int, R: Floats) -> Floats:
    """0 for orientations (m, 3, 3) that keep what is fixed of a particle's rotation, -inf else."""
    free = free_parameters(search.parameters.fix)
    away = search.R_p2t[row].T @ R
    outside = np.zeros(len(R), bool)
    if not free[0]:
        outside |= np.hypot(away[:, 0, 2], away[:, 1, 2]) > np.radians(STILL_DEG)
    if not free[2]:
        outside |= np.abs(twist(away)) > np.radians(TWIST_DEG)
    return np.where(outside, -np.inf, 0.0)
