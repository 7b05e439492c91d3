"""Comparing a selection with another particle file: by name, and by place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.parameters.select import SelectParameters
from sta_mpi.jobs.select_input import SelectInput
from sta_mpi.pick.poses import pose_distance_deg


@dataclass(frozen=True)
class Comparison:
    """Particles here against those of another file.

    Parameters
    ----------
    only_here : (n,) bool       no particle of the other file within the distance
    n_common : int              particles here that have one
    n_only_there : int          particles there that have none here
    n_same_name : int           names that both files hold
    distance_A, angle_deg : (n_common,)    to the nearest one
    """

    only_here: NDArray[np.bool_]
    n_common: int
    n_only_there: int
    n_same_name: int
    distance_A: NDArray[np.float64]
    angle_deg: NDArray[np.float64]


def compare_with(particles: RelionParticles, given: SelectInput, p: SelectParameters) -> Comparison:
    """Compare with the file of --compare, within --compare-distance-A."""
    assert p.compare is not None
    other = read_particles(p.compare, given.tomograms, renumber_repeats=True,
                           coordinate_pixel_A=p.coordinate_pixel_A)
    here, there, partner = (np.full(len(particles), np.inf), np.full(len(other), np.inf),
                            np.full(len(particles), -1, np.intp))
    for i in np.unique(np.concatenate([particles.i_tomo, other.i_tomo])):
        a, b = np.flatnonzero(particles.i_tomo == i), np.flatnonzero(other.i_tomo == i)
        if len(a) and len(b):
            here[a], nearest = cKDTree(other.position_A[b]).query(particles.position_A[a])
            partner[a] = b[nearest]
            there[b] = cKDTree(particles.position_A[a]).query(other.position_A[b])[0]
    common = here <= p.compare_distance_A
    angle = pose_distance_deg(particles.R_p2t[common], other.R_p2t[partner[common]],
                              symmetry_matrices(p.symmetry))
    return Comparison(
        ~common, int(common.sum()), int((there > p.compare_distance_A).sum()),
        len(set(particles.names.tolist()) & set(other.names.tolist())), here[common], angle)
