"""References in all orientations of a list: the left side of the products of a global search.

Rows are kept when they fit in memory (`RotatedReference`), or made anew in tiles for every
batch of particles (`TiledReference`); the numbers are the same. Several references (classes,
decoys, a mirrored map) stand side by side, and one product serves them all.

Arrays that enter products live where `xp` puts them: numpy, or cupy for a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.reference import Reference
from sta_mpi.align.voxel_band import VoxelBand
from sta_mpi.errors import InputError
from sta_mpi.kernels.gather import gather_box

Floats = NDArray[np.float64]
Rows = tuple[Any, Any]
"""(values (g, t, 2 k), power (g, t, k)) of g references in t orientations, arrays of `xp`."""


class RotatedSource(Protocol):
    """Rows of references in orientations, from memory or made when asked for."""

    @property
    def rotations(self) -> Floats:
        """(R, 3, 3) R_p2t of the rows."""

    @property
    def n_references(self) -> int:
        """Number of references."""

    @property
    def xp(self) -> ModuleType:
        """Numpy or cupy."""

    def tile(self, start: int, stop: int) -> Rows:
        """Rows of the rotations start to stop."""


@dataclass(frozen=True)
class RotatedReference:
    """One or several references in all orientations of a list, on the voxels of a band.

    Parameters
    ----------
    rotations : (R, 3, 3) float64       R_p2t of the candidates
    values : (g, R, 2 k) float32        real parts, then imaginary parts, of g references
    power : (g, R, k) float32           |V|^2
    xp : module                         numpy or cupy: where values and power live
    """

    rotations: Floats
    values: Any
    power: Any
    xp: ModuleType = np

    @property
    def n_references(self) -> int:
        """Number of references."""
        return len(self.values)

    def tile(self, start: int, stop: int) -> Rows:
        """Rows of the rotations start to stop, without a copy."""
        return self.values[:, start:stop], self.power[:, start:stop]

    def subset(self, rows: NDArray[np.intp]) -> "RotatedReference":
        """Some of the orientations; a copy."""
        chosen = self.xp.asarray(rows)
        return RotatedReference(self.rotations[rows], self.values[:, chosen],
                                self.power[:, chosen], self.xp)


@dataclass(frozen=True)
class TiledReference:
    """The same, made tile by tile: for lists that would not fit in memory.

    Parameters
    ----------
    references : sequence of Reference
    band : VoxelBand
    rotations : (R, 3, 3) float64
    xp : module                           numpy or cupy

    Notes
    -----
    About 20 us a rotation, reference and batch of particles at r = 7: batches of 64
    particles or more spend less than half of their time on it.
    """

    references: Sequence[Reference]
    band: VoxelBand
    rotations: Floats
    xp: ModuleType = np

    @property
    def n_references(self) -> int:
        """Number of references."""
        return len(self.references)

    def tile(self, start: int, stop: int) -> Rows:
        """Rows of the rotations start to stop."""
        return _gather_rows(self.references, self.band, self.rotations[start:stop], self.xp)


def rotate_reference(reference: Reference | Sequence[Reference], band: VoxelBand,
                     rotations: Floats, xp: ModuleType = np) -> RotatedReference:
    """Gather one or several references in all orientations of a list.

    About 20 us a rotation at r = 7; memory as `rotated_bytes` says.
    """
    references = [reference] if isinstance(reference, Reference) else list(reference)
    if not references:
        raise InputError("no reference is given to the global search: give at least one.")
    values, power = _gather_rows(references, band, rotations, xp)
    return RotatedReference(rotations, values, power, xp)


def rotated_bytes(n_rotations: int, n_voxels: int, n_references: int = 1) -> int:
    """Memory that a `RotatedReference` takes: 12 bytes a voxel, rotation and reference."""
    return 12 * n_rotations * n_voxels * n_references


def rotate_within(reference: Reference | Sequence[Reference], band: VoxelBand, rotations: Floats,
                  max_bytes: float, xp: ModuleType = np) -> RotatedSource:
    """All orientations in memory where they take at most `max_bytes`, else in tiles."""
    references = [reference] if isinstance(reference, Reference) else list(reference)
    if rotated_bytes(len(rotations), len(band.index), len(references)) <= max_bytes:
        return rotate_reference(references, band, rotations, xp)
    return TiledReference(references, band, rotations, xp)


def _gather_rows(references: Sequence[Reference], band: VoxelBand, rotations: Floats,
                 xp: ModuleType) -> Rows:
    k = len(band.index)
    values = np.empty((len(references), len(rotations), 2 * k), np.float32)
    power = np.empty((len(references), len(rotations), k), np.float32)
    for g, reference in enumerate(references):
        for row, square, R in zip(values[g], power[g], rotations, strict=True):
            # tomogram frequency K is read at R^T K of the particle's own transform
            turned = gather_box(reference.volume, np.ascontiguousarray(R.T), band.grid_px,
                                band.r_max)
            picked = turned.reshape(-1)[band.index]
            row[:k], row[k:] = picked.real, picked.imag
            square[:] = picked.real**2 + picked.imag**2
    return xp.asarray(values), xp.asarray(power)
