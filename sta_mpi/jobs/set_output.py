"""Writing a changed particle set: particles, poses, and the set that goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.poses_h5 import write_poses
from sta_mpi.formats.relion_motion import write_motion
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.parameters.base import InputSetParameters
from sta_mpi.version import __version__


def has_set(parameters: InputSetParameters) -> bool:
    """Whether particles are given at all."""
    return parameters.optimisation_set is not None or parameters.particles is not None


def write_particle_set(folder: JobFolder, particles: RelionParticles, inputs: InputSet,
                       members: dict[str, Path], rows: NDArray[np.intp] | None = None
                       ) -> dict[str, str]:
    """Write particles.star, poses.h5, optimisation_set.star; name -> path in the folder.

    Parameters
    ----------
    members : references and mask that the set is to name
    rows : (n,) int or None    row of the input that each particle came from, for trajectories
    """
    write_particles(folder.file("particles.star"), particles, inputs.tomograms)
    write_poses(folder.file("poses.h5"), particles, attributes={
        "fingerprint": folder.fingerprint, "version": __version__})
    outputs = {"particles": "particles.star", "poses": "poses.h5",
               "optimisation_set": "optimisation_set.star"}
    result = OptimisationSet(particles=folder.path / "particles.star",
                             tomograms=inputs.paths.tomograms, **members)
    if inputs.motion_A is not None:
        motion_A = inputs.motion_A if rows is None else inputs.motion_A[rows]
        write_motion(folder.file("motion.star"), motion_A, particles, inputs.tomograms)
        result = replace(result, trajectories=folder.path / "motion.star")
        outputs["trajectories"] = "motion.star"
    write_optimisation_set(folder.file("optimisation_set.star"), result)
    return outputs
