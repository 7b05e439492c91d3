"""Score, gradient and information of the pose of one particle whose samples are a box.

A pose is R_p2t and a shift of the particle in tomogram axes. A box whose axes are turned by
R_box2t sees the axes R_box2t^T R_p2t and the shift R_box2t^T t. The six parameters are those
of `kernels.polish.pose`: a rotation vector about the particle's own axes [rad] and the shift t.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish import PoseSums
from sta_mpi.kernels.voxels import inline
from sta_mpi.kernels.voxels.device import place_voxels
from sta_mpi.kernels.voxels.samples import PackedVoxels

Floats = NDArray[np.float64]


class VoxelProblem:
    """The box of one particle and a reference: a function of the pose.

    Parameters
    ----------
    volume : GatherVolume           packed at least up to the layout's radius
    packed : PackedVoxels           the box
    R_box2t : (3, 3) float64        box axes to tomogram axes
    n : int                         box edge whose index units the voxels have [px]
    device : "cpu" or "gpu"

    Notes
    -----
    The interface is that of `kernels.polish.PoseProblem`, with one list of samples. About
    240 flops and 64 gathered bytes a voxel.
    """

    n_tilts = 1

    def __init__(self, volume: GatherVolume, packed: PackedVoxels, R_box2t: Floats, n: int,
                 device: str = "cpu") -> None:
        self.layout, self.n = packed.layout, n
        if np.shape(R_box2t) != (3, 3):
            raise ValueError(f"R_box2t has shape {np.shape(R_box2t)}, expected (3, 3)")
        if packed.w.shape != (self.layout.n_samples,):
            raise ValueError(
                f"voxels {packed.w.shape}, expected ({self.layout.n_samples},) as in the layout")
        if self.layout.r_max_px > volume.r_max_px:
            raise ValueError(
                f"the layout reaches {self.layout.r_max_px:g}, but the volume was packed up to "
                f"{volume.r_max_px:g} (index units)")
        self._R_t2box = np.ascontiguousarray(np.asarray(R_box2t, np.float64).T)
        self._scales = packed.data_scale, packed.weight_scale
        self._scale = volume.scale
        self._placed = place_voxels(volume, packed, device)

    def sums(self, R_p2t: Floats, shift_xyz_px: Floats, count: NDArray[np.int64]) -> PoseSums:
        """Sums of a pose over the first count[0] voxels; count has shape (1,)."""
        out = self._evaluate(inline.N_SUMS, R_p2t, shift_xyz_px, count)
        return PoseSums(*_combine(out, *self._scales, self._R_t2box, 2 * np.pi / self.n))

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]:
        """(cross, power) of a pose alone, at about half the cost."""
        out = self._evaluate(inline.N_SCORE, R_p2t, shift_xyz_px, count)
        return float(out[0] * self._scales[0]), float(out[1] * self._scales[1])

    def radius(self, count: NDArray[np.int64]) -> float:
        """Outer radius of the last band that the first count[0] voxels reach, at least 1."""
        band = int(np.searchsorted(self.layout.band_start[1:], count[0]))
        return max(1.0, float(self.layout.r_bands[min(band, len(self.layout.r_bands) - 1)]))

    def _evaluate(self, n_sums: int, R_p2t: Floats, shift_xyz_px: Floats,
                  count: NDArray[np.int64]) -> Floats:
        """Sums in box axes, of axes in padded units and cycles per index."""
        return self._placed.evaluate(
            n_sums, self._R_t2box @ R_p2t * self._scale, self._R_t2box @ shift_xyz_px / self.n,
            int(count[0]))


@cpu_kernel
def _combine(sums, data_scale, weight_scale, R_t2box, per_px):
    """Chain rule from box axes (32,) to the six parameters of the particle."""
    gd, gw, H, own = np.zeros(6), np.zeros(6), np.zeros((6, 6)), np.zeros((6, 6))
    at = 11
    for i in range(6):
        for j in range(i, 6):
            factor = (per_px if i > 2 else 1.0) * (per_px if j > 2 else 1.0)
            own[i, j] = weight_scale * factor * sums[at]
            own[j, i] = own[i, j]
            at += 1
    for i in range(3):
        gd[i] = data_scale * sums[2 + i]
        gw[i] = weight_scale * sums[8 + i]
        for j in range(3):
            gd[3 + i] += data_scale * per_px * R_t2box[j, i] * sums[5 + j]
            H[i, j] = own[i, j]
            for k in range(3):
                H[i, 3 + j] += own[i, 3 + k] * R_t2box[k, j]
                for m in range(3):
                    H[3 + i, 3 + j] += R_t2box[k, i] * own[3 + k, 3 + m] * R_t2box[m, j]
    for i in range(6):
        for j in range(i):
            H[i, j] = H[j, i]
    return data_scale * sums[0], weight_scale * sums[1], gd, gw, H
