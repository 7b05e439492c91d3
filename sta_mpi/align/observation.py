"""Weighted Fourier samples of one particle: the one form that averaging and search need.

For tilt f of a particle, with image transform X, transfer a = s D CTF (scale, dose
damping, CTF at the particle's depth) and noise power sigma^2, all that the likelihood

    log L = -1/2 sum |X - a V|^2 / sigma^2
          = const + Re sum conj(V) (a X / sigma^2) - 1/2 sum (a^2 / sigma^2) |V|^2

needs is `data = a X / sigma^2` and `weight = a^2 / sigma^2`. A RELION pseudo-subtomogram
is the same pair with sigma = 1, as 2D stack or merged in a 3D box.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.insert import DeviceSums, insert_box, insert_slices
from sta_mpi.kernels.planes import axes_of_slices
from sta_mpi.signal.fft import radius_rft, shift_phases_3d, shift_slices

Transform = NDArray[np.complex64]
Weights = NDArray[np.float32]
Sums = NDArray[np.float32] | DeviceSums
"""Fourier sums (n, n, n//2+1, 4), on the host or on a GPU."""


LOW_PX = 32
"""Box of the same width with coarse pixels, whose padded transform has the low frequencies."""

_LOW_END_PX, _BOX_BEGIN_PX = 8.0, 14.0
"""Index units of the box where the samples of the box begin, and where they are all there is."""


LOW_REACH_PX = 2 * _BOX_BEGIN_PX
"""Radius up to which low frequencies are inserted [index units at half the spacing]."""


@dataclass(frozen=True)
class Share:
    """How much samples of one grid count in sums of another.

    Parameters
    ----------
    factor : (n, n//2+1) float32    of samples and weights
    data_scale : float              further factor of the samples
    """

    factor: Weights
    data_scale: float

    def of(self, data: Transform, weight: Weights) -> tuple[Transform, Weights]:
        """The share of data and weights (m, n, n//2+1)."""
        return data * (self.factor * np.float32(self.data_scale)), weight * self.factor


class TiltSamples(NamedTuple):
    """Central slices of one particle.

    Parameters
    ----------
    data_rft : (m, n, n//2+1) complex64    a X / sigma^2, the particle at the origin
    weight_rft : (m, n, n//2+1) float32    a^2 / sigma^2
    rotation : (m, 3, 3) float64           tomogram axes to image axes and beam
    tilts : (m,) int                       rows of the tilt series
    low : TiltSamples or None              low frequencies at half the spacing, (m, 64, 33), to
                                           be inserted with those of the box; both have their
                                           `shares` in the sums that they are made for
    limit_px : (m,) float64 or None        radius up to which each tilt is inserted, as its dose
                                           leaves little signal beyond [index units]; None: all
    """

    data_rft: Transform
    weight_rft: Weights
    rotation: NDArray[np.float64]
    tilts: NDArray[np.intp]
    low: "TiltSamples | None" = None
    limit_px: NDArray[np.float64] | None = None

    @property
    def n_slices(self) -> int:
        """Number of tilts."""
        return len(self.data_rft)

    def insert(self, sums: Sums, n_sums: int, R_p2t: NDArray[np.float64]) -> None:
        """Add the slices to Fourier sums of edge `n_sums` of the particle's own axes."""
        axes = axes_of_slices(self.rotation, R_p2t)
        n = self.data_rft.shape[1]
        pad, low = n_sums / n, self.low
        radius = n // 2 - 1 if low is None else n / 2 - 0.5
        insert_slices(sums, self.data_rft, self.weight_rft, axes, radius, pad,
                      limits_px=self.limit_px)
        if low is not None:
            insert_slices(sums, low.data_rft, low.weight_rft, axes, LOW_REACH_PX, pad / 2,
                          limits_px=low.limit_px)

    def centred(self, shift_xyz_px: NDArray[np.float64]) -> "TiltSamples":
        """Samples with a particle that lies at `shift_xyz_px` (tomogram axes) at the origin."""
        if np.count_nonzero(shift_xyz_px) == 0:
            return self
        low = self.low
        if low is not None:
            coarser = LOW_PX / self.data_rft.shape[1]
            low = low._replace(data_rft=shift_slices(low.data_rft, self.rotation, shift_xyz_px,
                                                     -coarser))
        return self._replace(low=low, data_rft=shift_slices(
            self.data_rft, self.rotation, shift_xyz_px, -1.0))

    def scaled(self, share: float) -> "TiltSamples":
        """Samples that count as `share` of a particle."""
        if share == 1.0:
            return self
        factor = np.float32(share)
        low = None if self.low is None else self.low.scaled(share)
        return self._replace(data_rft=self.data_rft * factor,
                             weight_rft=self.weight_rft * factor, low=low)


@lru_cache(maxsize=8)
def shares(n: int, n_sums: int) -> tuple[Share, Share]:
    """Shares of the samples of a box and of low frequencies in padded sums.

    Samples of a box in padded sums stand for those of the padded grid around them
    (docs/decisions/0091): they count as many times, on the scale of its transforms.
    """
    pad = n_sums / n
    return (Share(np.float32(pad**2) * _share_of_box(n, 1.0), 1 / pad),
            Share(np.float32(pad**2 / 4) * (1 - _share_of_box(2 * LOW_PX, 2.0)), 2 / pad))


def _share_of_box(n: int, units_a_box_unit: float) -> Weights:
    """0 at low frequencies, 1 beyond: what samples of the box say of (n, n//2+1)."""
    radius = radius_rft((n, n // 2 + 1)) / units_a_box_unit
    ramp = np.clip((radius - _LOW_END_PX) / (_BOX_BEGIN_PX - _LOW_END_PX), 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * ramp), np.float32)


class BoxSamples(NamedTuple):
    """A merged 3D band of one particle, in the axes of its box.

    Parameters
    ----------
    data_rft : (n, n, n//2+1) complex64    sum over tilts of a X / sigma^2
    weight_rft : (n, n, n//2+1) float32    sum over tilts of a^2 / sigma^2
    R_box2t : (3, 3) float64               box axes to tomogram axes
    """

    data_rft: Transform
    weight_rft: Weights
    R_box2t: NDArray[np.float64]

    @property
    def n_slices(self) -> int:
        """A box counts as one."""
        return 1

    def insert(self, sums: Sums, n_sums: int, R_p2t: NDArray[np.float64]) -> None:
        """Add the box to Fourier sums of edge `n_sums` of the particle's own axes."""
        n = len(self.data_rft)
        insert_box(sums, self.data_rft, self.weight_rft, R_p2t.T @ self.R_box2t, n // 2 - 1,
                   n_sums / n)

    def centred(self, shift_xyz_px: NDArray[np.float64]) -> "BoxSamples":
        """Samples with a particle that lies at `shift_xyz_px` (tomogram axes) at the origin."""
        if not np.any(shift_xyz_px):
            return self
        phases = shift_phases_3d(len(self.data_rft), -(self.R_box2t.T @ shift_xyz_px))
        return BoxSamples(self.data_rft * phases, self.weight_rft, self.R_box2t)

    def scaled(self, share: float) -> "BoxSamples":
        """Samples that count as `share` of a particle."""
        if share == 1.0:
            return self
        factor = np.float32(share)
        return BoxSamples(self.data_rft * factor, self.weight_rft * factor, self.R_box2t)
