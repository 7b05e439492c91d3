"""Template matching: the template, its turned transforms and its weights.

A template is a map, masked by a soft sphere, whose transform is read at any frequency and in any
orientation from one padded copy. With g the tomogram filtered as `match_volume` says, the score
of orientation R at voxel x is

    s(x, R) = 1/n^3 sum_k conj(T_R(k)) G(k) exp(2 pi i k x / n)  /  ( |T_R| sigma(x) )
    |T_R|^2 = 1/n^3 sum_k |T_R(k)|^2 W(k)

with T_R(k) = V(R^T k), sigma the local standard deviation of the whitened tomogram and W the
power that noise has after all filters. All weights of the tomogram (wedge, CTF, dose, whitening)
are in G and W, so a turned template is the same for all tiles and is made once for them.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume, gather_box, prepare_gather
from sta_mpi.signal.fft import FftPlans, crop_rft3, radius_rft
from sta_mpi.signal.filters import b_factor_damping
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Real = NDArray[np.float32]
Complex = NDArray[np.complex64]

BAND_END = 1.1
"""The low-pass ends at this times its cutoff frequency."""

REACH_PX = 2
"""Voxels beyond the mask that belong to a turned, band-limited template."""

PAD = 2.0


@dataclass(frozen=True)
class Template:
    """A template on the grid of the search.

    Parameters
    ----------
    in_tile : GatherVolume    index units of a tile of tile_px
    in_box : GatherVolume     index units of a box of box_px
    tile_px, box_px : int
    radius_px : float         of the mask, in voxels of the search
    voxel_A : float           of the search
    lowpass_A : float
    """

    in_tile: GatherVolume
    in_box: GatherVolume
    tile_px: int
    box_px: int
    radius_px: float
    voxel_A: float
    lowpass_A: float

    @property
    def band_px(self) -> float:
        """Largest |k| of the band in index units of the tile."""
        return self.in_tile.r_max_px


def make_template(data: Real, map_voxel_A: float, voxel_A: float, tile_px: int,
                  mask_diameter_A: float, lowpass_A: float, plans: FftPlans,
                  b_factor_A2: float = 0.0) -> Template:
    """Mask a map and put its transform on the grids of the search.

    Parameters
    ----------
    data : (n, n, n) float32     protein bright
    map_voxel_A : float          its voxels
    voxel_A, tile_px             of the search
    mask_diameter_A : float      of the soft sphere
    lowpass_A : float            cutoff
    b_factor_A2 : float          amplitudes are multiplied by exp(-B s^2 / 4): positive blurs a map
                                 that was sharpened
    """
    n = data.shape[0]
    radius_px = 0.5 * mask_diameter_A / map_voxel_A
    edge_px = max(2.0, 0.1 * radius_px)
    mask = soft_sphere(n, radius_px, edge_px)
    rim = (mask > 0) & (mask < 1)
    level = float(data[rim].mean()) if rim.any() else 0.0
    V_rft = plans.rfft3(((data - level) * mask).astype(np.float32))
    V_rft, map_voxel_A = _crop(V_rft, map_voxel_A, lowpass_A)
    n = V_rft.shape[0]
    if b_factor_A2:
        s_per_A = radius_rft(V_rft.shape) / (n * map_voxel_A)
        V_rft = (V_rft * b_factor_damping(s_per_A, b_factor_A2)).astype(np.complex64)
    end_per_A = BAND_END / lowpass_A
    whole = prepare_gather(V_rft, plans, PAD, min(end_per_A * n * map_voxel_A + 1, n // 2))
    box_px = 2 * (int(np.ceil(0.5 * mask_diameter_A / voxel_A)) + REACH_PX + 1)
    return Template(
        _on_grid(whole, n * map_voxel_A, tile_px, voxel_A, end_per_A),
        _on_grid(whole, n * map_voxel_A, box_px, voxel_A, end_per_A),
        tile_px, box_px, 0.5 * mask_diameter_A / voxel_A, voxel_A, lowpass_A)


def _crop(V_rft: Complex, voxel_A: float, lowpass_A: float) -> tuple[Complex, float]:
    """The transform without frequencies far beyond the band, and its new voxel size."""
    n = V_rft.shape[0]
    m = 2 * int(np.ceil(n * voxel_A * 1.5 / lowpass_A)) + 2
    if m >= n:
        return V_rft, voxel_A
    return crop_rft3(V_rft, m), voxel_A * n / m


def _on_grid(whole: GatherVolume, edge_A: float, n: int, voxel_A: float, end_per_A: float
             ) -> GatherVolume:
    """The packed transform in index units of a box of n voxels of voxel_A."""
    scale = whole.scale * edge_A / (n * voxel_A)
    limit = whole.r_max_px * whole.scale / scale
    return replace(whole, n=n, scale=scale,
                   r_max_px=float(min(n * voxel_A * end_per_A, n // 2 - 1, limit)))


def turned_in_tile(template: Template, R_p2t: Floats, out: Complex | None = None) -> Complex:
    """Half transform (n, n, n//2+1) of the template turned by R_p2t (3, 3), on the tile's grid."""
    return gather_box(template.in_tile, R_p2t.T, template.tile_px, template.band_px, out)


def sphere_offsets(template: Template) -> NDArray[np.intp]:
    """(K, 3) offsets zyx from the centre of the voxels that a turned template reaches."""
    reach = template.box_px // 2 - 1
    axis = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(grid[(grid**2).sum(axis=1) <= (template.radius_px + REACH_PX) ** 2],
                      np.intp)


def turned_vectors(template: Template, rotations: Floats, plans: FftPlans,
                   offsets: NDArray[np.intp]) -> tuple[Real, Real]:
    """Turned templates in real space, and the power of their transforms.

    Parameters
    ----------
    rotations : (m, 3, 3) float64   R_p2t
    offsets : (K, 3)                from `sphere_offsets`

    Returns
    -------
    vectors : (m, K) float32        densities; a score is their product with the filtered tomogram
    power : (m, b * b * (b//2+1)) float32   |T_R|^2 on the half transform of the box
    """
    n = template.box_px
    box = plans.box((n, n, n))
    places = tuple((offsets % n).T)
    vectors = np.empty((len(rotations), len(offsets)), np.float32)
    power = np.empty((len(rotations), n * n * (n // 2 + 1)), np.float32)
    turned = np.empty((n, n, n // 2 + 1), np.complex64)
    for i, R in enumerate(rotations):
        gather_box(template.in_box, R.T, n, template.in_box.r_max_px, turned)
        power[i] = (turned.real**2 + turned.imag**2).reshape(-1)
        box.half[...] = turned
        box.to_real()
        vectors[i] = box.real[places]
    vectors *= np.float32(1.0 / n**3)
    return vectors, power


def template_norms(power: Real, weights: Real) -> Real:
    """|T_R| of m orientations under w weights, (w, m).

    Parameters
    ----------
    power : (m, b * b * (b//2+1)) float32    from `turned_vectors`
    weights : (w, b, b, b//2+1) float32      W on the box
    """
    n = weights.shape[1]
    times = np.full(n // 2 + 1, 2.0, np.float32)
    times[0] = 1.0
    flat = (weights * times).reshape(len(weights), -1)
    squared: Any = flat @ power.T / np.float32(n**3)
    return np.asarray(np.sqrt(np.maximum(squared, np.float32(1e-30))), np.float32)
