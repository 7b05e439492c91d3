"""Which samples of a tilt still hold signal after its dose: counts for the pose polish.

A tilt's share of the information at spatial frequency k is proportional to D(k)^2, with D
the dose damping (`signal.dose`, Grant & Grigorieff, eLife 2015, or a B-factor per dose). Where
that has fallen below a small share, samples cost time and tell nothing. D falls with k, so each
tilt keeps the samples up to a radius. The samples of a layout are sorted by band, so a tilt
keeps whole bands: its limit is rounded up to the next band edge, and `ring_bands` makes bands
that are thin enough for this to be close.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.kernels.polish.samples import SampleLayout
from sta_mpi.signal.dose import dose_damping

Floats = NDArray[np.float64]


DOSE_SHARE = 1e-3
"""Share of the signal's power below which samples are left out."""


def dose_limits(pre_dose_e_per_A2: ArrayLike, n: int, pixel_A: float, share: float = DOSE_SHARE,
                b_factor_per_dose_A2: float = 0.0, ctf_b_factor_A2: ArrayLike = 0.0
                ) -> NDArray[np.int64]:
    """Largest Fourier index of each tilt at which D(k)^2 is at least `share`.

    Parameters
    ----------
    pre_dose_e_per_A2 : (m,) float          dose before each tilt; NaN or negative: not known
    n : int                                 box edge [px]
    pixel_A : float
    share : float                           0 < share <= 1
    b_factor_per_dose_A2, ctf_b_factor_A2   as for `signal.dose.dose_damping`

    Returns
    -------
    (m,) int64   0 to n // 2

    Examples
    --------
    >>> dose_limits([0.0, 60.0, 120.0], 192, 1.35).tolist()
    [96, 38, 22]
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share}, expected above 0 and at most 1")
    s_per_A = np.arange(n // 2 + 1) / (n * pixel_A)
    damping = dose_damping(pre_dose_e_per_A2, s_per_A, b_factor_per_dose_A2, ctf_b_factor_A2)
    return _last_kept(damping**2 >= share)


def limits_of_best(pre_dose_e_per_A2: ArrayLike, n: int, pixel_A: float,
                   b_factor_per_dose_A2: float = 0.0, ctf_b_factor_A2: ArrayLike = 0.0
                   ) -> NDArray[np.int64]:
    """As `dose_limits`, where D(k)^2 is at least `DOSE_SHARE` of the best tilt's at each k.

    No frequency is left without samples. With doses in equal steps all that is beyond the limits
    knows a thousandth of what the tilts know of a frequency together: shares fall from tilt to
    tilt by one factor, so that their sums from the first one and from the limit on have the ratio
    of their first terms.

    Examples
    --------
    >>> limits_of_best([60.0, 120.0], 192, 1.35).tolist()
    [96, 38]
    """
    s_per_A = np.arange(n // 2 + 1) / (n * pixel_A)
    power = dose_damping(pre_dose_e_per_A2, s_per_A, b_factor_per_dose_A2, ctf_b_factor_A2) ** 2
    return _last_kept(power >= DOSE_SHARE * power.max(axis=0))


def _last_kept(is_kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index (m,) of the last frequency up to which all are kept, of (m, n//2+1)."""
    return np.asarray(np.minimum.accumulate(is_kept, axis=-1).sum(axis=-1) - 1, np.int64).clip(0)


def sample_counts(layout: SampleLayout, limits: NDArray[np.integer]) -> NDArray[np.int64]:
    """Samples (m,) of each tilt that lie in the bands which reach into its limit.

    Parameters
    ----------
    layout : SampleLayout
    limits : (m,) int        largest Fourier index of each tilt, of `dose_limits`

    Notes
    -----
    No sample within a limit is left out. Bands of `layout` do not overlap, so the counts are
    those of the bands whose innermost sample is within the limit.
    """
    first = layout.band_start[:-1][np.diff(layout.band_start) > 0]
    last = layout.band_start[1:][np.diff(layout.band_start) > 0]
    if len(first) == 0:
        return np.zeros(len(limits), np.int64)
    radius = np.hypot(layout.kx.astype(float), layout.ky.astype(float))
    innermost = np.minimum.reduceat(radius, first)
    edges = np.concatenate([[0], last])
    return np.asarray(edges[np.searchsorted(innermost, limits, side="right")], np.int64)


@dataclass(frozen=True)
class RingBands:
    """Bands of a layout, and which of them end a stage of the search.

    Parameters
    ----------
    radii : tuple of float    outer radius of each band, for `make_layout`
    stages : tuple of int     bands up to each radius that was wanted, for
                              `PolishSettings.bands`
    """

    radii: tuple[float, ...]
    stages: tuple[int, ...]


def ring_bands(r_max: float, r_bands_wanted: Sequence[float], n_rings: int) -> RingBands:
    """Cut a disc into thin bands that keep the radii at which a search changes its band.

    Parameters
    ----------
    r_max : float                       radius of the disc [index units]
    r_bands_wanted : increasing floats  radii of the stages; the last is r_max
    n_rings : int                       rings of equal area besides; 1: the wanted bands alone

    Notes
    -----
    With equal areas, rounding a limit up costs at most 1 / n_rings of a tilt's samples. A ring
    that would end within half a pixel of a wanted radius is left out.

    Examples
    --------
    >>> ring_bands(24, [6, 12, 24], 4)
    RingBands(radii=(6.0, 12.0, 16.97..., 20.78..., 24.0), stages=(1, 2, 5))
    """
    wanted = [float(r) for r in r_bands_wanted]
    if not wanted or any(b <= a for a, b in zip([0.0, *wanted], wanted, strict=False)) or (
            wanted[-1] != r_max):
        raise ValueError(f"wanted radii are {wanted}, expected increasing ones from above 0 to "
                         f"{r_max:g}")
    if n_rings < 1:
        raise ValueError(f"n_rings is {n_rings}, expected at least 1")
    rings = r_max * np.sqrt(np.arange(1, n_rings) / n_rings)
    extra = [float(r) for r in rings if np.abs(np.array(wanted) - r).min() > 0.5]
    radii = sorted(wanted + extra)
    return RingBands(tuple(radii), tuple(radii.index(r) + 1 for r in wanted))
