"""Template matching: tiles of a volume, and the scan of a tile over rotations by FFT.

Tiles are cubes of one size that overlap by the template, so that no score inside a tile's core
knows of its border. All rotations of a block meet the same tiles: a turned template is read once
for a group of tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.match import keep_best, multiply_band
from sta_mpi.pick.match_template import Template, turned_in_tile
from sta_mpi.signal.fft import FftPlans

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

TILE_SIZES = {48: 1.0, 64: 1.0, 80: 1.15, 96: 1.2, 128: 1.45}
"""Edge -> measured time of one voxel of a scan relative to 64 (transforms out of the cache)."""

NO_SCORE = np.float32(-1e9)


@dataclass(frozen=True)
class Tiling:
    """Tiles of a volume.

    Parameters
    ----------
    shape : (3,) int           volume zyx
    tile_px : int              edge of the cubes
    margin_px : int            voxels at each end of a tile that belong to others
    starts : (n, 3) int        first voxel zyx of each core
    """

    shape: tuple[int, int, int]
    tile_px: int
    margin_px: int
    starts: Ints

    @property
    def core_px(self) -> int:
        """Edge of the core of a tile."""
        return self.tile_px - 2 * self.margin_px

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.starts)

    def tile_of(self, points_zyx: Ints) -> Ints:
        """The tile whose core holds each voxel (m, 3)."""
        counts = [-(-n // self.core_px) for n in self.shape]
        place = np.asarray(points_zyx) // self.core_px
        return np.asarray(np.ravel_multi_index(tuple(place.T), tuple(counts)), np.intp)


def plan_tiles(shape: tuple[int, int, int], margin_px: int, tile_px: int | None = None) -> Tiling:
    """Choose the edge of tiles that takes the least time, and where they lie.

    Examples
    --------
    >>> tiling = plan_tiles((50, 100, 100), 8)
    >>> tiling.tile_px, len(tiling)
    (128, 1)
    """
    def cost(edge: int) -> float:
        core = edge - 2 * margin_px
        n_tiles = float(np.prod([-(-n // core) for n in shape]))
        return n_tiles * edge**3 * TILE_SIZES.get(edge, 1.5)

    if tile_px is None:
        fitting = [edge for edge in TILE_SIZES if edge >= 3 * margin_px]
        tile_px = min(fitting, key=cost) if fitting else 32 * -(-3 * margin_px // 32)
    core = tile_px - 2 * margin_px
    if core < 1:
        raise ValueError(f"tiles of {tile_px} voxels hold no core with margins of {margin_px}")
    first = [np.arange(0, n, core) for n in shape]
    starts = np.stack(np.meshgrid(*first, indexing="ij"), axis=-1).reshape(-1, 3)
    return Tiling(shape, tile_px, margin_px, np.asarray(starts, np.intp))


def cut_tile(volume: Real, tiling: Tiling, i_tile: int) -> Real:
    """The cube (n, n, n) of a tile; 0 beyond the volume."""
    n = tiling.tile_px
    tile = np.zeros((n, n, n), np.float32)
    first = tiling.starts[i_tile] - tiling.margin_px
    low, high = np.maximum(first, 0), np.minimum(first + n, volume.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    tile[target] = volume[source]
    return tile


def weighted_tile_rft(volume: Real, tiling: Tiling, i_tile: int, transfer: Real,
                      plans: FftPlans) -> Complex:
    """Transform of a tile times what its tilts let through, unscaled, origin at index 0.

    Parameters
    ----------
    transfer : (n, n, n//2+1) float32    H of this tile
    """
    n = tiling.tile_px
    box = plans.box((n, n, n))
    box.real[...] = cut_tile(volume, tiling, i_tile)
    box.to_half()
    return np.asarray(box.half * transfer, np.complex64)


@dataclass
class TileScores:
    """Largest and smallest score of every voxel of a core, not yet over the local deviation.

    Parameters
    ----------
    best, worst : (m, m, m) float32
    best_index : (m, m, m) int32      rotation of the largest
    """

    best: Real
    worst: Real
    best_index: NDArray[np.int32]

    @classmethod
    def empty(cls, edge: int) -> "TileScores":
        """No rotation tried yet."""
        return cls(np.full((edge,) * 3, NO_SCORE), np.full((edge,) * 3, -NO_SCORE),
                   np.zeros((edge,) * 3, np.int32))


def scan_tiles(template: Template, tiles_rft: Sequence[Complex], margin_px: int, rotations: Floats,
               norms: Real, first_index: int, plans: FftPlans) -> list[TileScores]:
    """Correlate tiles with all rotations and keep the best of each voxel.

    Parameters
    ----------
    tiles_rft : t arrays (n, n, n//2+1) complex64   from `weighted_tile_rft`
    rotations : (m, 3, 3) float64                   R_p2t
    norms : (t, m) float32                          |T_R| of each tile
    first_index : int                               number of the first rotation
    """
    n = template.tile_px
    box = plans.box((n, n, n))
    scores = [TileScores.empty(n - 2 * margin_px) for _ in tiles_rft]
    turned = np.empty((n, n, n // 2 + 1), np.complex64)
    for i, R in enumerate(rotations):
        turned_in_tile(template, R, turned)
        for tile_rft, norm, kept in zip(tiles_rft, norms, scores, strict=True):
            multiply_band(turned, tile_rft, template.band_px, box.half)
            box.to_real()
            keep_best(box.real, margin_px, 1.0 / (n**3 * float(norm[i])), first_index + i,
                      kept.best, kept.best_index, kept.worst)
    return scores
