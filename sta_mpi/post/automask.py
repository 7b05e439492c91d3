"""Masks from a map: the threshold found from the map itself, specks removed, soft edge.

The automatic threshold takes the background of a low-passed map as its most frequent value b
with a spread sigma from the half of the values below b (noise is symmetric, protein is
bright). What stands out by more than three sigma is specimen, of typical density m, and the
threshold is where its surface lies in a map blurred by the low-pass,

    t = max(b + 3 sigma, b + 0.35 (m - b)).

With a known mass the threshold is instead the one that encloses its volume.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sta_mpi.errors import InputError
from sta_mpi.post.particle_fsc import PROTEIN_DA_PER_A3
from sta_mpi.signal.masks import extend, soft_edge

Map = NDArray[np.float32]
Shape = NDArray[np.bool_]

NOISE_SIGMAS = 3.0
SURFACE_LEVEL = 0.35
"""Level of the surface between background and typical density. A flat edge in a low-passed map
lies at 0.5; thin parts are fainter than the bulk, so the level is set lower."""


@dataclass(frozen=True)
class MaskSettings:
    """How a map is turned into a mask.

    Parameters
    ----------
    threshold : float or None        in the units of the low-passed map; None: automatic
    molecular_weight_kDa : float or None   threshold that encloses this mass
    min_island_share : float         islands smaller than this share of the largest are removed
    extend_px, edge_px : float       growth of the shape, and the soft edge beyond it
    """

    threshold: float | None = None
    molecular_weight_kDa: float | None = None
    min_island_share: float = 0.05
    extend_px: float = 3.0
    edge_px: float = 5.0


@dataclass(frozen=True)
class MapMask:
    """A mask made from a map.

    Parameters
    ----------
    mask : (n, n, n) float32
    shape : (n, n, n) bool     thresholded, without specks, before it was extended
    threshold : float
    n_islands, n_removed : int   islands kept, and specks that were removed
    """

    mask: Map
    shape: Shape
    threshold: float
    n_islands: int
    n_removed: int


def mask_of_map(map_: Map, voxel_A: float, settings: MaskSettings) -> MapMask:
    """Make a mask around the density of a low-passed map.

    Parameters
    ----------
    map_ : (nz, ny, nx) float32   low-passed before, protein bright
    voxel_A : float
    settings : MaskSettings

    Raises
    ------
    InputError
        When no or every voxel reaches the threshold.
    """
    if settings.threshold is not None:
        threshold = settings.threshold
    elif settings.molecular_weight_kDa is not None:
        threshold = threshold_of_mass(map_, voxel_A, settings.molecular_weight_kDa)
    else:
        threshold = automatic_threshold(map_)
    shape = np.asarray(map_ >= threshold)
    if not shape.any() or shape.all():
        raise InputError(
            f"{'no' if not shape.any() else 'every'} voxel reaches the threshold {threshold:.4g}: "
            f"the low-passed map runs from {float(map_.min()):.4g} to {float(map_.max()):.4g}. "
            "Give a threshold in between (--threshold).")
    shape, kept, removed = remove_specks(shape, settings.min_island_share)
    mask = soft_edge(extend(shape, settings.extend_px), settings.edge_px)
    return MapMask(mask, shape, float(threshold), kept, removed)


def automatic_threshold(map_: Map) -> float:
    """Threshold of a low-passed map by the rule at the top of this module.

    Raises
    ------
    InputError
        When nothing stands out of the background.
    """
    values = np.sort(np.asarray(map_, np.float64).ravel())
    if values[0] == values[-1]:
        raise InputError(f"the map is flat ({values[0]:.4g} everywhere), so no threshold parts "
                         "particle and background. Give another map.")
    background = _half_sample_mode(values)
    below = values[: np.searchsorted(values, background)]
    sigma = float(np.sqrt(np.mean((below - background) ** 2))) if below.size else 0.0
    noise = background + NOISE_SIGMAS * sigma
    specimen = values[np.searchsorted(values, noise, side="right"):]
    if not specimen.size:
        raise InputError(
            f"no voxel of the low-passed map exceeds its background by {NOISE_SIGMAS:g} standard "
            "deviations. Low-pass it further (--lowpass-A), or give a threshold (--threshold).")
    typical = float(np.median(specimen))
    return max(noise, background + SURFACE_LEVEL * (typical - background))


def threshold_of_mass(map_: Map, voxel_A: float, molecular_weight_kDa: float) -> float:
    """Threshold that encloses the volume of a mass, at 0.81 Da/A^3."""
    n_voxels = 1000.0 * molecular_weight_kDa / PROTEIN_DA_PER_A3 / voxel_A**3
    if not 1 <= n_voxels < map_.size:
        raise InputError(
            f"{molecular_weight_kDa:g} kDa fill {n_voxels:.0f} voxels of {voxel_A:g} Å, the map "
            f"has {map_.size}. Check the mass (--molecular-weight-kDa, in kDa) and the voxel.")
    place = map_.size - round(n_voxels)
    return float(np.partition(map_.ravel(), place)[place])


def remove_specks(shape: Shape, min_share: float) -> tuple[Shape, int, int]:
    """Drop islands smaller than a share of the largest; (shape, islands kept, removed).

    Voxels that touch by a face, an edge or a corner are one island.
    """
    labels, n_labels = ndimage.label(shape, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=n_labels + 1)
    sizes[0] = 0
    keep = (sizes > 0) & (sizes >= min_share * sizes.max(initial=0))
    return np.asarray(keep[labels]), int(keep.sum()), int(n_labels - keep.sum())


def mask_mass_kDa(shape: NDArray[np.bool_], voxel_A: float) -> float:
    """Mass of protein that fills a shape [kDa]."""
    return float(shape.sum()) * voxel_A**3 * PROTEIN_DA_PER_A3 / 1000.0


def _half_sample_mode(values: NDArray[np.float64]) -> float:
    """Most frequent value of sorted numbers: the densest half, again and again (Bickel 2002).

    Stops at a fiftieth of the values, below which the densest part is chance.
    """
    least = max(len(values) // 50, 3)
    while len(values) > least:
        half = (len(values) + 1) // 2
        widths = values[half - 1:] - values[: len(values) - half + 1]
        start = int(np.argmin(widths))
        values = values[start: start + half]
    return float(np.mean(values))
