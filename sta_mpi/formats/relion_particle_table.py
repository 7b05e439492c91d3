"""What reading and writing of particle sets share: labels, the table class, names, rotations."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.formats.star_table import StarTable
from sta_mpi.geometry.euler import matrix_from_relion_angles

AnyParticles = TypeVar("AnyParticles", bound=Particles)

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
BOX_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
STACKS = "rlnTomoSubTomosAre2DStacks"


@dataclass
class RelionParticles(Particles):
    """Particles that remember the other tables of the file they came from.

    Parameters
    ----------
    optics : StarTable or None       the optics groups, unknown columns included
    other_tables : tuple             further tables of the file, `general` included
    image_folder : str               folder that was put before image names; "" for none
    """

    optics: StarTable | None = None
    other_tables: tuple[StarTable, ...] = ()
    image_folder: str = ""


def renumber(particles: AnyParticles) -> AnyParticles:
    """The same particles named `<tomogram>/<n>`, n from 1 in the order of the rows."""
    return replace(particles, names=new_names(particles.tomo_names, particles.i_tomo))


def find_repeats(names: NDArray[Any]) -> list[str]:
    """Names that occur more than once."""
    listed = names.tolist()
    if len(set(listed)) == len(listed):
        return []
    return [name for name, count in Counter(listed).items() if count > 1]


def describe_repeats(repeated: list[str]) -> str:
    """One sentence about repeated names."""
    shown = ", ".join(repeated[:5]) + (", ..." if len(repeated) > 5 else "")
    return (f"{len(repeated)} particle names occur more than once ({shown}); RELION would "
            "overwrite their files.")


def box_rotations(table: StarTable) -> NDArray[np.float64]:
    """(n, 3, 3) A_sub; identity where the columns are absent."""
    return _rotations(table, BOX_ANGLES)


def part_rotations(table: StarTable) -> NDArray[np.float64]:
    """(n, 3, 3) A_part; identity where the columns are absent."""
    return _rotations(table, ANGLES)


def _rotations(table: StarTable, labels: tuple[str, ...]) -> NDArray[np.float64]:
    if not any(label in table for label in labels):
        return np.tile(np.eye(3), (len(table), 1, 1))
    table.require(*labels)
    angles = np.stack([table.finite(label, 0.0) for label in labels], axis=1)
    return matrix_from_relion_angles(angles)


def new_names(tomo_names: list[str], i_tomo: NDArray[np.int32]) -> NDArray[Any]:
    """(n,) object names `<tomogram>/<n>`, n from 1 in the order of the rows."""
    names = np.empty(len(i_tomo), object)
    for i, tomo in enumerate(tomo_names):
        rows = np.flatnonzero(i_tomo == i)
        names[rows] = [f"{tomo}/{n + 1}" for n in range(len(rows))]
    return names


def tomogram_indices(text: NDArray[Any], names: list[str]) -> NDArray[np.int32]:
    """Index of each name of a text column in `names`; -1 where it is not there."""
    index = {name.encode("utf-8", "surrogateescape"): i for i, name in enumerate(names)}
    return np.array([index.get(v, -1) for v in text.tolist()], np.int32)
