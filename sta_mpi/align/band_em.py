"""Expectation and maximisation over all poses of a list, in a low band.

With orthonormal transforms the log-likelihood of a pose, over that of no particle at all, is

    log L(R, t) = sum_K 2 Re[conj(V_R) D e] - |V_R|^2 W        e = exp(+2 pi i K.t / n)

(K over half a space; D, W as in `band_set`). Its mean over all poses, the *evidence*, says how much
better a map explains a particle than noise alone does: it is positive for a map that is right,
and negative on average for any other one (Gibbs' inequality), so maps compare by the evidence
of particles that they were not made from. The average of a round takes every particle at all poses
by their probability, and by that of there being a particle at all, E / (E + 1) for the mean
likelihood E: seeds beside a lattice, or on its edge, are half of some lists.

Evidence of the contrast-inverted map, -V, is found in passing (its cross term is the negative).
Noise has no sign: on particles without any signal both are equal on average, whatever the
noise's spectrum and however wrong its level is. Their difference is the test of `support`.

Both steps are products of dense matrices. Sums are in float32 over one batch of particles and in
float64 beyond; one thread, fixed order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_set import BandSet, Rows
from sta_mpi.align.reference import Reference
from sta_mpi.align.rotated_reference import rotate_reference
from sta_mpi.align.voxel_band import VoxelBand, shift_phases_of_band
from sta_mpi.kernels.insert import insert_box

Floats = NDArray[np.float64]
Sums = NDArray[np.float32]

BATCH_ELEMENTS = 4_000_000
"""Poses times particles whose probabilities are held at once."""
COLUMN_ELEMENTS = 16_000_000
"""Numbers of their shifted data."""
LEAST_SHARE = 1e-4
"""Rotations that get less than this of a particle, over all particles, are not inserted."""


@dataclass(frozen=True)
class Expectation:
    """What a map says of n particles.

    Parameters
    ----------
    log_evidence : (n,) float64    mean likelihood over all poses, relative to no particle
    inverted : (n,) float64        the same for the map with the contrast inverted
    best : (n, 2) int              most likely rotation and shift
    p_max : (n,) float64           its probability
    sums : (2, g, g, g//2+1, 4) float32 or None     of half 1 and 2, at all poses
    mean_shift_px : (3,) float64   shift in the particle's axes, over poses and particles
    mean_normal : (3,) float64     z axis of the frame in the particle's axes, likewise
    """

    log_evidence: Floats
    inverted: Floats
    best: Rows
    p_max: Floats
    sums: Sums | None
    mean_shift_px: Floats
    mean_normal: Floats


def expectation_bytes(n_particles: int, n_voxels: int, n_rotations: int) -> dict[str, float]:
    """Arrays that an expectation holds [bytes], by name."""
    return {"particles of the competition": 12.0 * n_particles * n_voxels,
            "references in all orientations": 12.0 * n_rotations * n_voxels,
            "moments of orientations": 2 * 24.0 * n_rotations * n_voxels,
            "poses of a batch": 20.0 * BATCH_ELEMENTS, "shifted data": 16.0 * COLUMN_ELEMENTS}


def expect(bands: BandSet, reference: Reference, rotations: Floats, shifts_px: Floats,
           half: NDArray[np.int8] | None) -> Expectation:
    """Evidence and poses of particles for one map, and the sums of the next one.

    Parameters
    ----------
    bands : BandSet                    n particles
    reference : Reference              of a map of `bands.band.grid_px` voxels
    rotations : (R, 3, 3) float64
    shifts_px : (S, 3) float64         in the frame [px of the box]
    half : (n,) of 1 and 2, or None    whose sums a particle enters; None: no sums are made
    """
    band, n = bands.band, len(bands)
    rotated = rotate_reference(reference, band, rotations)
    values, power = rotated.tile(0, len(rotations))
    phases = shift_phases_of_band(band, shifts_px)
    R, S, k = len(rotations), len(shifts_px), len(band.index)
    evidence, inverted = np.zeros(n), np.zeros(n)
    best, p_max = np.zeros((n, 2), np.intp), np.zeros(n)
    at_pose = np.zeros((R, S))
    total = None if half is None else np.zeros((2, R, 3 * k))
    batch = max(1, min(BATCH_ELEMENTS // (R * S), COLUMN_ELEMENTS // (2 * k * S)))
    for start in range(0, n, batch):
        own = slice(start, min(start + batch, n))
        columns = _columns(bands.data[own], phases)
        weight = np.ascontiguousarray(bands.weight[own].T)
        cross = 2.0 * (values[0] @ columns).reshape(R, -1, S)
        height = (power[0] @ weight)[:, :, None]
        inverted[own] = _log_mean(-cross - height)[0]
        evidence[own], share = _log_mean(cross - height)
        at_pose += share.sum(axis=1, dtype=np.float64)
        there = 1.0 / (1.0 + np.exp(-np.clip(evidence[own], -50.0, 50.0)))
        for i in range(share.shape[1]):
            flat = share[:, i].argmax()
            best[start + i] = divmod(int(flat), S)
            p_max[start + i] = share[:, i].flat[flat]
        share *= there.astype(np.float32)[None, :, None]
        if total is not None and half is not None:
            for h in (1, 2):
                inside = half[own] == h
                if inside.any():
                    total[h - 1] += _moments(share, columns, weight, inside)
    sums = None if total is None else np.stack([_insert(t, band, rotations) for t in total])
    shift = np.einsum("rji,rj->i", rotations, at_pose @ shifts_px) / max(n, 1)
    normal = np.einsum("ri,r->i", rotations[:, 2], at_pose.sum(axis=1)) / max(n, 1)
    return Expectation(evidence, inverted, best, p_max, sums, shift, normal)


def insert_at(bands: BandSet, rotations: Floats, shifts_px: Floats, half: NDArray[np.int8]
              ) -> Sums:
    """Sums (2, g, g, g//2+1, 4) of particles at one pose each, (n, 3, 3) and (n, 3)."""
    band, g = bands.band, bands.band.grid_px
    sums = np.zeros((2, g, g, g // 2 + 1, 4), np.float32)
    for i, (data, weight) in enumerate(zip(bands.data, bands.weight, strict=True)):
        moved = data * shift_phases_of_band(band, shifts_px[i][None])[:, 0]
        insert_box(sums[half[i] - 1], *filled(moved, weight, band),
                   np.ascontiguousarray(rotations[i].T), band.r_max)
    return sums


def filled(data: NDArray[np.complex64], weight: NDArray[np.float32], band: VoxelBand
           ) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Values (k,) and weights (k,) of a band as half transforms (g, g, g//2+1)."""
    g = band.grid_px
    box = np.zeros((g, g, g // 2 + 1), np.complex64)
    own = np.zeros((g, g, g // 2 + 1), np.float32)
    box.reshape(-1)[band.index], own.reshape(-1)[band.index] = data, weight
    x, y, z = np.rint(band.K_xyz.T).astype(np.intp)
    on_plane = x == 0
    mates = -z[on_plane] % g, -y[on_plane] % g, 0
    box[mates], own[mates] = data[on_plane].conj(), weight[on_plane]
    return box, own


def _columns(data: NDArray[np.complex64], phases: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Shifted data of b particles, (2 k, b S), real parts first."""
    moved = (data.T[:, :, None] * phases[:, None, :]).reshape(data.shape[1], -1)
    return np.concatenate([moved.real, moved.imag]).astype(np.float32, copy=False)


def _log_mean(log_likelihood: NDArray[np.float32]) -> tuple[Floats, NDArray[np.float32]]:
    """(log of the mean over poses (b,), probabilities (R, b, S)) of (R, b, S)."""
    top = log_likelihood.max(axis=(0, 2))
    share = np.exp(log_likelihood - top[None, :, None])
    total = share.sum(axis=(0, 2), dtype=np.float64)
    n_poses = share.shape[0] * share.shape[2]
    share /= total.astype(np.float32)[None, :, None]
    return top + np.log(total / n_poses), share


def _moments(share: NDArray[np.float32], columns: NDArray[np.float32],
             weight: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(R, 3 k): data, real then imaginary, and weights of each rotation."""
    S = share.shape[2]
    own = np.ascontiguousarray(share[:, inside]).reshape(len(share), -1)
    data = own @ columns[:, np.repeat(inside, S)].T
    return np.concatenate(
        [data, share[:, inside].sum(axis=2) @ weight[:, inside].T], axis=1)


def _insert(moments: Floats, band: VoxelBand, rotations: Floats) -> Sums:
    """Sums of the data that the rotations got."""
    k, g = len(band.index), band.grid_px
    sums = np.zeros((g, g, g // 2 + 1, 4), np.float32)
    got = moments[:, 2 * k :].sum(axis=1)
    for i in np.flatnonzero(got > LEAST_SHARE * got.sum() / max(len(got), 1)):
        data = (moments[i, :k] + 1j * moments[i, k : 2 * k]).astype(np.complex64)
        insert_box(sums, *filled(data, moments[i, 2 * k :].astype(np.float32), band),
                   np.ascontiguousarray(rotations[i].T), band.r_max)
    return sums
