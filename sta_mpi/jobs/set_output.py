"""Writing a changed particle set: particles, poses, trajectories, and the set that goes on."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.poses_h5 import write_poses
from sta_mpi.formats.relion_motion import write_motion
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import (
    OptimisationSet,
    read_optimisation_set,
    write_optimisation_set,
)
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.parameters.base import InputSetParameters
from sta_mpi.version import __version__


def has_set(parameters: InputSetParameters) -> bool:
    """Whether particles are given at all."""
    return parameters.optimisation_set is not None or parameters.particles is not None


def given_members(parameters: InputSetParameters) -> OptimisationSet:
    """What the given set names besides particles: references, mask, manifolds; none without one."""
    if parameters.optimisation_set is None:
        return OptimisationSet()
    return read_optimisation_set(parameters.optimisation_set)


def write_particle_set(folder: JobFolder, particles: RelionParticles, tomograms: TomogramSet,
                       members: OptimisationSet, motion_A: NDArray[np.float64] | None = None
                       ) -> dict[str, str]:
    """Write particles.star, poses.h5, motion.star, optimisation_set.star; name -> file name.

    Parameters
    ----------
    members : OptimisationSet              the set to write; particles and trajectories are put in
    motion_A : (n, max_tilts, 3) or None   trajectories of these particles
    """
    write_particles(folder.file("particles.star"), particles, tomograms)
    write_poses(folder.file("poses.h5"), particles, attributes={
        "fingerprint": folder.fingerprint, "version": __version__})
    outputs = {"particles": "particles.star", "poses": "poses.h5",
               "optimisation_set": "optimisation_set.star"}
    members = replace(members, particles=folder.path / "particles.star", trajectories=None)
    if motion_A is not None:
        write_motion(folder.file("motion.star"), motion_A, particles, tomograms)
        members = replace(members, trajectories=folder.path / "motion.star")
        outputs["trajectories"] = "motion.star"
    write_optimisation_set(folder.file("optimisation_set.star"), members)
    return outputs
