"""Score, gradient and information of the pose of one particle: sums over its tilts.

A pose is R_p2t and a shift of the particle in tomogram axes. Tilt f, with R_f the rotation
from tomogram to image axes, sees the axes R_f R_p2t and the image shift J_f t, J_f being
the first two rows of R_f. The six parameters are a rotation vector about the particle's own
axes [rad], R_p2t -> R_p2t exp([w]x), and the shift t [px].
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish import inline
from sta_mpi.kernels.polish.device import PlacedSamples, place_samples
from sta_mpi.kernels.polish.samples import PackedSamples, SampleLayout

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PoseSums:
    """Sums over the tilts; parameters are w1, w2, w3 [rad], x, y, z [px, tomogram axes].

    Parameters
    ----------
    cross, power : float
    gd : (6,)     gradient of cross
    gw : (6,)     half the gradient of power (0 for shifts)
    H : (6, 6)    Re sum w conj(dV_i) dV_j
    """

    cross: float
    power: float
    gd: Floats
    gw: Floats
    H: Floats


class Bands(Protocol):
    """What a search asks of a layout: samples come band by band."""

    @property
    def band_start(self) -> NDArray[np.int64]:
        """Sample at which each band begins, and the end of the last one."""

    @property
    def n_samples(self) -> int:
        """Samples of a list."""


class PoseFunction(Protocol):
    """A particle and a reference as a function of the pose, whatever its samples are.

    `n` is the box edge [px], `n_tilts` the number of lists of samples (tilts; 1 for a box) and
    `count` (n_tilts,) how many samples of each list are used, from the first one.
    """

    @property
    def n(self) -> int:
        """Box edge [px]."""

    @property
    def n_tilts(self) -> int:
        """Number of lists of samples."""

    @property
    def layout(self) -> Bands:
        """Bands of the samples."""

    def sums(self, R_p2t: Floats, shift_xyz_px: Floats, count: NDArray[np.int64]) -> PoseSums: ...

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]: ...

    def radius(self, count: NDArray[np.int64]) -> float: ...


class PoseProblem:
    """The tilt images of one particle and a reference: a function of the pose.

    Parameters
    ----------
    volume, packed, layout, n, device : as for `normal_equations`
    rotation : (m, 3, 3) float64      tomogram axes to image axes of every tilt
    placed, first_row                 samples of several particles, on their device, and where
                                      this one's begin; None: its own, put there now
    """

    def __init__(self, volume: GatherVolume, packed: PackedSamples, layout: SampleLayout,
                 rotation: Floats, n: int, device: str = "cpu",
                 placed: PlacedSamples | None = None, first_row: int = 0) -> None:
        self.rotation = np.ascontiguousarray(rotation, np.float64)
        self.layout, self.n = layout, n
        self.n_tilts = len(self.rotation)
        check_samples(volume, packed, layout, self.n_tilts)
        if self.rotation.shape != (self.n_tilts, 3, 3):
            raise ValueError(f"rotation has shape {self.rotation.shape}, expected (m, 3, 3)")
        self._scales = packed.data_scale, packed.weight_scale
        self._scale = volume.scale
        self._placed = placed or place_samples([packed], layout, device)
        self._volume = self._placed.hold(volume)
        self.rows = np.arange(first_row, first_row + self.n_tilts)

    def sums(self, R_p2t: Floats, shift_xyz_px: Floats, count: NDArray[np.int64]) -> PoseSums:
        """Sums of a pose over the first `count` (m,) samples of each tilt."""
        return self.combined(self._evaluate(inline.N_SUMS, R_p2t, shift_xyz_px, count))

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]:
        """(cross, power) of a pose alone, at about half the cost."""
        out = self._evaluate(inline.N_SCORE, R_p2t, shift_xyz_px, count)
        return float(out[:, 0] @ self._scales[0]), float(out[:, 1] @ self._scales[1])

    def tilt_poses(self, R_p2t: Floats, shift_xyz_px: Floats) -> tuple[Floats, Floats]:
        """(axes (m, 2, 3) in padded units, cycles (m, 2) per index) of every tilt."""
        axes, cycles = _tilt_poses(self.rotation, R_p2t, shift_xyz_px, self._scale, self.n)
        return axes, cycles

    def combined(self, sums: Floats) -> PoseSums:
        """Sums of the particle from those of its tilts (m, 25)."""
        return PoseSums(*_combine(sums, *self._scales, self.rotation, 2 * np.pi / self.n))

    def _evaluate(self, n_sums: int, R_p2t: Floats, shift_xyz_px: Floats,
                  count: NDArray[np.int64]) -> Floats:
        return self._placed.evaluate(
            self._volume, n_sums, *self.tilt_poses(R_p2t, shift_xyz_px), self.rows, count)

    def radius(self, count: NDArray[np.int64]) -> float:
        """Largest |k| of the first `count` (m,) samples, at least 1 [index units]."""
        last = int(count.max(initial=0))
        return max(1.0, float(self.layout.running_radius[last - 1])) if last else 1.0


def check_samples(volume: GatherVolume, packed: PackedSamples, layout: SampleLayout,
                  m: int) -> None:
    """ValueError where samples, layout, volume and the number of tilts do not fit."""
    if packed.w.shape != (m, layout.n_samples):
        raise ValueError(
            f"{m} tilts with samples {packed.w.shape}, expected ({m}, {layout.n_samples})")
    if layout.r_max_px > volume.r_max_px:
        raise ValueError(f"the layout reaches {layout.r_max_px:g}, but the volume was packed up "
                         f"to {volume.r_max_px:g} (index units)")


@cpu_kernel
def _tilt_poses(rotation, R, shift, scale, n):
    """(axes (m, 2, 3) in padded units, cycles (m, 2) per index) of every tilt."""
    m = len(rotation)
    axes, cycles = np.zeros((m, 2, 3)), np.zeros((m, 2))
    for f in range(m):
        for i in range(2):
            for k in range(3):
                cycles[f, i] += rotation[f, i, k] * shift[k] / n
                for j in range(3):
                    axes[f, i, j] += rotation[f, i, k] * R[k, j] * scale
    return axes, cycles


@cpu_kernel
def _combine(sums, data_scale, weight_scale, rotation, per_px):
    """Chain rule from the sums of tilts (m, 25) to the six parameters of the particle."""
    cross, power = 0.0, 0.0
    gd, gw, H = np.zeros(6), np.zeros(6), np.zeros((6, 6))
    for f in range(len(sums)):
        d, w = data_scale[f], weight_scale[f]
        cross += d * sums[f, 0]
        power += w * sums[f, 1]
        xx = w * per_px * per_px * sums[f, 22]
        xy = w * per_px * per_px * sums[f, 23]
        yy = w * per_px * per_px * sums[f, 24]
        row = 10
        for i in range(3):
            gd[i] += d * sums[f, 2 + i]
            gw[i] += w * sums[f, 7 + i]
            for j in range(i, 3):
                H[i, j] += w * sums[f, row + j - i]
            tx, ty = w * per_px * sums[f, row + 3 - i], w * per_px * sums[f, row + 4 - i]
            row += 5 - i
            ux, uy = rotation[f, 0, i], rotation[f, 1, i]
            gd[3 + i] += d * per_px * (ux * sums[f, 5] + uy * sums[f, 6])
            for j in range(3):
                vx, vy = rotation[f, 0, j], rotation[f, 1, j]
                H[i, 3 + j] += tx * vx + ty * vy
                H[3 + i, 3 + j] += xx * ux * vx + xy * (ux * vy + uy * vx) + yy * uy * vy
    for i in range(6):
        for j in range(i):
            H[i, j] = H[j, i]
    return cross, power, gd, gw, H
