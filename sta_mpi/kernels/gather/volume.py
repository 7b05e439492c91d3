"""A 3D transform packed for gathering: centred, band-limited, with a margin, interleaved.

The frequencies -reach ... reach + 1 of z and y and 0 ... reach + 1 of x are stored, so that a
lookup needs no wrap-around, and only the band that is asked for takes memory.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.kernels.planes import STRETCH

Complex = NDArray[np.complex64]


class Plans(Protocol):
    """What `prepare_gather` needs of `signal.fft.FftPlans`."""

    def rfft3(self, volume: NDArray[np.floating]) -> Complex: ...

    def irfft3(self, rft: Complex) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class GatherVolume:
    """A packed transform.

    Parameters
    ----------
    data : (nz, ny, nx) complex64   index (z + reach, y + reach, x), padded index units
    n : int                         box edge whose index units callers use [px]
    scale : float                   padded index units per index unit of the box
    r_max_px : float                largest |k| that can be gathered, in index units of the box
    reach : int                     largest stored frequency below the margin
    """

    data: Complex
    n: int
    scale: float
    r_max_px: float
    reach: int

    @property
    def floats(self) -> NDArray[np.float32]:
        """The data as a flat array of interleaved real and imaginary parts; no copy."""
        return self.data.reshape(-1).view(np.float32)

    @property
    def row(self) -> int:
        """Floats from one y to the next."""
        return 2 * self.data.shape[2]

    @property
    def plane(self) -> int:
        """Floats from one z to the next."""
        return self.row * self.data.shape[1]


def pack_volume(padded_rft: Complex, n: int, r_max_px: float | None = None) -> GatherVolume:
    """Pack a half transform that is sampled n_pad / n times finer than index units of box n.

    Parameters
    ----------
    padded_rft : (n_pad, n_pad, n_pad//2+1) complex64   origin at index 0
    n : int                                             box edge [px]
    r_max_px : float or None                            band to keep; n // 2 by default

    Notes
    -----
    The transform is periodic in n_pad and Hermitian, which defines every frequency asked for.
    """
    n_pad = padded_rft.shape[0]
    if padded_rft.shape != (n_pad, n_pad, n_pad // 2 + 1) or n_pad < n:
        raise ValueError(
            f"transform {padded_rft.shape} is not (p, p, p//2+1) with p of at least {n}")
    limit = float(n // 2 if r_max_px is None else r_max_px)
    if not 0 <= limit <= n // 2:
        raise ValueError(f"r_max_px is {limit}, expected 0 to {n // 2}")
    shape = packed_shape(n_pad, n, limit)
    reach = shape[2] - 2
    zy = np.arange(-reach, reach + 2) % n_pad
    mate = -zy % n_pad
    data = np.empty(shape, np.complex64)
    n_stored = min(reach + 2, n_pad // 2 + 1)
    for i, z in enumerate(zy):
        data[i, :, :n_stored] = padded_rft[z, zy, :n_stored]
    for x in range(n_stored, reach + 2):  # unpadded: one or two frequencies past the Nyquist
        wrapped = x % n_pad
        if wrapped <= n_pad // 2:
            data[:, :, x] = padded_rft[zy][:, zy, wrapped]
        else:
            data[:, :, x] = padded_rft[mate][:, mate, n_pad - wrapped].conj()
    return packed_volume(data, n_pad, n, limit)


def packed_shape(n_pad: int, n: int, r_max_px: float) -> tuple[int, int, int]:
    """Shape of the data that `pack_volume` makes."""
    reach = int(np.ceil(r_max_px * n_pad / n * (1 + STRETCH)))
    return (2 * reach + 2, 2 * reach + 2, reach + 2)


def packed_volume(data: Complex, n_pad: int, n: int, r_max_px: float) -> GatherVolume:
    """The volume whose data `pack_volume` made with these sizes, wherever they lie now."""
    return GatherVolume(data, n, n_pad / n, r_max_px, data.shape[2] - 2)


def padded_edge(n: int, pad: float) -> int:
    """Edge of the padded box of `prepare_gather`."""
    return max(n, 2 * round(n * pad / 2)) if pad > 1 else n


def prepare_gather(V_rft: Complex, plans: Plans, pad: float = 2.0,
                   r_max_px: float | None = None) -> GatherVolume:
    """Gridding-correct, pad and pack the transform of a map.

    Parameters
    ----------
    V_rft : (n, n, n//2+1) complex64   rfftn(ifftshift(volume)) / n
    plans : FftPlans                   of `signal.fft`
    pad : float                        finer sampling of the transform, at least 1
    r_max_px : float or None           band to keep, in index units of n; n // 2 by default

    Notes
    -----
    Values keep the scale of V_rft, so a slice is the orthonormal transform of a projection.
    """
    n = V_rft.shape[0]
    n_pad = padded_edge(n, pad)
    corrected = correct_gridding(plans.irfft3(V_rft), n_pad / n)
    padded = np.zeros((n_pad,) * 3, np.float32)
    inside = slice(n_pad // 2 - n // 2, n_pad // 2 - n // 2 + n)
    padded[inside, inside, inside] = corrected
    padded_rft = plans.rfft3(padded)
    padded_rft *= np.float32(n_pad / n)
    return pack_volume(padded_rft, n, r_max_px)
