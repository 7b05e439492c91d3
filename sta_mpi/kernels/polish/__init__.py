"""Pose polish: score of a pose, its gradient and its information, in one pass over the samples.

Tilt f of a particle holds samples with frequency k = (kx, ky), weighted data d = a X / sigma^2
and weight w = a^2 / sigma^2. The reference V is read by trilinear interpolation at
q = kx u_f + ky v_f, with u_f, v_f the first two rows of M_f = R_tilt(f) R_p2t, and the data
are moved back by the image shift t_f: d' = d exp(+2 pi i k . t_f / n). The model of the
unmoved data is V exp(-2 pi i k . t_f / n).

Five parameters a tilt: a rotation vector w about the particle's own axes [rad], which turns
R_p2t into R_p2t exp([w]x) and so q into q + q x w, and the shift (tx, ty) [px]:

    dV/dw = grad V x q        dV/dt = -2 pi i k / n V

Sums run over the independent half plane once; the mates would double them. `PoseProblem` adds
the tilts of a particle, as functions of its six pose parameters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.planes import slice_planes
from sta_mpi.kernels.polish import inline
from sta_mpi.kernels.polish.batch import PoseBatch
from sta_mpi.kernels.polish.device import place_samples
from sta_mpi.kernels.polish.pose import (
    PoseFunction,
    PoseProblem,
    PoseSums,
    check_samples,
)
from sta_mpi.kernels.polish.samples import (
    PackedSamples,
    SampleLayout,
    make_layout,
    pack_samples,
)

__all__ = [
    "NormalEquations",
    "PackedSamples",
    "PoseBatch",
    "PoseFunction",
    "PoseProblem",
    "PoseSums",
    "SampleLayout",
    "make_layout",
    "normal_equations",
    "pack_samples",
    "score",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NormalEquations:
    """Sums of every tilt, all float64; parameters are w1, w2, w3 [rad], tx, ty [px].

    Parameters
    ----------
    cross : (m,)    Re sum conj(V) d'
    power : (m,)    sum w |V|^2
    gd : (m, 5)     Re sum conj(dV_j) d', the gradient of cross
    gw : (m, 3)     Re sum w conj(dV_j) V, half the gradient of power (0 for shifts)
    H : (m, 15)     Re sum w conj(dV_i) dV_j, upper triangle row by row
    """

    cross: Floats
    power: Floats
    gd: Floats
    gw: Floats
    H: Floats

    def matrices(self) -> Floats:
        """H as symmetric (m, 5, 5) matrices."""
        full = np.zeros((len(self.H), 5, 5))
        i, j = np.triu_indices(5)
        full[:, i, j] = self.H
        full[:, j, i] = self.H
        return full


def normal_equations(volume: GatherVolume, axes: Floats, shift_px: Floats, packed: PackedSamples,
                     layout: SampleLayout, count: NDArray[np.integer], n: int,
                     device: str = "cpu") -> NormalEquations:
    """Score, gradient and information of a pose.

    Parameters
    ----------
    volume : GatherVolume          packed at least up to the layout's radius
    axes : (m, 2, 3) float64       u, v of every tilt: image axes in volume axes (xyz)
    shift_px : (m, 2) float64      image shift of the particle, x and y [px of box n]
    packed : PackedSamples         (m, p) samples
    layout : SampleLayout          their frequencies
    count : (m,) int               samples used of each tilt, from the first one
    n : int                        box edge [px]
    device : "cpu" or "gpu"

    Returns
    -------
    NormalEquations

    Notes
    -----
    The gradient is the exact derivative of the trilinear interpolant, one-sided on cell
    faces. Sums are kept in single precision for at most a few hundred samples and in double
    from there, always in the same order. About 200 flops and 64 gathered bytes a sample.
    """
    sums = _run(inline.N_SUMS, volume, axes, shift_px, packed, layout, count, n, device)
    data, weight = packed.data_scale[:, None], packed.weight_scale[:, None]
    per_px = 2 * np.pi / n
    shift = np.array([1.0, 1.0, 1.0, per_px, per_px])
    return NormalEquations(
        sums[:, 0] * data[:, 0], sums[:, 1] * weight[:, 0], sums[:, 2:7] * shift * data,
        sums[:, 7:10] * weight, sums[:, 10:] * np.outer(shift, shift)[np.triu_indices(5)] * weight)


def score(volume: GatherVolume, axes: Floats, shift_px: Floats, packed: PackedSamples,
          layout: SampleLayout, count: NDArray[np.integer], n: int,
          device: str = "cpu") -> tuple[Floats, Floats]:
    """(cross (m,), power (m,)) of a pose, as `normal_equations` but without derivatives."""
    sums = _run(inline.N_SCORE, volume, axes, shift_px, packed, layout, count, n, device)
    return sums[:, 0] * packed.data_scale, sums[:, 1] * packed.weight_scale


def _run(n_sums: int, volume: GatherVolume, axes: Floats, shift_px: Floats,
         packed: PackedSamples, layout: SampleLayout, count: NDArray[np.integer], n: int,
         device: str) -> Floats:
    slice_planes(axes)  # for its checks
    m, used = len(axes), np.asarray(count, np.int64)
    check_samples(volume, packed, layout, m)
    if np.shape(shift_px) != (m, 2):
        raise ValueError(f"shifts {np.shape(shift_px)}, expected ({m}, 2)")
    if used.shape != (m,) or (used < 0).any() or (used > layout.n_samples).any():
        raise ValueError(f"count must be ({m},) integers from 0 to {layout.n_samples}")
    placed = place_samples([packed], layout, device)
    return placed.evaluate(
        placed.hold(volume), n_sums, np.ascontiguousarray(axes, np.float64) * volume.scale,
        np.ascontiguousarray(shift_px, np.float64) / n, np.arange(m), used)
