"""A tilt series: geometry, dose and CTF of every tilt, as arrays over tilts.

Convention: `P` maps tomogram-centred coordinates (xyz, Å) to the tilt image,

    (x_A, y_A, z_A) = P[i_tilt, :, :3] @ xyz_A + P[i_tilt, :, 3]

where x_A, y_A are offsets from the image's centre pixel (index n // 2 of each axis)
and z_A is the depth along the beam, zero at the tomogram centre. The pixel position is
therefore  q_px = (x_A, y_A) / pixel_A + (width // 2, height // 2).
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data.optics import Optics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TiltSeries:
    """One tilt series of n tilts, in the row order of its table.

    Parameters
    ----------
    name : str
    pixel_A : float                     pixel of the tilt images
    optics : Optics
    P : (n, 3, 4) float64               tomogram-centred Å to image-centred Å and depth;
                                        rows 0-1 may hold NaN shifts when only the
                                        orientation of a tilt is known
    pre_dose_e_per_A2 : (n,) float64    dose before each tilt
    defocus_u_A, defocus_v_A : (n,) float64   underfocus positive, at the tomogram centre
    astig_deg : (n,) float64            angle of defocus_u
    phase_shift_deg : (n,) float64
    ctf_scale : (n,) float64            signal scale s_f of the tilt
    ctf_b_factor_A2 : (n,) float64      damping exp(-B k^2 / 4), used when no dose is known
    hand : int                          +1 if defocus grows with depth z, else -1
    defocus_slope : float               change of defocus per Å of depth
    b_factor_per_dose_A2 : float        > 0: damping exp(-B N k^2 / 4); 0: critical exposure
    tomogram_size_px : (3,) int or None xyz, unbinned pixels
    image_size_px : (2,) int or None    width, height of the tilt images
    image_names : tuple of str          "n@stack" or file, one a tilt
    """

    name: str
    pixel_A: float
    optics: Optics
    P: Floats
    pre_dose_e_per_A2: Floats
    defocus_u_A: Floats
    defocus_v_A: Floats
    astig_deg: Floats
    phase_shift_deg: Floats
    ctf_scale: Floats
    ctf_b_factor_A2: Floats
    hand: int = -1
    defocus_slope: float = 1.0
    b_factor_per_dose_A2: float = 0.0
    tomogram_size_px: tuple[int, int, int] | None = None
    image_size_px: tuple[int, int] | None = None
    image_names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.P)
        if self.P.shape != (n, 3, 4):
            raise ValueError(f"P has shape {self.P.shape}, expected ({n}, 3, 4)")
        for name in _PER_TILT:
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected ({n},)")

    @property
    def n_tilts(self) -> int:
        """Number of tilts."""
        return len(self.P)

    @property
    def rotation(self) -> Floats:
        """(n, 3, 3) tomogram axes to image axes and beam, acting on xyz columns."""
        return self.P[:, :, :3]

    @property
    def has_positions(self) -> bool:
        """Whether particles can be located on the images (shifts and image size known)."""
        return self.image_size_px is not None and bool(np.isfinite(self.P).all())

    def position_px(self, xyz_A: Floats) -> Floats:
        """Project positions (..., 3) Å from the tomogram centre to (..., n, 2) pixels, x then y."""
        if self.image_size_px is None:
            raise ValueError(f"tilt series {self.name}: image size unknown")
        centre = np.array([s // 2 for s in self.image_size_px], float)
        xy_A = np.einsum("fij,...j->...fi", self.P[:, :2, :3], xyz_A) + self.P[:, :2, 3]
        return np.asarray(xy_A / self.pixel_A + centre)

    def depth_A(self, xyz_A: Floats) -> Floats:
        """Depth along the beam of (..., 3) Å positions: (..., n), zero at the tomogram centre."""
        return np.asarray(np.einsum("fj,...j->...f", self.P[:, 2, :3], xyz_A))

    def defocus_offset_A(self, xyz_A: Floats) -> Floats:
        """What depth adds to defocus U and V of positions (..., 3) Å: (..., n)."""
        return self.hand * self.defocus_slope * self.depth_A(xyz_A)

    def select_tilts(self, keep: NDArray[np.intp] | NDArray[np.bool_]) -> "TiltSeries":
        """The same series with only the tilts `keep` (indices or mask), in that order."""
        arrays = {name: getattr(self, name)[keep] for name in _PER_TILT}
        names = tuple(np.array(self.image_names, object)[keep]) if self.image_names else ()
        return replace(self, P=self.P[keep], image_names=names, **arrays)


_PER_TILT = (
    "pre_dose_e_per_A2",
    "defocus_u_A",
    "defocus_v_A",
    "astig_deg",
    "phase_shift_deg",
    "ctf_scale",
    "ctf_b_factor_A2",
)
