"""Global search of a batch of particles: all rotations times all shifts by matrix products.

In a low band the data of a particle are merged into the Fourier voxels of the tomogram
frame, D = sum a X / sigma^2 and W = sum a^2 / sigma^2. Rotating the reference instead of the
data makes one matrix of all rotations serve all particles of all series:

    cross(R, t) = sum_K [Re V_R, Im V_R] [Re D e, Im D e]      e = exp(+2 pi i K.t / n)
    power(R)    = sum_K |V_R|^2 W

Both are dense matrix products in float32, the fastest thing a processor does. The merge
interpolates, so scores are good for choosing candidates, not for the last digits: the best
few go on to a search on the tilt images themselves (`multi_start`).

Products are made in tiles of rotations, each reduced at once to the best shift, so that
cross terms never leave the cache. Where a window limits the poses of each particle
(`rotation_list`), only the blocks of rotations that it meets are multiplied.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.candidates import MARGIN, Candidates, pick_candidates
from sta_mpi.align.rotated_reference import (
    RotatedReference,
    RotatedSource,
    Rows,
    rotate_reference,
)
from sta_mpi.align.rotation_list import PoseWindow, SearchList
from sta_mpi.align.voxel_band import (
    MergedBand,
    VoxelBand,
    make_voxel_band,
    merge_band,
    shift_phases_of_band,
)

__all__ = [
    "Candidates",
    "MergedBand",
    "RotatedReference",
    "VoxelBand",
    "make_voxel_band",
    "merge_band",
    "rotate_reference",
    "search_batch",
    "search_bytes",
    "shift_phases_of_band",
    "work_share",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TILE = 384
"""Rotations multiplied at once: enough for the full rate of the product, and with 32
particles and 33 shifts their cross terms (1.6 MB) stay in the cache."""


def search_batch(merged: Sequence[MergedBand], rotated: RotatedSource,
                 phases: NDArray[np.complex64], n_candidates: int, separation_deg: float,
                 log_prior: Floats | None = None, search_list: SearchList | None = None,
                 window: PoseWindow | None = None, operators: Floats | None = None,
                 tile: int = TILE, margin: float = MARGIN) -> list[Candidates]:
    """Candidates of a batch of particles.

    Parameters
    ----------
    merged : sequence of MergedBand    b particles
    rotated : RotatedReference or TiledReference    g references in R orientations
    phases : (k, S) complex64          from `shift_phases_of_band`
    n_candidates : int                 at most this many a particle and reference
    separation_deg : float             candidates of a reference lie at least this far apart
    log_prior : (b, R) float64 or None   added to the log-likelihood of rotations
    search_list : SearchList or None   whose rotations `rotated` has; needed with a window
    window : PoseWindow or None        orientations allowed to each particle
    operators : (n, 3, 3) or None      symmetry: mates R S are as near as R itself
    tile : int                         rotations multiplied at once; results do not depend on it
    margin : float                     deficit of log-likelihood from which a candidate is left
                                       out; infinity: never (`candidates`)

    Returns
    -------
    list of b Candidates    of all references together, best first

    Notes
    -----
    The grey scale is fitted to each candidate: log L = cross^2 / power for positive cross.
    About 4 k R (S + 1) flops a particle and reference, times the share that the window meets.
    """
    xp = rotated.xp
    if not merged:
        return []
    allowed = None
    if window is not None:
        if search_list is None or len(search_list) != len(rotated.rotations):
            raise ValueError("a window needs the search list that the reference was rotated by")
        if len(window) != len(merged):
            raise ValueError(f"a window for {len(window)} particles, expected {len(merged)}")
        allowed = window.allows(search_list.rotations, search_list.n_fold)
    columns, weights = _columns(merged, phases, xp)
    shape = rotated.n_references, len(merged), len(rotated.rotations)
    loglik = xp.full(shape, -np.inf, np.float32)
    i_shift = xp.zeros(shape, np.int16)
    for start, stop, wanted in _tiles(search_list, allowed, shape[2], max(tile, 1)):
        _score_tile(rotated.tile(start, stop), columns, weights, _runs(wanted, len(merged)),
                    loglik[:, :, start:stop], i_shift[:, :, start:stop], xp)
    if log_prior is not None:
        loglik += xp.asarray(log_prior, np.float32)
    if allowed is not None:
        loglik = xp.where(xp.asarray(np.ascontiguousarray(allowed.T)), loglik, xp.float32(-np.inf))
    return pick_candidates(loglik, i_shift, rotated.rotations, n_candidates, separation_deg,
                           operators, xp, margin)


def work_share(search_list: SearchList, window: PoseWindow) -> float:
    """Part of the products of a whole search that one within a window makes."""
    allowed = window.allows(search_list.rotations, search_list.n_fold)
    done = sum((stop - start) * int(wanted.sum())
               for start, stop, wanted in _tiles(search_list, allowed, len(search_list), TILE)
               if wanted is not None)
    return done / allowed.size


def search_bytes(n_rotations: int, n_voxels: int, n_shifts: int, n_particles: int,
                 n_references: int = 1, is_tiled: bool = False, tile: int = TILE) -> int:
    """Memory that a search takes beside the particles' merged bands.

    Parameters
    ----------
    n_rotations, n_voxels, n_shifts, n_particles, n_references : int    R, k, S, b, g
    is_tiled : bool    rotated references are made in tiles (`TiledReference`)
    tile : int         rotations multiplied at once

    Notes
    -----
    Rotated references 12 g R k (or g t k), columns 24 b S k with those in complex form they
    are made of, cross terms 8 t b S, log-likelihoods and shifts 14 g R b, a window R b, in bytes.
    """
    rows = min(tile, n_rotations) if is_tiled else n_rotations
    return (12 * n_references * rows * n_voxels + 24 * n_particles * n_shifts * n_voxels
            + 8 * min(tile, n_rotations) * n_particles * n_shifts
            + (14 * n_references + 1) * n_rotations * n_particles)


def _columns(merged: Sequence[MergedBand], phases: NDArray[np.complex64], xp: Any
             ) -> tuple[Any, Any]:
    """Shifted data (2 k, b S) float32, real parts first, and weights (k, b) float32."""
    data = xp.asarray(np.stack([m.data for m in merged], axis=1))
    k = len(data)
    moved = (data[:, :, None] * xp.asarray(phases)[:, None, :]).reshape(k, -1)
    columns = xp.empty((2 * k, moved.shape[1]), np.float32)
    columns[:k], columns[k:] = moved.real, moved.imag
    return columns, xp.asarray(np.stack([m.weight for m in merged], axis=1))


def _score_tile(rows: Rows, columns: Any, weights: Any, runs: list[tuple[int, int]],
                loglik: Any, i_shift: Any, xp: Any) -> None:
    """Fill in log-likelihood and best shift (g, b, t) of some runs of particles."""
    n_shifts = columns.shape[1] // weights.shape[1]
    for first, last in runs:
        own, weight = columns[:, first * n_shifts : last * n_shifts], weights[:, first:last]
        for g, (values, power) in enumerate(zip(*rows, strict=True)):
            cross = (values @ own).reshape(len(values), last - first, n_shifts)
            best = cross.argmax(axis=2)
            peak = xp.maximum(xp.take_along_axis(cross, best[:, :, None], axis=2)[:, :, 0], 0.0)
            loglik[g, first:last] = (peak * peak / xp.maximum(power @ weight, 1e-20)).T
            i_shift[g, first:last] = best.T


def _tiles(search_list: SearchList | None, allowed: Flags | None, n_rotations: int, tile: int
           ) -> Iterator[tuple[int, int, Flags | None]]:
    """(start, stop, which particles (b,) or None for all) of the products to make.

    Neighbouring blocks that the same particles want are joined up to `tile` rotations.
    """
    if search_list is None or allowed is None:
        for start in range(0, n_rotations, tile):
            yield start, min(start + tile, n_rotations), None
        return
    edges = search_list.block_start
    wanted = np.logical_or.reduceat(allowed, edges[:-1], axis=0)
    i = 0
    while i < len(wanted):
        j = i + 1
        while (j < len(wanted) and edges[j + 1] - edges[i] <= tile
               and (wanted[j] == wanted[i]).all()):
            j += 1
        if wanted[i].any():
            for start in range(edges[i], edges[j], tile):
                yield start, min(start + tile, int(edges[j])), wanted[i]
        i = j


def _runs(wanted: Flags | None, n: int) -> list[tuple[int, int]]:
    """(first, last) of the runs of neighbours that are wanted."""
    if wanted is None:
        return [(0, n)]
    steps = np.flatnonzero(np.diff(np.r_[False, wanted, False]))
    return [(int(a), int(b)) for a, b in steps.reshape(-1, 2)]
