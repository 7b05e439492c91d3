"""What is kept of an observation from one round to the next, in single or half precision.

Half precision stores 11 bits and a power of two a tilt (a box: one for data and one for weights),
chosen so that the largest value lies just below 2^15. Rounding is part of the precision, not
of where things are kept: an observation always passes through `keep` and `restore`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.observe import BoxObservation, TiltObservation
from sta_mpi.align.transfer import TransferModel
from sta_mpi.kernels.polish.samples import half_scale
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]
Observation = TiltObservation | BoxObservation

_LEAST_SCALE = 2.0**-100
"""Its inverse still is a single-precision number."""


@dataclass(frozen=True)
class TiltsFrom:
    """Where transforms come from: position (3,) [Å] and rows of the tilt series (m,)."""

    xyz_A: Floats
    tilts: NDArray[np.intp]


@dataclass(frozen=True)
class BoxFrom:
    """The (3, 3) rotation of a box to the tomogram."""

    R_box2t: Floats


@dataclass(frozen=True)
class Kept:
    """Large arrays of one observation, and the little that is needed besides.

    Parameters
    ----------
    arrays : float32 or float16, C order   transforms (m, b, 2 (b//2+1)), real and imaginary parts
                                           in turn; or data (1, n, n, 2 (n//2+1)) and weights
    scales : (m,) or (1,) float64 each     powers of two that float16 arrays are multiplied by
    """

    arrays: tuple[NDArray[Any], ...]
    scales: tuple[Floats, ...]
    origin: TiltsFrom | BoxFrom

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return sum(array.nbytes for array in self.arrays)


def keep(observation: Observation, dtype: type = np.float32) -> Kept:
    """Take what is worth keeping of an observation.

    Parameters
    ----------
    observation : TiltObservation or BoxObservation
    dtype : float32 or float16
    """
    if isinstance(observation, BoxObservation):
        merged = observation.merged
        data = np.ascontiguousarray(merged.data_rft).view(np.float32)
        parts: tuple[NDArray[np.float32], ...] = (data[None], merged.weight_rft[None])
        origin: TiltsFrom | BoxFrom = BoxFrom(merged.R_box2t)
    else:
        parts = (np.ascontiguousarray(observation.transforms).view(np.float32),)
        origin = TiltsFrom(observation.xyz_A, observation.tilts)
    if dtype == np.float32:
        return Kept(parts, tuple(np.ones(len(part)) for part in parts), origin)
    if dtype != np.float16:
        raise ValueError(f"dtype is {dtype}, expected float32 or float16")
    rounded = [_to_half(part) for part in parts]
    return Kept(tuple(r[0] for r in rounded), tuple(r[1] for r in rounded), origin)


def restore(kept: Kept, model: TransferModel | None, plans: FftPlans) -> Observation:
    """Make the observation again; `model` is the one it had (boxes have none).

    Single-precision arrays are shared with `kept`: they must not be changed.
    """
    values = [_from_half(a, s) if a.dtype == np.float16 else a
              for a, s in zip(kept.arrays, kept.scales, strict=True)]
    if isinstance(kept.origin, BoxFrom):
        data, weight = values
        return BoxObservation(
            BoxSamples(data[0].view(np.complex64), weight[0], kept.origin.R_box2t), plans)
    if model is None:
        raise ValueError("transforms of patches need a transfer model")
    transforms = values[0].view(np.complex64)
    transforms.flags.writeable = False    # they may be the kept ones
    return TiltObservation(model, plans, transforms, kept.origin.xyz_A, kept.origin.tilts)


def _to_half(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], Floats]:
    """(rounded (m, ...), powers of two (m,)) of finite values (m, ...)."""
    rows = values.reshape(len(values), -1)
    scale = half_scale(np.maximum(rows.max(axis=1), -rows.min(axis=1))[:, None])
    scale = np.maximum(scale, _LEAST_SCALE)
    factor = (1.0 / scale).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return (values * factor).astype(np.float16), scale


def _from_half(values: NDArray[np.float16], scale: Floats) -> NDArray[np.float32]:
    restored = values.astype(np.float32)
    restored *= scale.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return restored
