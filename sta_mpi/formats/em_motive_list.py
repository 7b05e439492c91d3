"""Motive lists of TOM, AV3 and novaSTA: 20 numbers a particle in an EM file.

Columns, from 1: 1 score, 4 particle number, 5 tomogram, 6 object, 8-10 position, 11-13 shift after
the rotation (in tomogram axes), 17 phi, 18 psi, 19 theta, 20 class. Positions count voxels from 1
(`first_voxel`). Rz(psi) Rx(theta) Rz(phi) takes the reference into the tomogram, so phi, theta,
psi are PEET's z1, x2, z3. Columns 14 to 16 hold shifts before the rotation in some programs and
anything in others: they are reported and not used.
"""

import os

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError
from sta_mpi.formats.em_files import EmFile, read_em, write_em
from sta_mpi.formats.foreign_particles import ForeignParticles, describe_lost, names_and_indices
from sta_mpi.geometry.peet import peet_euler_from_rotation, rotation_from_peet_euler

N_COLUMNS = 20
_SCORE, _NUMBER, _TOMO, _OBJECT, _CLASS = 0, 3, 4, 5, 19
_XYZ, _SHIFTS = slice(7, 10), slice(10, 13)
_ANGLES = [16, 18, 17]
"""Columns of phi, theta, psi."""
_OTHERS = {1: "marker", 2: "column 3", 5: "object", 6: "column 7", 13: "shift before rotation x",
           14: "shift before rotation y", 15: "shift before rotation z"}


def read_em_motive_list(path: str | os.PathLike[str]) -> EmFile:
    """Read a motive list; `data` is (1, n, 20). FormatError for other EM files."""
    em = read_em(path)
    if em.data.shape[2] != N_COLUMNS or em.data.shape[0] != 1:
        shape = " x ".join(map(str, em.data.shape[::-1]))
        raise FormatError(f"{os.fspath(path)}: {shape} numbers, "
                          f"expected {N_COLUMNS} columns: not a motive list. Check the name.")
    poses = em.data[0][:, [*range(7, 13), *_ANGLES, _TOMO]]
    bad = np.flatnonzero(~np.isfinite(poses).all(axis=1))
    if len(bad):
        raise FormatError(f"{os.fspath(path)}, row {bad[0] + 1}: a position, shift, angle or "
                          "tomogram that is not finite. Repair or remove it.")
    return em


def particles_of_em(em: EmFile, first_voxel: int = 1) -> ForeignParticles:
    """Particles of a motive list; tomograms are called by their numbers."""
    table = em.data[0].astype(np.float64)
    names, i_tomo = names_and_indices([f"{v:g}" for v in table[:, _TOMO]])
    lost = [line for column, name in _OTHERS.items()
            for line in describe_lost(f"motive list's {name}", table[:, column])]
    return ForeignParticles(
        names, i_tomo, table[:, _XYZ] - first_voxel, table[:, _SHIFTS].copy(),
        rotation_from_peet_euler(table[:, _ANGLES]), table[:, _SCORE].copy(),
        np.rint(np.nan_to_num(table[:, _CLASS])).astype(np.int64), np.zeros(len(table), np.int8),
        np.full(len(table), np.nan), lost=lost)


def em_of_particles(particles: ForeignParticles, numbers: list[int], first_voxel: int = 1
                    ) -> tuple[NDArray[np.float64], list[str]]:
    """Numbers (1, n, 20) of a motive list, and what it cannot hold."""
    n = len(particles)
    table = np.zeros((n, N_COLUMNS))
    table[:, _SCORE] = np.nan_to_num(particles.score)
    table[:, _NUMBER] = np.arange(1, n + 1)
    table[:, _TOMO] = np.array(numbers)[particles.i_tomo] if n else 0
    table[:, _XYZ] = particles.index_px + first_voxel
    table[:, _SHIFTS] = particles.offset_px
    table[:, _ANGLES] = peet_euler_from_rotation(particles.R_p2t)
    table[:, _CLASS] = particles.class_number
    return table[None], describe_lost("half-sets", particles.half.astype(np.float64))


def write_em_motive_list(path: str | os.PathLike[str], table: NDArray[np.float64],
                         header: bytes = b"") -> None:
    """Write a motive list (1, n, 20) in the precision it has."""
    write_em(path, table, header)
