"""The true geometry, dose and defocus of a simulated tilt series, tilt by tilt.

A tilt moves the specimen under a fixed beam along z. With right-handed rotations, in this
order: pitch about x, tilt about the stage axis y, then the turn of the image plane that puts
the tilt axis at its angle. The formulas are written out per coordinate, apart from
`geometry.projection`:

    pitch  y1 = y cos a - z sin a       z1 = y sin a + z cos a
    tilt   x2 = x cos t + z1 sin t      z2 = -x sin t + z1 cos t
    axis   X  = x2 cos r - y1 sin r     Y  = x2 sin r + y1 cos r     depth = z2

Coordinates are Å from the tomogram centre; X, Y are Å from pixel (width // 2, height // 2) of
the image before the tilt's shift is added. Rows are in the order of the series' table; the
dose says in which order the tilts were taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One tilt: everything the image of a particle depends on."""

    M: Floats
    shift_A: Floats
    pre_dose_e_per_A2: float
    defocus_u_A: float
    defocus_v_A: float
    astig_deg: float
    phase_shift_deg: float
    scale: float
    b_factor_A2: float


@dataclass(frozen=True)
class SeriesGeometry:
    """A tilt series as the microscope took it.

    Parameters
    ----------
    name : str
    pixel_A : float
    optics : Optics
    x_tilt_deg, tilt_deg, axis_deg : (n,) float64   pitch, tilt, tilt-axis angle
    shift_A : (n, 2) float64                        image shift, x then y
    pre_dose_e_per_A2 : (n,) float64
    defocus_u_A, defocus_v_A, astig_deg : (n,) float64   at the tomogram centre
    phase_shift_deg : (n,) float64
    scale : (n,) float64                            signal amplitude of the tilt
    b_factor_A2 : (n,) float64                      damping of tilts of unknown (negative) dose
    hand : int                                      +1: defocus grows with depth; -1: it falls
    defocus_slope : float                           change of defocus per Å of depth
    b_factor_per_dose_A2 : float                    0 for the critical-exposure model
    tomogram_size_px : (3,) int, image_size_px : (2,) int   xyz, width and height
    """

    name: str
    pixel_A: float
    optics: Optics
    x_tilt_deg: Floats
    tilt_deg: Floats
    axis_deg: Floats
    shift_A: Floats
    pre_dose_e_per_A2: Floats
    defocus_u_A: Floats
    defocus_v_A: Floats
    astig_deg: Floats
    phase_shift_deg: Floats
    scale: Floats
    b_factor_A2: Floats
    hand: int
    tomogram_size_px: tuple[int, int, int]
    image_size_px: tuple[int, int]
    defocus_slope: float = 1.0
    b_factor_per_dose_A2: float = 0.0

    @property
    def n_tilts(self) -> int:
        """Number of tilts."""
        return len(self.tilt_deg)

    def view(self, i_tilt: int) -> View:
        """The tilt in row `i_tilt`."""
        return View(tilt_matrix(self.x_tilt_deg[i_tilt], self.tilt_deg[i_tilt],
                                self.axis_deg[i_tilt]),
                    self.shift_A[i_tilt], float(self.pre_dose_e_per_A2[i_tilt]),
                    float(self.defocus_u_A[i_tilt]), float(self.defocus_v_A[i_tilt]),
                    float(self.astig_deg[i_tilt]), float(self.phase_shift_deg[i_tilt]),
                    float(self.scale[i_tilt]), float(self.b_factor_A2[i_tilt]))

    def views(self) -> Iterator[View]:
        """All tilts in row order."""
        return (self.view(i) for i in range(self.n_tilts))

    def depth_defocus_A(self, depth_A: Floats) -> Floats:
        """What depth adds to the defocus of a particle."""
        return self.hand * self.defocus_slope * np.asarray(depth_A)

    def position_px(self, view: View, xyz_A: Floats) -> tuple[Floats, Floats]:
        """Pixels (..., 2), x then y, and depth (...) [Å] of positions (..., 3) in a tilt."""
        image_A = np.asarray(xyz_A) @ view.M.T
        centre = np.array([size // 2 for size in self.image_size_px])
        return (image_A[..., :2] + view.shift_A) / self.pixel_A + centre, image_A[..., 2]

    def with_alignment_errors(self, rng: np.random.Generator, shift_error_A: float,
                              tilt_error_deg: float, axis_error_deg: float) -> "SeriesGeometry":
        """The same series with normal errors of these standard deviations on every tilt."""
        n = self.n_tilts
        return replace(self,
                       shift_A=self.shift_A + shift_error_A * rng.standard_normal((n, 2)),
                       tilt_deg=self.tilt_deg + tilt_error_deg * rng.standard_normal(n),
                       axis_deg=self.axis_deg + axis_error_deg * rng.standard_normal(n))


def tilt_matrix(x_tilt_deg: float, tilt_deg: float, axis_deg: float) -> Floats:
    """Matrix (3, 3) of the formulas above: tomogram axes to image axes and beam."""
    a, t, r = np.radians([x_tilt_deg, tilt_deg, axis_deg])
    ca, sa, ct, st, cr, sr = np.cos(a), np.sin(a), np.cos(t), np.sin(t), np.cos(r), np.sin(r)
    y1, z1 = np.array([0.0, ca, -sa]), np.array([0.0, sa, ca])
    x2, z2 = np.array([ct, 0.0, 0.0]) + st * z1, np.array([-st, 0.0, 0.0]) + ct * z1
    return np.stack([cr * x2 - sr * y1, sr * x2 + cr * y1, z2])


def acquisition_order(angles_deg: Floats, scheme: str, group: int = 1) -> NDArray[np.intp]:
    """Rows of ascending `angles_deg` in the order in which a scheme takes them.

    Parameters
    ----------
    angles_deg : (n,) float64, ascending
    scheme : {"dose-symmetric", "bidirectional", "unidirectional"}
        From the angle nearest 0 outwards with alternating sides (`group` tilts a side at a
        time, the positive side first); from there up and then down; from the lowest up.
    """
    start = int(np.argmin(np.abs(angles_deg)))
    up = list(range(start + 1, len(angles_deg)))
    down = list(range(start - 1, -1, -1))
    if scheme == "unidirectional":
        return np.arange(len(angles_deg))
    if scheme == "bidirectional":
        return np.array([start, *up, *down])
    if scheme != "dose-symmetric":
        raise ValueError(f"unknown tilt scheme {scheme!r}")
    order = [start]
    while up or down:
        order += up[:group] + down[:group]
        up, down = up[group:], down[group:]
    return np.array(order)


def tilt_angles(lowest_deg: float, highest_deg: float, step_deg: float) -> Floats:
    """Ascending tilt angles from `lowest_deg` to at most `highest_deg`."""
    n = int(np.floor((highest_deg - lowest_deg) / step_deg + 1e-6)) + 1
    return np.asarray(lowest_deg + step_deg * np.arange(n), np.float64)


def pre_doses(order: NDArray[np.intp], dose_per_tilt_e_per_A2: float) -> Floats:
    """Dose received before each row, given the acquisition order."""
    pre_dose = np.empty(len(order))
    pre_dose[order] = dose_per_tilt_e_per_A2 * np.arange(len(order))
    return pre_dose


def tilt_scales(x_tilt_deg: Floats, tilt_deg: Floats, model: str,
                thickness_A: float = 2000.0, mean_free_path_A: float = 3000.0) -> Floats:
    """Signal amplitude of each tilt.

    "none": 1. "cosine": cos of the angle between beam and slab normal. "ice": unscattered
    fraction exp(-(t / L)(1 / cos - 1)) of a slab of thickness t with inelastic mean free
    path L, relative to the untilted slab.
    """
    cosine = np.cos(np.radians(tilt_deg)) * np.cos(np.radians(x_tilt_deg))
    if model == "none":
        return np.ones_like(cosine)
    if model == "cosine":
        return np.asarray(cosine)
    if model != "ice":
        raise ValueError(f"unknown model of the tilt scale {model!r}")
    return np.asarray(np.exp(-(thickness_A / mean_free_path_A) * (1.0 / cosine - 1.0)))
