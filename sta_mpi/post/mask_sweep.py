"""How the resolution depends on the mask: one pair of half maps, the mask grown and shrunk.

A resolution that changes by more than one Fourier shell when the mask moves by a few voxels is
a property of the mask as much as of the map. Phases are randomised once; each mask costs four
transforms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.post.mask_shapes import body, grown, surface_distance
from sta_mpi.signal.fsc import (
    fsc_masked,
    phase_randomise,
    resolution_A,
    resolution_shell,
    true_fsc,
)

Map = NDArray[np.float32]
Floats = NDArray[np.float64]

GROWTHS_PX = (-4.0, -2.0, 0.0, 2.0, 4.0, 8.0, 12.0)
LARGEST_SHARE = 0.9
"""Masks that fill more of the box than this are left out."""


@dataclass(frozen=True)
class SweepPoint:
    """One mask of a sweep.

    Parameters
    ----------
    grown_px : float            against the given mask
    box_share : float           mean of the mask
    corrected : (n//2+1,) float64
    shell : float               last one before the curve falls below 0.143
    resolution_A : float
    """

    grown_px: float
    box_share: float
    corrected: Floats
    shell: float
    resolution_A: float


def mask_sweep(map1: Map, map2: Map, mask: Map, voxel_A: float, rng: np.random.Generator, *,
               from_shell: int | None, edge_px: float = 5.0,
               growths_px: Sequence[float] = GROWTHS_PX, threshold: float = 0.143
               ) -> list[SweepPoint]:
    """Corrected FSC under masks of different tightness.

    Parameters
    ----------
    map1, map2, mask : (n, n, n) float32
    voxel_A : float
    rng : numpy Generator          of the random phases
    from_shell : int or None       first randomised shell, as of `corrected_fsc`; None: no
                                   correction
    edge_px : float                soft edge of the swept masks
    growths_px : floats            how far the surface is moved; 0 is the given mask with that edge

    Returns
    -------
    list of SweepPoint, by growth; masks that vanish or fill the box are left out
    """
    n = map1.shape[0]
    random = None
    if from_shell is not None:
        random = [phase_randomise(map_, from_shell, rng) for map_ in (map1, map2)]
    points = []
    for grown_px, other in _masks(mask, sorted(growths_px), edge_px):
        curve = fsc_masked(map1, map2, other)
        if random is not None and from_shell is not None:
            curve = true_fsc(curve, fsc_masked(random[0], random[1], other), from_shell)
        points.append(SweepPoint(
            grown_px, float(other.mean(dtype=np.float64)), curve,
            resolution_shell(curve, threshold), resolution_A(curve, voxel_A, n, threshold)))
    return points


def depends_on_mask(points: Sequence[SweepPoint], within_px: float = 4.0) -> bool:
    """Whether masks within `within_px` of the given one differ by more than one shell."""
    shells = [point.shell for point in points if abs(point.grown_px) <= within_px]
    return bool(shells) and max(shells) - min(shells) > 1.0


def _masks(mask: Map, growths_px: Sequence[float], edge_px: float) -> Iterator[tuple[float, Map]]:
    last = 0.0
    distance_px = surface_distance(mask)
    for grown_px in growths_px:
        other = grown(distance_px, grown_px, edge_px)
        share = float(other.mean(dtype=np.float64))
        if body(other).any() and last < share <= LARGEST_SHARE:
            last = share
            yield grown_px, other
