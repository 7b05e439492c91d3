"""Particles in a low band: what the search for a first reference works on.

Data and weights of a particle, D = sum over tilts of a X / sigma^2 and W = sum of
a^2 / sigma^2, are merged into the Fourier voxels of its *frame*: axes that are known before any
search (the seed's axes where its normal is known, those of the tomogram otherwise). A pose is then
a rotation and a shift within the frame,

    R_p2t = R_frame2t R,        position = xyz + R_frame2t t,

so that one list of rotations serves all particles, with or without priors: a whole sphere of them,
or a cone about the known normal with all turns about it. Missing wedges, CTF and dose are in W.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.voxel_band import VoxelBand, shifts_of_band
from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.geometry.sampling import cone_rotations, healpix_rotations

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

LIST_STEPS_DEG = {0: 60.0, 1: 30.0, 2: 15.0, 3: 7.5}
"""Step of the rotation lists by HEALPix order."""


@dataclass(frozen=True)
class BandSet:
    """n particles on the k independent voxels of a band.

    Parameters
    ----------
    band : VoxelBand
    data : (n, k) complex64
    weight : (n, k) float32
    """

    band: VoxelBand
    data: NDArray[np.complex64]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.data)

    def select(self, rows: Rows) -> "BandSet":
        """Some of the particles."""
        return BandSet(self.band, self.data[rows], self.weight[rows])

    def within(self, r_max: float) -> "BandSet":
        """The same particles in a lower band, on the same grid."""
        inside = np.linalg.norm(self.band.K_xyz, axis=1) <= r_max
        band = VoxelBand(self.band.box_px, self.band.grid_px, min(r_max, self.band.r_max),
                         self.band.index[inside], self.band.K_xyz[inside])
        return BandSet(band, np.ascontiguousarray(self.data[:, inside]),
                       np.ascontiguousarray(self.weight[:, inside]))


@dataclass(frozen=True)
class PoseLists:
    """Which poses within the frame are searched.

    Parameters
    ----------
    cone_deg : float or None    largest angle between the particle's normal and that of its frame;
                                None: nothing is known of the orientation
    shift_range_px : float      largest shift
    """

    cone_deg: float | None
    shift_range_px: float

    def rotations(self, order: int, rng: np.random.Generator | None) -> Floats:
        """(R, 3, 3), R: particle axes to those of the frame; turned at random as a whole.

        Parameters
        ----------
        order : int                  steps of 60 / 2^order degrees
        rng : Generator or None      a fresh turn of the list, so that no orientation is favoured
                                     over the rounds; None: the list as it is
        """
        step = LIST_STEPS_DEG[order]
        if self.cone_deg is None:
            own = healpix_rotations(order)
            return own if rng is None else np.asarray(random_rotations(1, rng)[0] @ own)
        cone_step = max(min(step, self.cone_deg), 1e-3)
        own = cone_rotations(self.cone_deg, cone_step, 180.0, step)
        if rng is None:
            return own
        turn = rotation_from_vector([0.0, 0.0, rng.random() * 2 * np.pi])
        return np.asarray(own @ turn)

    def shifts_px(self, box_px: int, r_max: float) -> Floats:
        """(S, 3) shifts a quarter of the finest wave apart, the one of zero first."""
        return shifts_of_band(box_px, r_max, self.shift_range_px)
