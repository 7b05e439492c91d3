"""Global search of a batch of particles: all rotations times all shifts by matrix products.

In a low band the data of a particle are merged into the Fourier voxels of the tomogram
frame, D = sum a X / sigma^2 and W = sum a^2 / sigma^2. Rotating the reference instead of the
data makes one matrix of all rotations serve all particles of all series:

    cross(R, t) = sum_K [Re V_R, Im V_R] [Re D e, Im D e]      e = exp(+2 pi i K.t / n)
    power(R)    = sum_K |V_R|^2 W

Both are dense matrix products in float32, the fastest thing a processor does. The merge
interpolates, so scores are good for choosing candidates, not for the last digits: the best
few go on to a search on the tilt images themselves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reference import Reference
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.kernels.gather import gather_box
from sta_mpi.kernels.insert import insert_slices

Floats = NDArray[np.float64]
Reals = NDArray[np.float32]


@dataclass(frozen=True)
class VoxelBand:
    """Independent Fourier voxels of a low band.

    Parameters
    ----------
    box_px : int                 box whose index units are used
    grid_px : int                edge of the small grid that holds the band
    r_max : float                largest |K|
    index : (k,) int             flat places in a (g, g, g//2+1) half transform
    K_xyz : (k, 3) float64       their frequencies
    """

    box_px: int
    grid_px: int
    r_max: float
    index: NDArray[np.intp]
    K_xyz: Floats


def make_voxel_band(box_px: int, r_max: float, r_min: float = 0.0) -> VoxelBand:
    """The half space of voxels with r_min <= |K| <= r_max, without the origin."""
    grid = min(2 * (int(np.ceil(r_max)) + 2), box_px)
    full = np.fft.fftfreq(grid) * grid
    half = np.arange(grid // 2 + 1, dtype=float)
    z, y, x = np.meshgrid(full, full, half, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    own = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    inside = own & (radius >= r_min) & (radius <= r_max)
    index = np.flatnonzero(inside)
    K_xyz = np.stack([x.ravel()[index], y.ravel()[index], z.ravel()[index]], axis=1)
    return VoxelBand(box_px, grid, float(r_max), index, K_xyz)


@dataclass(frozen=True)
class RotatedReference:
    """A reference in all orientations of a list, on the voxels of a band.

    Parameters
    ----------
    rotations : (R, 3, 3) float64    R_p2t of the candidates
    values : (R, 2 k) float32        real parts, then imaginary parts
    power : (R, k) float32           |V|^2
    """

    rotations: Floats
    values: Reals
    power: Reals


def rotate_reference(reference: Reference, band: VoxelBand, rotations: Floats
                     ) -> RotatedReference:
    """Gather the reference in all orientations; cost about 10 ns a voxel and rotation."""
    k = len(band.index)
    values = np.empty((len(rotations), 2 * k), np.float32)
    for row, R in zip(values, rotations, strict=True):
        # tomogram frequency K is read at R^T K of the particle's own transform
        turned = gather_box(reference.volume, np.ascontiguousarray(R.T), band.grid_px, band.r_max)
        picked = turned.reshape(-1)[band.index]
        row[:k], row[k:] = picked.real, picked.imag
    return RotatedReference(rotations, values, values[:, :k] ** 2 + values[:, k:] ** 2)


@dataclass(frozen=True)
class MergedBand:
    """One particle's data and weights on the voxels of a band.

    Parameters
    ----------
    data : (k,) complex64
    weight : (k,) float32
    """

    data: NDArray[np.complex64]
    weight: Reals


def merge_band(samples: TiltSamples, band: VoxelBand) -> MergedBand:
    """Merge the slices of a particle into the voxels of the tomogram frame."""
    n, grid = samples.data_rft.shape[1], band.grid_px
    rows = np.r_[0 : (grid + 1) // 2, n - grid // 2 : n]
    columns = slice(0, grid // 2 + 1)
    sums = np.zeros((grid, grid, grid // 2 + 1, 4), np.float32)
    insert_slices(
        sums, np.ascontiguousarray(samples.data_rft[:, rows, columns]),
        np.ascontiguousarray(samples.weight_rft[:, rows, columns]),
        np.ascontiguousarray(samples.rotation[:, :2]), min(band.r_max + 1, grid // 2 - 1))
    flat = sums.reshape(-1, 4)[band.index]
    return MergedBand((flat[:, 0] + 1j * flat[:, 1]).astype(np.complex64), flat[:, 2].copy())


@dataclass(frozen=True)
class Candidates:
    """The best candidates of one particle, best first.

    Parameters
    ----------
    i_rotation, i_shift : (c,) int
    loglik : (c,) float64    with the grey scale fitted to each candidate, up to a constant
    """

    i_rotation: NDArray[np.intp]
    i_shift: NDArray[np.intp]
    loglik: Floats


def shift_phases_of_band(band: VoxelBand, shifts_px: Floats) -> NDArray[np.complex64]:
    """exp(+2 pi i K.t / n), (k, S), of shifts (S, 3) in tomogram axes."""
    phase = band.K_xyz @ shifts_px.T * (2 * np.pi / band.box_px)
    return np.exp(1j * phase).astype(np.complex64)


def search_batch(merged: list[MergedBand], rotated: RotatedReference,
                 phases: NDArray[np.complex64], n_candidates: int, separation_deg: float,
                 log_prior: Floats | None = None) -> list[Candidates]:
    """Candidates of a batch of particles.

    Parameters
    ----------
    merged : list of MergedBand        b particles
    phases : (k, S) complex64          from `shift_phases_of_band`
    n_candidates : int                 at most this many a particle
    separation_deg : float             candidates lie at least this far apart in angle
    log_prior : (b, R) float64 or None   added to the log-likelihood of rotations

    Notes
    -----
    The grey scale is fitted to each candidate: log L = cross^2 / power for positive cross.
    About 4 k R (S + 1) flops a particle, in two products.
    """
    n_shifts = phases.shape[1]
    moved = np.concatenate([m.data[:, None] * phases for m in merged], axis=1)
    columns = np.concatenate([moved.real, moved.imag], axis=0)
    cross = (rotated.values @ columns).reshape(len(rotated.rotations), len(merged), n_shifts)
    power = rotated.power @ np.stack([m.weight for m in merged], axis=1)
    i_shift = cross.argmax(axis=2)
    best = np.take_along_axis(cross, i_shift[..., None], axis=2)[..., 0].astype(np.float64)
    loglik = np.where(best > 0, best**2, 0.0) / np.maximum(power, 1e-20)
    if log_prior is not None:
        loglik += log_prior.T
    return [_distinct(loglik[:, i], i_shift[:, i], rotated.rotations, n_candidates,
                      separation_deg) for i in range(len(merged))]


def _distinct(loglik: Floats, i_shift: NDArray[np.intp], rotations: Floats, n_candidates: int,
              separation_deg: float) -> Candidates:
    """The best rotations that are not neighbours of a better one."""
    order = np.argsort(-loglik, kind="stable")[: 40 * n_candidates]
    kept: list[int] = []
    for i in order:
        if all(angular_distance_deg(rotations[i], rotations[j]) >= separation_deg for j in kept):
            kept.append(int(i))
            if len(kept) == n_candidates:
                break
    rows = np.array(kept, np.intp)
    return Candidates(rows, i_shift[rows], loglik[rows])
