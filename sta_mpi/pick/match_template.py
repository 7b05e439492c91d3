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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume, prepare_gather
from sta_mpi.kernels.match import band_rows, turn_band
from sta_mpi.signal.fft import FftPlans, crop_rft3, radius_rft
from sta_mpi.signal.filters import b_factor_damping
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Rows = NDArray[np.int32]
Shape = tuple[int, int, int]

BAND_END = 1.1
"""The low-pass ends at this times its cutoff frequency."""

REACH_PX = 2
"""Voxels beyond the mask that belong to a turned, band-limited template."""

PAD = 2.0


@dataclass(frozen=True)
class Template:
    """A template and the grid of its search.

    Parameters
    ----------
    packed : GatherVolume        transform of the masked map, on a grid of its own
    edge_A : float               1 / edge_A is the spacing of its samples [1/Å]
    voxel_zyx_A : (3,) float64   of the search
    box_px : int                 edge of the box that a turned template fits into
    radius_px : float            of the mask, in voxels of the search
    end_per_A : float            end of the band [1/Å]
    """

    packed: GatherVolume
    edge_A: float
    voxel_zyx_A: Floats
    box_px: int
    radius_px: float
    end_per_A: float

    def rows(self, shape: Shape) -> Rows:
        """The band on a tile of this shape, see `kernels.match.band_rows`."""
        return band_rows(shape, self.voxel_zyx_A, self.end_per_A)

    def turned(self, R_p2t: Floats, shape: Shape, rows: Rows, out: Complex) -> None:
        """Write the turned template's half transform on a tile, inside the band."""
        steps = self.edge_A / (np.array(shape) * self.voxel_zyx_A)
        turn_band(self.packed, R_p2t, steps, rows, out)


def make_template(data: Real, map_voxel_A: float, voxel_zyx_A: Floats, mask_diameter_A: float,
                  lowpass_A: float, plans: FftPlans, b_factor_A2: float = 0.0) -> Template:
    """Mask a map and pack its transform.

    Parameters
    ----------
    data : (n, n, n) float32     protein bright
    map_voxel_A : float          its voxels
    voxel_zyx_A : (3,)           of the search
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
    limit = min(BAND_END / lowpass_A * n * map_voxel_A + 1, n // 2)
    packed = prepare_gather(V_rft, plans, PAD, limit)
    voxel_A = float(np.mean(voxel_zyx_A))
    radius_px = 0.5 * mask_diameter_A / voxel_A
    return Template(
        packed, packed.scale * n * map_voxel_A, np.asarray(voxel_zyx_A, np.float64),
        2 * (int(np.ceil(radius_px)) + REACH_PX + 1), radius_px,
        float(min(BAND_END / lowpass_A, limit / (n * map_voxel_A))))


def _crop(V_rft: Complex, voxel_A: float, lowpass_A: float) -> tuple[Complex, float]:
    """The transform without frequencies far beyond the band, and its new voxel size."""
    n = V_rft.shape[0]
    m = 2 * int(np.ceil(n * voxel_A * 1.5 / lowpass_A)) + 2
    if m >= n:
        return V_rft, voxel_A
    return crop_rft3(V_rft, m), voxel_A * n / m


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
    rows = template.rows((n, n, n))
    turned = np.zeros((n, n, n // 2 + 1), np.complex64)
    for i, R in enumerate(rotations):
        template.turned(R, (n, n, n), rows, turned)
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
