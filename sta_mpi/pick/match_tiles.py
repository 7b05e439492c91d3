"""Template matching: tiles of a volume, and the scan of tiles over rotations by FFT.

Tiles overlap by the template, so that no score inside a tile's core knows of its border. An axis
that fits in one tile is taken whole: what wraps around it stays at the border of the volume, where
no particle may be. All rotations of a block meet the same tiles, so a turned template is read once
for a group of tiles, and once for two rotations that differ by a half turn about z.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sta_mpi.kernels.match import keep_best, multiply_band
from sta_mpi.pick.match_template import Template
from sta_mpi.signal.fft import FftPlans

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Shape = tuple[int, int, int]

MOST_PARTS = 64
"""Tiles along one axis that the planner thinks of."""

TILE_VOXELS, TILE_COST = (3e5, 4.5e5, 1.5e6, 4e6, 2e7), (1.0, 1.15, 1.4, 2.2, 4.0)
"""Voxels of a tile, and the time of one relative to a tile in the second cache: measured 3.4, 3.9
and 4.7 ns for product, transform and comparison of 0.26, 0.44 and 1.45 million voxels. Larger ones
would be few, and leave cores without work."""

NO_SCORE = np.float32(-1e9)
SAME_TURN = 1e-6


@dataclass(frozen=True)
class Tiling:
    """Tiles of a volume, all of one shape.

    Parameters
    ----------
    shape : (3,) int           volume zyx
    tile : (3,) int            shape of the tiles
    margin : (3,) int          voxels at each end of a tile that belong to others; 0 on an axis that
                               is taken whole
    core : (3,) int            shape of the part of a tile that is its own
    starts : (n, 3) int        first voxel zyx of each core
    """

    shape: Shape
    tile: Shape
    margin: Shape
    core: Shape
    starts: Ints

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.starts)

    def tile_of(self, points_zyx: Ints) -> Ints:
        """The tile whose core holds each voxel (m, 3)."""
        counts = [-(-n // c) for n, c in zip(self.shape, self.core, strict=True)]
        place = np.asarray(points_zyx) // np.array(self.core)
        return np.asarray(np.ravel_multi_index(tuple(place.T), tuple(counts)), np.intp)

    def corner(self, i_tile: int) -> Ints:
        """Voxel zyx of the volume that is the first of a tile."""
        return np.asarray(self.starts[i_tile] - np.array(self.margin), np.intp)


def plan_tiles(shape: Shape, margin_px: int, largest_px: int | None = None,
               is_border_free: bool = True) -> Tiling:
    """Choose how often each axis is divided, for the least time.

    Parameters
    ----------
    margin_px : int           voxels that cores need around them
    largest_px : int or None  longest edge of a tile
    is_border_free : bool     no particles within `margin_px` of the borders, so that an axis may be
                              taken whole without margins

    Examples
    --------
    >>> plan_tiles((60, 128, 128), 8).tile
    (60, 128, 128)
    """
    def axis(n: int) -> list[tuple[int, int, int, int]]:
        """(parts, core, margin, edge) of an axis, in 1 ... MOST_PARTS parts."""
        whole = 0 if is_border_free else margin_px
        options = [(1, n, whole, _good_edge(n + 2 * whole))]
        for parts in range(2, MOST_PARTS + 1):
            core = -(-n // parts)
            options.append((parts, core, margin_px, _good_edge(core + 2 * margin_px)))
        fitting = [o for o in options if largest_px is None or o[3] <= largest_px]
        return fitting or options[-1:]

    options = [axis(n) for n in shape]
    parts, edges = ([np.array([o[i] for o in own], float) for own in options] for i in (0, 3))
    voxels = edges[0][:, None, None] * edges[1][:, None] * edges[2]
    n_tiles = parts[0][:, None, None] * parts[1][:, None] * parts[2]
    relative = np.interp(voxels, TILE_VOXELS, TILE_COST)
    best = np.unravel_index(int(np.argmin(n_tiles * voxels * relative)), voxels.shape)
    z, y, x = (own[int(i)] for own, i in zip(options, best, strict=True))
    core = (z[1], y[1], x[1])
    first = [np.arange(0, n, c) for n, c in zip(shape, core, strict=True)]
    starts = np.stack(np.meshgrid(*first, indexing="ij"), axis=-1).reshape(-1, 3)
    return Tiling(shape, (z[3], y[3], x[3]), (z[2], y[2], x[2]), core, np.asarray(starts, np.intp))


def _good_edge(n: int) -> int:
    """The next even length that FFTW does fast (factors 2, 3, 5, 7)."""
    return 2 * int(scipy.fft.next_fast_len(-(-n // 2), real=True))


def cut_tile(volume: Real, tiling: Tiling, i_tile: int) -> Real:
    """The voxels of a tile; 0 beyond the volume."""
    tile = np.zeros(tiling.tile, np.float32)
    first = tiling.corner(i_tile)
    low, high = np.maximum(first, 0), np.minimum(first + np.array(tiling.tile), volume.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    tile[target] = volume[source]
    return tile


def weighted_tile_rft(volume: Real, tiling: Tiling, i_tile: int, transfer: Real,
                      plans: FftPlans) -> Complex:
    """Transform of a tile times what its tilts let through, unscaled, origin at index 0.

    Parameters
    ----------
    transfer : (nz, ny, nx//2+1) float32    H on the grid of the tile
    """
    box = plans.box(tiling.tile)
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
    def empty(cls, shape: Shape) -> "TileScores":
        """No rotation tried yet."""
        return cls(np.full(shape, NO_SCORE), np.full(shape, -NO_SCORE), np.zeros(shape, np.int32))


def scan_tiles(template: Template, tiles_rft: Sequence[Complex], tiling: Tiling, rotations: Floats,
               norms: Real, first_index: int, plans: FftPlans) -> list[TileScores]:
    """Correlate tiles with all rotations and keep the best of each voxel.

    Parameters
    ----------
    tiles_rft : t arrays (nz, ny, nx//2+1) complex64   from `weighted_tile_rft`
    rotations : (m, 3, 3) float64                      R_p2t
    norms : (t, m) float32                             |T_R| of each tile
    first_index : int                                  number of the first rotation
    """
    box = plans.box(tiling.tile)
    rows = template.rows(tiling.tile)
    n = float(np.prod(tiling.tile))
    scores = [TileScores.empty(tiling.core) for _ in tiles_rft]
    turned = np.zeros(box.half.shape, np.complex64)
    for i, mate in half_turn_pairs(rotations):
        template.turned(rotations[i], tiling.tile, rows, turned)
        for j in (i, mate):
            if j < 0:
                continue
            for tile_rft, norm, kept in zip(tiles_rft, norms, scores, strict=True):
                multiply_band(turned, tile_rft, rows, box.half, j != i)
                box.to_real()
                keep_best(box.real, tiling.margin, 1.0 / (n * float(norm[j])), first_index + j,
                          kept.best, kept.best_index, kept.worst)
    return scores


def half_turn_pairs(rotations: Floats) -> Iterator[tuple[int, int]]:
    """Each rotation once: (i, j) where R_j is R_i turned by 180 degrees about z, or (i, -1).

    Examples
    --------
    >>> list(half_turn_pairs(np.stack([np.eye(3), np.diag([-1.0, -1.0, 1.0])])))
    [(0, 1)]
    """
    keys = np.rint(np.asarray(rotations).reshape(-1, 9) / SAME_TURN).astype(np.int64)
    place = {key.tobytes(): i for i, key in enumerate(keys)}
    mates = keys * np.array([-1, -1, -1, -1, -1, -1, 1, 1, 1])
    done = np.zeros(len(keys), bool)
    for i, key in enumerate(mates):
        if done[i]:
            continue
        j = place.get(key.tobytes(), -1)
        if j == i or (j >= 0 and done[j]):
            j = -1
        done[[i, max(i, j)]] = True
        yield i, j
