"""Trajectories of particles (motion.star): one table a particle, one row a tilt.

Displacements are in Å along the tomogram axes, relative to the tilt of lowest dose, in the order of
the tilt table. As text this is slow beyond about 10^5 particles; poses_h5 keeps the same numbers.
"""

import os

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import InputError
from sta_mpi.formats.relion_particle_table import ORIGINS
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable, make_list

_COUNT = "rlnParticleNumber"


def read_motion(path: str | os.PathLike[str], particles: Particles, tomograms: TomogramSet,
                ) -> NDArray[np.float64]:
    """Trajectories of `particles`, found by name.

    Returns
    -------
    (n, max_tilts, 3) float64      Å; NaN beyond the last tilt of a particle's series

    Raises
    ------
    InputError      a particle without a table, a table with another number of rows than its
                    tomogram has tilts, a wrong rlnParticleNumber
    """
    star = read_star(path)
    tables = {table.name: table for table in star if table.name != "general"}
    if "general" in star and _COUNT in star["general"]:
        expected = int(star["general"].integers(_COUNT)[0])
        if expected != len(tables):
            raise InputError(f"{star.source}: {_COUNT} is {expected}, the file has {len(tables)} "
                             "trajectories. The file is incomplete; repeat the job that wrote it.")
    n_tilts = _tilt_counts(particles, tomograms)
    out = np.full((len(particles), int(n_tilts.max(initial=0)), 3), np.nan)
    for i, name in enumerate(particles.names):
        if name not in tables:
            raise InputError(f"{star.source}: no trajectory of particle {name} ({len(tables)} "
                             "others). Use the trajectories of these particles.")
        table = tables[name]
        tomogram = particles.tomo_names[particles.i_tomo[i]]
        if len(table) != n_tilts[i]:
            raise InputError(f"{star.source}: the trajectory of particle {name} has {len(table)} "
                             f"rows, tomogram {tomogram} has {n_tilts[i]} tilts. Use the "
                             "trajectories and tomograms of one job.")
        out[i, :n_tilts[i]] = np.stack([table.finite(label) for label in ORIGINS], axis=1)
    return out


def write_motion(path: str | os.PathLike[str], trajectories_A: NDArray[np.float64],
                 particles: Particles, tomograms: TomogramSet) -> None:
    """Write trajectories (n, max_tilts, 3) Å of `particles`.

    Raises
    ------
    InputError     NaN within the tilts of a particle, named
    ValueError     an array of another shape
    """
    n_tilts = _tilt_counts(particles, tomograms)
    if trajectories_A.shape[0] != len(particles) or trajectories_A.shape[2:] != (3,) or \
            trajectories_A.shape[1] < n_tilts.max(initial=0):
        raise ValueError(f"trajectories of shape {trajectories_A.shape} for {len(particles)} "
                         f"particles of up to {n_tilts.max(initial=0)} tilts")
    tables = [make_list("general", {_COUNT: len(particles)})]
    for name, n, rows in zip(particles.names, n_tilts, trajectories_A, strict=True):
        if not np.isfinite(rows[:n]).all():
            raise InputError(f"{os.fspath(path)}: the trajectory of particle {name} holds NaN or "
                             "Inf. Repeat the polishing of this particle.")
        tables.append(StarTable(str(name), dict(zip(ORIGINS, rows[:n].T, strict=True))))
    write_star(path, tables)


def _tilt_counts(particles: Particles, tomograms: TomogramSet) -> NDArray[np.int64]:
    counts = np.zeros(len(particles.tomo_names), np.int64)
    for i in np.unique(particles.i_tomo).tolist():
        counts[i] = len(tomograms.tilt_table(particles.tomo_names[i]))
    return counts[particles.i_tomo]
