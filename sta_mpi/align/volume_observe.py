"""From boxes of tomograms to weighted Fourier samples.

A box is cut, centred, multiplied by the filter of `volume_weights` that whitens it and gives it the
weight of what its tilts measured, masked by the sphere of the box, and paired with its weights. A
`VolumeObserver` is made once a tomogram and half-set, whose noise it measures.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.observe import BoxObservation, Frame, box_mask
from sta_mpi.align.transfer import TransferModel, Weighting
from sta_mpi.align.volume_boxes import Voxels, cut_box
from sta_mpi.align.volume_weights import SEEN, Grid, Seen, seen_by_tilts, smooth_power
from sta_mpi.errors import ParticleError
from sta_mpi.signal.fft import FftPlans, shift_phases_3d

Floats = NDArray[np.float64]

LEAST_INSIDE = 0.6
"""Share of its box that has to lie in the tomogram for a particle to be used."""

MEASURED_BOXES, LEAST_CLEAR = 32, 4
"""Boxes of a tomogram whose power tells the noise: clear of particles where there are so many
places, else those of the half-set's own particles."""

SMOOTH_SAMPLES = 400
"""Samples that a value of the noise power is the mean of, about: 5 % uncertainty."""


class Wedge(Protocol):
    """What the tilts of a tomogram measured of a box of any size at a place."""

    def seen(self, n_px: int, xyz_A: Floats) -> Seen:
        """Sums on the Fourier grid of a box of n_px around xyz_A [Å from the centre]."""


@dataclass(frozen=True)
class StaticWedge:
    """A region of the transform that is the same for all particles, by size of the box."""

    by_size: dict[int, Seen]

    def seen(self, n_px: int, xyz_A: Floats) -> Seen:
        """The region on that grid."""
        return self.by_size[n_px]


class TiltWedge:
    """The slices of a tilt series whose transfer and geometry are known.

    Parameters
    ----------
    model : TransferModel             a of the tilts
    tomogram_model : TransferModel    p: what the tomogram multiplied the tilts by
    ctf_in_tomogram : str             "none": the CTF is still in it; "flipped": its phases are
                                      right everywhere; "flip", "multiply": tilts were multiplied
                                      by the sign of the CTF at the centre, or by all of it
    """

    def __init__(self, model: TransferModel, tomogram_model: TransferModel,
                 ctf_in_tomogram: str) -> None:
        self._model, self._tomogram, self._ctf = model, tomogram_model, ctf_in_tomogram
        self._at_centre = TransferModel(
            model.series, np.ones((model.series.n_tilts, 2)), model.voxel_A,
            Weighting(True, False, False))
        self._kept: tuple[tuple[int, bytes], Seen] | None = None

    def seen(self, n_px: int, xyz_A: Floats) -> Seen:
        """Sums over the tilts whose image holds the place."""
        series = self._model.series
        tilts = np.arange(series.n_tilts)
        if series.image_size_px is not None and series.has_positions:
            at = series.position_px(xyz_A)
            tilts = tilts[((at >= 0) & (at < np.array(series.image_size_px))).all(axis=1)]
        key = (n_px, tilts.tobytes())
        if self._kept is not None and self._kept[0] == key and not self._model.weighting.ctf:
            return self._kept[1]
        transfer = self._model.transfer(n_px, xyz_A, tilts)
        if self._ctf == "flipped":
            transfer = np.abs(transfer)
        weight = self._tomogram.transfer(n_px, xyz_A, tilts)
        if self._ctf in ("flip", "multiply"):
            ctf = self._at_centre.transfer(n_px, np.zeros(3), tilts)
            weight = weight * (np.sign(ctf) if self._ctf == "flip" else ctf)
        axes = np.ascontiguousarray(series.rotation[tilts, :2])
        self._kept = key, seen_by_tilts(transfer, weight, axes)
        return self._kept[1]


class VolumeObserver:
    """Cuts and weights the particles of one tomogram and half-set.

    Parameters
    ----------
    volume : (nz, ny, nx)          voxels, any grey scale
    wedge : Wedge
    sign : float                   -1 where protein is dark in the tomogram
    frame : Frame                  `cut_px` is the window that is filtered, `box_px` what is kept
    """

    def __init__(self, volume: Voxels, wedge: Wedge, sign: float, frame: Frame,
                 plans: FftPlans) -> None:
        self.volume, self.wedge, self.sign = volume, wedge, sign
        self.frame, self.plans = frame, plans
        self._noise: Grid | None = None

    def spectrum(self, position_px: Floats, name: str) -> NDArray[np.complex64] | None:
        """Centred transform of the window around a position; None where too little is inside."""
        n = self.frame.cut_px
        box = cut_box(self.volume, position_px, n)
        if box.inside < LEAST_INSIDE:
            return None
        if not np.isfinite(box.data.sum(dtype=np.float64)):
            raise ParticleError(f"particle {name}: its box in the tomogram holds NaN or Inf. "
                                "Mend the tomogram, or remove the particle.")
        data = (box.data - np.float32(box.data.mean(dtype=np.float64))) * np.float32(self.sign)
        spectrum = self.plans.rfft3(data)
        spectrum *= shift_phases_3d(n, -box.remainder_px)
        return spectrum

    def measure_noise(self, positions_px: Floats, xyz_A: Floats, is_measured: bool = True
                      ) -> None:
        """Noise power of the window's transform from the boxes at positions (m, 3).

        Parameters
        ----------
        is_measured : bool    False: the theoretical shape, with its level from the boxes
        """
        n = self.frame.cut_px
        power = np.zeros((n, n, n // 2 + 1))
        count = 0
        # the sphere alone counts: corners of a box may hold particles of either half-set
        sphere = box_mask(n)
        for position in positions_px:
            box = cut_box(self.volume, position, n)
            if box.inside < LEAST_INSIDE or not np.isfinite(box.data.sum(dtype=np.float64)):
                continue    # the unit of this particle tells it
            mean = float(np.average(box.data, weights=sphere))
            spectrum = self.plans.rfft3(box.data - np.float32(mean), mask=sphere)
            power += spectrum.real.astype(np.float64) ** 2 + spectrum.imag**2
            count += 1
        power /= float(np.mean(sphere.astype(np.float64) ** 2))
        seen = self.wedge.seen(n, np.median(xyz_A, axis=0))
        is_seen = seen.count > SEEN
        if count == 0 or not is_seen.any():
            self._noise = np.zeros(power.shape, np.float32)
        elif is_measured:
            width = 2 * int(np.ceil((SMOOTH_SAMPLES / count) ** (1 / 3) / 2)) + 1
            self._noise = smooth_power(power / count, is_seen, width).astype(np.float32)
        else:
            shape = seen.theoretical_noise()
            level = float((power / count)[is_seen].sum() / shape[is_seen].sum(dtype=np.float64))
            self._noise = np.where(is_seen, shape * np.float32(level), 0).astype(np.float32)

    def observe(self, position_px: Floats, xyz_A: Floats, name: str) -> BoxObservation | None:
        """The weighted box of a particle; None where too little of it is in the tomogram.

        Parameters
        ----------
        position_px : (3,)    voxel index xyz in the tomogram
        xyz_A : (3,)          the same place [Å from the tomogram centre]
        """
        assert self._noise is not None
        spectrum = self.spectrum(position_px, name)
        if spectrum is None:
            return None
        box, cut = self.frame.box_px, self.frame.cut_px
        seen = self.wedge.seen(cut, xyz_A)
        spectrum *= seen.filter(self._noise)
        data = self.plans.irfft3(spectrum)
        start = cut // 2 - box // 2
        kept = slice(start, start + box)
        # the noise of a box grows with its edge, see `FftPlans`; slices lie denser in smaller ones
        spectrum = self.plans.rfft3(data[kept, kept, kept], mask=box_mask(box), factor=cut / box)
        weight = (seen if box == cut else self.wedge.seen(box, xyz_A)).weight()
        merged = BoxSamples(spectrum, weight, np.eye(3))
        return BoxObservation(merged, self.plans)
