"""Template matching: all orientations at few voxels, by matrix products.

A scan over coarse orientations tells where a particle may be. There the whole list of
orientations is tried, as the product of patches (voxels x K densities) and turned templates
(rotations x K), which needs no transforms: for a share c of the voxels it costs c times a scan of
the fine list, less what a matrix product is faster than a transform. The voxel is moved to the
best of its 27 neighbours and the list tried again there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

TOP = 64
"""Best orientations of a voxel that are tried at its neighbours."""

MOST_MOVES = 4

NEIGHBOURS = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
CENTRE = 13
"""Place of no shift among the neighbours."""


@dataclass(frozen=True)
class TurnedTemplates:
    """The whole list of orientations in real space.

    Parameters
    ----------
    vectors : (m, K) float32    from `match_template.turned_vectors`
    offsets : (K, 3) int        voxels zyx of a vector, from the centre
    """

    vectors: Real
    offsets: Ints


@dataclass(frozen=True)
class Found:
    """The best orientation of m points.

    Parameters
    ----------
    score : (m,) float32         not yet over the local deviation
    rotation : (m,) int32
    voxel : (m, 3) intp          zyx, in the tile
    subvoxel : (m, 3) float64    from the voxel to the top of a parabola, within half a voxel
    """

    score: Real
    rotation: NDArray[np.int32]
    voxel: Ints
    subvoxel: Floats


class Field:
    """A filtered tile from which patches are cut; 0 beyond it.

    Parameters
    ----------
    tile : (nz, ny, nx) float32   weighted by its transfer
    offsets : (K, 3) int          voxels zyx of a patch, from its centre
    """

    def __init__(self, tile: Real, offsets: Ints) -> None:
        # a point may move out of its tile by as many voxels as it makes steps
        self._reach = int(np.abs(offsets).max()) + MOST_MOVES + 1
        padded = np.pad(tile, self._reach)
        self._strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
        self._flat, self._around = padded.reshape(-1), offsets @ self._strides

    def patches(self, points: Ints) -> Real:
        """Densities (m, K) about voxels (m, 3)."""
        places = (points + self._reach) @ self._strides
        return np.asarray(self._flat[places[:, None] + self._around])


def score_points(field: Field, points: Ints, templates: TurnedTemplates, norms: Real,
                 allowed: NDArray[np.bool_] | None = None) -> Real:
    """Scores (m, rotations) of voxels; -inf where an orientation is not allowed.

    Parameters
    ----------
    field : Field                  of the tile
    norms : (rotations,) float32   |T_R| of this tile
    allowed : (m, rotations) bool or None
    """
    scores = field.patches(points) @ templates.vectors.T
    scores /= norms
    if allowed is not None:
        scores[~allowed] = -np.inf
    return np.asarray(scores)


def refine_points(field: Field, points: Ints, templates: TurnedTemplates, norms: Real,
                  allowed: NDArray[np.bool_] | None = None) -> Found:
    """The best orientation at or within a few voxels of each point.

    Parameters are those of `score_points`. Where orientations are limited, points stay where they
    are: their neighbours are points of their own.
    """
    voxel = np.array(points, np.intp)
    best = np.full(len(points), -np.inf, np.float32)
    rotation = np.zeros(len(points), np.int32)
    active = np.arange(len(points))
    for _ in range(MOST_MOVES if allowed is None else 1):
        scores = score_points(field, voxel[active], templates, norms, allowed)
        here = np.argmax(scores, axis=1)
        rotation[active], best[active] = here, scores[np.arange(len(active)), here]
        if allowed is not None:
            break
        top = np.sort(np.argpartition(-scores, min(TOP, scores.shape[1]) - 1, axis=1)[:, :TOP])
        moved = []
        for row, i in enumerate(active):
            around = _around(field, voxel[i], templates, norms, top[row])
            place, j = np.unravel_index(int(np.argmax(around)), around.shape)
            if place != CENTRE and around[place, j] > best[i]:
                best[i], rotation[i] = around[place, j], top[row, j]
                voxel[i] += NEIGHBOURS[place]
                moved.append(i)
        active = np.array(moved, np.intp)
        if len(active) == 0:
            break
    peak = np.array([_around(field, v, templates, norms, np.array([r]))[:, 0]
                     for v, r in zip(voxel, rotation, strict=True)]).reshape(-1, 27)
    return Found(best, rotation, voxel, _parabola(peak))


def _around(field: Field, voxel: Ints, templates: TurnedTemplates, norms: Real, rows: Ints) -> Real:
    """Scores (27, rows) of a voxel and its neighbours."""
    near = field.patches(voxel + NEIGHBOURS)
    return np.asarray(near @ templates.vectors[rows].T / norms[rows])


def _parabola(around: Real) -> Floats:
    """Top of a parabola along each axis (m, 3) from scores of 27 neighbours (m, 27)."""
    cube = around.reshape(-1, 3, 3, 3).astype(np.float64)
    lines = np.stack([cube[:, :, 1, 1], cube[:, 1, :, 1], cube[:, 1, 1, :]], axis=1)
    low, mid, high = lines[..., 0], lines[..., 1], lines[..., 2]
    curve = low - 2 * mid + high
    shift = np.divide(0.5 * (low - high), curve, out=np.zeros_like(curve), where=curve < 0)
    return np.clip(shift, -0.5, 0.5)
