"""Particles as other programs count them: voxels of a volume, matrices, a score and a class.

What the tables of PEET, Dynamo, STOPGAP, TOM/AV3 and RELION 3 have in common. A reader fills this
and lists what it had to leave out; a writer takes from it what its format can hold.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VolumeGrid:
    """Voxels that coordinates count: size x, y, z and voxel edge; None where not known."""

    size_px: tuple[int, int, int] | None = None
    pixel_A: float | None = None
    path: str = ""


@dataclass
class ForeignParticles:
    """n particles.

    Parameters
    ----------
    tomo_names : list of str      names of tomograms, or their numbers as text
    i_tomo : (n,) int32
    index_px : (n, 3) float64     picked point: array index xyz, 0 at the centre of the first voxel
    offset_px : (n, 3) float64    refined correction, tomogram axes
    R_p2t : (n, 3, 3) float64     reference to tomogram axes, the reference's axis along z
    score : (n,) float64          NaN where there is none
    class_number : (n,) int64
    half : (n,) int8              1, 2; 0 where not assigned
    pixel_A : (n,) float64        voxel edge as the table says it; NaN where it does not
    grids : dict                  tomogram name -> VolumeGrid, as far as files tell
    lost : list of str            what the table holds and this does not
    """

    tomo_names: list[str]
    i_tomo: NDArray[np.int32]
    index_px: Floats
    offset_px: Floats
    R_p2t: Floats
    score: Floats
    class_number: NDArray[np.int64]
    half: NDArray[np.int8]
    pixel_A: Floats
    grids: dict[str, VolumeGrid] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.i_tomo)

    def select(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "ForeignParticles":
        """The particles `rows` (indices or mask), in that order."""
        changed: dict[str, Any] = {
            item.name: getattr(self, item.name)[rows] for item in fields(self)
            if isinstance(getattr(self, item.name), np.ndarray)}
        return replace(self, **changed)


def names_and_indices(labels: list[str]) -> tuple[list[str], NDArray[np.int32]]:
    """Unique names in the order of their first row, and the index of each row's name."""
    names = list(dict.fromkeys(labels))
    index = {name: i for i, name in enumerate(names)}
    return names, np.array([index[label] for label in labels], np.int32)


def describe_lost(name: str, values: NDArray[np.float64], default: float = 0.0) -> list[str]:
    """One line where a column that has no counterpart holds more than its default."""
    finite = values[np.isfinite(values)]
    n = int((finite != default).sum())
    if not n:
        return []
    return [f"{name}: {n} of {len(values)} values differ from {default:g} "
            f"({finite.min():g} to {finite.max():g})"]
