"""STOPGAP's motive lists: a STAR table `stopgap_motivelist`.

Positions count voxels from 1, as MATLAB does (`first_voxel`); the particle is at orig + shift.
Rz(psi) Rx(the) Rz(phi) takes the reference into the tomogram. Half-sets are A and B.
"""

import os

import numpy as np

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.foreign_particles import ForeignParticles, describe_lost, names_and_indices
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.geometry.peet import peet_euler_from_rotation, rotation_from_peet_euler

TABLE = "stopgap_motivelist"
_XYZ = ("orig_x", "orig_y", "orig_z")
_SHIFTS = ("x_shift", "y_shift", "z_shift")
_ANGLES = ("phi", "the", "psi")
_HALVES = {"A": 1, "B": 2}


def read_stopgap(path: str | os.PathLike[str]) -> StarTable:
    """The table of a motive list; FormatError where there is none."""
    star = read_star(path)
    if TABLE not in star:
        raise FormatError(f"{os.fspath(path)}: no table {TABLE}: not a motive list of STOPGAP. "
                          "Check the name.")
    table = star[TABLE]
    table.require("tomo_num", *_XYZ, *_SHIFTS, *_ANGLES)
    return table


def write_stopgap(path: str | os.PathLike[str], table: StarTable) -> None:
    """Write the table of a motive list."""
    write_star(path, [table])


def particles_of_stopgap(table: StarTable, first_voxel: int = 1) -> ForeignParticles:
    """Particles of a motive list; tomograms are called by their numbers."""
    def columns(labels: tuple[str, ...]) -> np.ndarray:
        return np.stack([table.finite(label) for label in labels], axis=1)
    names, i_tomo = names_and_indices([f"{v:g}" for v in table.finite("tomo_num")])
    n = len(table)
    halves = [str(v).strip().upper() for v in table.strings("halfset", "")]
    half = np.array([_HALVES.get(h, 0) for h in halves], np.int8)
    lost = describe_lost("STOPGAP's object", table.floats("object", 1.0), 1.0)
    strange = sorted({h for h in halves if h and h not in _HALVES})
    if strange:
        lost.append(f"STOPGAP's halfset {', '.join(strange[:5])}: neither A nor B")
    others = [label for label in table.labels if label not in {
        "motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "score", "class",
        *_XYZ, *_SHIFTS, *_ANGLES}]
    lost += [f"STOPGAP's column {label}" for label in others]
    score = table.floats("score") if "score" in table else np.full(n, np.nan)
    return ForeignParticles(
        names, i_tomo, columns(_XYZ) - first_voxel, columns(_SHIFTS),
        rotation_from_peet_euler(columns(_ANGLES)), score,
        table.integers("class", 0), half, np.full(n, np.nan), lost=lost)


def stopgap_of_particles(particles: ForeignParticles, numbers: list[int], first_voxel: int = 1
                         ) -> tuple[StarTable, list[str]]:
    """The table of a motive list, and what it cannot hold."""
    n = len(particles)
    if n == 0:
        raise InputError("no particles: STOPGAP has no empty motive lists. Check the input.")
    index = np.arange(1, n + 1)
    position = particles.index_px + first_voxel
    angles = peet_euler_from_rotation(particles.R_p2t)
    half = np.array(["A", "A", "B"], object)[particles.half]
    columns = {
        "motl_idx": index, "tomo_num": np.array(numbers)[particles.i_tomo],
        "object": np.ones(n, int), "subtomo_num": index, "halfset": text_column(half),
        **{label: position[:, i] for i, label in enumerate(_XYZ)},
        "score": np.nan_to_num(particles.score),
        **{label: particles.offset_px[:, i] for i, label in enumerate(_SHIFTS)},
        "phi": angles[:, 0], "psi": angles[:, 2], "the": angles[:, 1],
        "class": particles.class_number}
    without = int((particles.half == 0).sum())
    lost = [f"{without} particles without a half-set become half-set A"] if without else []
    return StarTable(TABLE, columns), lost
