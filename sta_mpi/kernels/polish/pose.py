"""Score, gradient and information of the pose of one particle: sums over its tilts.

A pose is R_p2t and a shift of the particle in tomogram axes. Tilt f, with R_f the rotation
from tomogram to image axes, sees the axes R_f R_p2t and the image shift J_f t, J_f being
the first two rows of R_f. The six parameters are a rotation vector about the particle's own
axes [rad], R_p2t -> R_p2t exp([w]x), and the shift t [px].
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.polish import inline
from sta_mpi.kernels.polish.device import PlacedSamples, Tilts, place_samples
from sta_mpi.kernels.polish.samples import PackedSamples, SampleLayout

Floats = NDArray[np.float64]


class PoseSums(NamedTuple):
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
    `count` (n_tilts,) how many samples of each list are used, from the first one; `used`
    (n_bands, n_tilts) so many for each band of a climb.
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

    def climb(self, state: NDArray[np.void], rules: NDArray[np.void],
              used: NDArray[np.int64]) -> None: ...

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]: ...

    def radius(self, n_samples: int) -> float: ...


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
        self._tilts = Tilts(self.rotation, volume.scale, n, packed.data_scale,
                            packed.weight_scale)
        self._placed = placed or place_samples([packed], layout, device)
        self._volume = self._placed.hold(volume)
        self.rows = np.arange(first_row, first_row + self.n_tilts)

    def sums(self, R_p2t: Floats, shift_xyz_px: Floats, count: NDArray[np.int64]) -> PoseSums:
        """Sums of a pose over the first `count` (m,) samples of each tilt."""
        return PoseSums(*self._placed.sums(
            self._volume, self._tilts, R_p2t, shift_xyz_px, self.rows, count))

    def climb(self, state: NDArray[np.void], rules: NDArray[np.void],
              used: NDArray[np.int64]) -> None:
        """Answer what a climb (`climb.STATE`, `climb.RULES`) asks until it ends.

        `used` (b, m) are the samples of each tilt in each band.
        """
        self._placed.climb(self._volume, self._tilts, self.rows, used, state, rules)

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]:
        """(cross, power) of a pose alone, at about half the cost."""
        out = self._placed.evaluate(self._volume, inline.N_SCORE,
                                    *self.tilt_poses(R_p2t, shift_xyz_px), self.rows, count)
        data_scale, weight_scale = self._tilts.data_scale, self._tilts.weight_scale
        return float(out[:, 0] @ data_scale), float(out[:, 1] @ weight_scale)

    def tilt_poses(self, R_p2t: Floats, shift_xyz_px: Floats) -> tuple[Floats, Floats]:
        """(axes (m, 2, 3) in padded units, cycles (m, 2) per index) of every tilt."""
        return self._tilts.poses(R_p2t, shift_xyz_px)

    def combined(self, sums: Floats) -> PoseSums:
        """Sums of the particle from those of its tilts (m, 25)."""
        return PoseSums(*self._tilts.combined(sums))

    def radius(self, n_samples: int) -> float:
        """Largest |k| of the first samples of a tilt, at least 1 [index units]."""
        return max(1.0, float(self.layout.running_radius[n_samples - 1])) if n_samples else 1.0


def check_samples(volume: GatherVolume, packed: PackedSamples, layout: SampleLayout,
                  m: int) -> None:
    """ValueError where samples, layout, volume and the number of tilts do not fit."""
    if packed.w.shape != (m, layout.n_samples):
        raise ValueError(
            f"{m} tilts with samples {packed.w.shape}, expected ({m}, {layout.n_samples})")
    if layout.r_max_px > volume.r_max_px:
        raise ValueError(f"the layout reaches {layout.r_max_px:g}, but the volume was packed up "
                         f"to {volume.r_max_px:g} (index units)")
