"""CTF images from the polynomial of their phase; what the coefficients mean: `signal.ctf`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.ctf import cpu
from sta_mpi.kernels.options import check_device

__all__ = ["MaskedTilts", "TiltPhases", "ctf_image_stack", "masked_tilts", "weigh_masked_samples"]

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]

_NO_SHARE, _NO_LIMITS, _NO_PHASE = np.zeros((0, 0), np.float32), np.zeros(0), np.zeros((0, 0))


class TiltPhases(NamedTuple):
    """Phase of the CTF of every tilt of a series on one grid, as a function of the position.

    Parameters
    ----------
    coefficients : (n_tilts, 5) float64         at the origin of positions, see `ctf_image_stack`
    per_A : (n_tilts, 3) float64                what an Å along x, y and z adds to cxx and to cyy
    extra_cycles : (n, n//2+1) float64 or None  further phase, common to all tilts
    """

    coefficients: Floats
    per_A: Floats
    extra_cycles: Floats | None = None

    def at(self, xyz_A: Floats, tilts: NDArray[np.intp]) -> Floats:
        """Coefficients (m, 5) of `tilts` (m,) of the series at a position (3,)."""
        found: Floats = cpu.phases_at(self.coefficients, self.per_A, tilts, xyz_A)
        return found


def ctf_image_stack(coefficients: Floats, n: int, extra_cycles: Floats | None = None,
                    damping: Real | None = None, out: Real | None = None,
                    device: str = "cpu") -> Real:
    """Evaluate -sin(gamma) * damping on half transforms of n x n images.

    Parameters
    ----------
    coefficients : (m, 5) float64               cxx, cxy, cyy, c4, c0 of the phase in cycles,
        gamma / (2 pi) = cxx kx^2 + cxy kx ky + cyy ky^2 + c4 |k|^4 + c0, k in index units
    n : int                                     image size [px]
    extra_cycles : (n, n//2+1) float64 or None  further phase, common to all images
    damping : (m, n, n//2+1) float32 or None    factor of each pixel
    out : (m, n, n//2+1) float32                written when given
    device : "cpu" or "gpu"

    Returns
    -------
    (m, n, n//2+1) float32, at least 1e-8 in magnitude, exact to 3e-7
    """
    coefficients, extra = _phase(coefficients, n, extra_cycles)
    shape = (len(coefficients), n, n // 2 + 1)
    if damping is not None and damping.shape != shape:
        raise ValueError(f"damping has shape {damping.shape}, expected {shape}")
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, expected C-ordered float32 {shape}")
    kernel: Any = cpu.ctf_images
    if check_device(device):
        from sta_mpi.kernels.ctf import cuda

        kernel = cuda.ctf_images
    damp = np.zeros((0, 0, 0), np.float32) if damping is None else damping
    kernel(coefficients, extra, np.ascontiguousarray(damp, np.float32), out)
    return out


class MaskedTilts(NamedTuple):
    """What the masked patches of the tilts of a series are weighed with; made by `masked_tilts`.

    Parameters
    ----------
    coefficients, per_A, extra_cycles : see `TiltPhases`; extra_cycles is empty where there is none
    static, noise, particle : (n_tilts, n, n//2+1) float32
    """

    coefficients: Floats
    per_A: Floats
    extra_cycles: Floats
    static: Real
    noise: Real
    particle: Real

    @property
    def nbytes(self) -> int:
        """Memory of the images."""
        return self.static.nbytes + self.noise.nbytes + self.particle.nbytes


def masked_tilts(phases: TiltPhases, static: Real, noise: Real, particle: Real) -> MaskedTilts:
    """The parts of all tilts of a series, checked once; ValueError where they do not fit."""
    shape, n = static.shape, static.shape[1]
    if shape != (len(static), n, n // 2 + 1) or noise.shape != shape or particle.shape != shape:
        raise ValueError(f"parts have shapes {shape}, {noise.shape} and {particle.shape}, expected "
                         "all (n_tilts, n, n//2+1)")
    expected = (len(static), 5), (len(static), 3)
    if (phases.coefficients.shape, phases.per_A.shape) != expected:
        raise ValueError(f"coefficients have shape {phases.coefficients.shape} and those per Å "
                         f"{phases.per_A.shape}, expected {expected[0]} and {expected[1]}")
    extra = _NO_PHASE if phases.extra_cycles is None else _checked_extra(phases.extra_cycles, n)
    coefficients, per_A = (np.ascontiguousarray(x, np.float64)
                           for x in (phases.coefficients, phases.per_A))
    static, noise, particle = (np.ascontiguousarray(x, np.float32)
                               for x in (static, noise, particle))
    return MaskedTilts(coefficients, per_A, extra, static, noise, particle)


def weigh_masked_samples(of_series: MaskedTilts, xyz_A: Floats, tilts: NDArray[np.intp],
                         data: Complex, share: Real | None = None, data_scale: float = 1.0,
                         reach_px: float = np.inf, limits_px: Floats | None = None
                         ) -> tuple[Complex, Real]:
    """The samples of masked patches times their factor, and their weights.

    With q = CTF^2 - 1/2, signal b = 1/2 + particle q and noise p = 1/2 + noise q the factor is
    b / p and the weight is static b^2 / p. One pass, on the CPU alone: samples are made there.

    Parameters
    ----------
    of_series : MaskedTilts                     of the tilts of the series
    xyz_A : (3,) float64                        position of the particle
    tilts : (m,) int                            whose tilts these are
    data : (m, n, n//2+1) complex64             C-ordered
    share : (n, n//2+1) float32 or None         factor of samples and weights
    data_scale : float                          further factor of the samples, used with a share
    reach_px : float                            largest |k| of interest [index units]: samples and
                                                weights beyond are 0
    limits_px : (n_tilts,) float64 or None      and so they are beyond that of their tilt

    Returns
    -------
    (m, n, n//2+1) complex64 and float32
    """
    n_tilts, *image = of_series.static.shape
    if data.shape != (len(tilts), *image):
        raise ValueError(f"data have shape {data.shape}, expected {(len(tilts), *image)}")
    if data.dtype != np.complex64 or not data.flags.c_contiguous:
        raise ValueError(f"data are {data.dtype}, expected C-ordered complex64")
    if limits_px is None:
        limits_px = _NO_LIMITS
    elif limits_px.shape != (n_tilts,):
        raise ValueError(f"limits have shape {limits_px.shape}, expected {(n_tilts,)}")
    if share is None:
        share = _NO_SHARE
    elif share.shape != data.shape[1:]:
        raise ValueError(f"share has shape {share.shape}, expected {data.shape[1:]}")
    samples, weight = np.empty(data.shape, np.complex64), np.empty(data.shape, np.float32)
    masked = data.view(np.float32)
    masked.flags.writeable = False    # data may be either, and each would be compiled for
    if not cpu.weigh_masked(*of_series, xyz_A, tilts, share, np.float32(data_scale), limits_px,
                            float(reach_px), masked, samples, weight):
        raise ValueError(f"tilts are {tilts}, expected numbers from 0 to {n_tilts - 1}")
    return samples, weight


def _phase(coefficients: Floats, n: int, extra_cycles: Floats | None) -> tuple[Floats, Floats]:
    """Checked coefficients, and the further phase, empty for none."""
    coefficients = np.ascontiguousarray(coefficients, np.float64)
    if coefficients.shape != (len(coefficients), 5):
        raise ValueError(f"coefficients have shape {coefficients.shape}, expected (m, 5)")
    if extra_cycles is None:
        return coefficients, _NO_PHASE
    return coefficients, _checked_extra(extra_cycles, n)


def _checked_extra(extra_cycles: Floats, n: int) -> Floats:
    if extra_cycles.shape != (n, n // 2 + 1):
        raise ValueError(f"extra_cycles has shape {extra_cycles.shape}, expected "
                         f"{(n, n // 2 + 1)}")
    return np.ascontiguousarray(extra_cycles, np.float64)
