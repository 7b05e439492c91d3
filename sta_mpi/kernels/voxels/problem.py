"""Score, gradient and information of the pose of one particle whose samples are a box.

A pose is R_p2t and a shift of the particle in tomogram axes. A box whose axes are turned by
R_box2t sees the axes R_box2t^T R_p2t and the shift R_box2t^T t. The six parameters are those
of `kernels.polish.pose`: a rotation vector about the particle's own axes [rad] and the shift t.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.polish import PoseSums
from sta_mpi.kernels.voxels import inline
from sta_mpi.kernels.voxels.device import BoxFrame, place_voxels
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
        self._frame = BoxFrame(np.ascontiguousarray(np.asarray(R_box2t, np.float64).T),
                               volume.scale, n, packed.data_scale, packed.weight_scale)
        self._placed = place_voxels(volume, packed, device)

    def sums(self, R_p2t: Floats, shift_xyz_px: Floats, count: NDArray[np.int64]) -> PoseSums:
        """Sums of a pose over the first count[0] voxels; count has shape (1,)."""
        return PoseSums(*self._placed.sums(self._frame, R_p2t, shift_xyz_px, int(count[0])))

    def climb(self, state: NDArray[np.void], rules: NDArray[np.void],
              used: NDArray[np.int64]) -> None:
        """Answer what a climb (see `kernels.polish.climb`) asks until it ends.

        `used` (b, 1) are the voxels in each band.
        """
        self._placed.climb(self._frame, used, state, rules)

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]:
        """(cross, power) of a pose alone, at about half the cost."""
        out = self._placed.evaluate(
            inline.N_SCORE, *self._frame.pose(R_p2t, shift_xyz_px), int(count[0]))
        return (float(out[0] * self._frame.data_scale),
                float(out[1] * self._frame.weight_scale))

    def radius(self, n_samples: int) -> float:
        """Outer radius of the last band that the first voxels reach, at least 1."""
        band = int(np.searchsorted(self.layout.band_start[1:], n_samples))
        return max(1.0, float(self.layout.r_bands[min(band, len(self.layout.r_bands) - 1)]))
