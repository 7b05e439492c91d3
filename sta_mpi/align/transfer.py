"""What a tilt series does to the transform of a particle: damping, CTF and noise of its tilts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.dose_limits import limits_of_best
from sta_mpi.align.observation import Share
from sta_mpi.data import TiltSeries
from sta_mpi.kernels.ctf import (
    MaskedTilts,
    TiltPhases,
    ctf_image_stack,
    masked_tilts,
    weigh_masked_samples,
)
from sta_mpi.signal.ctf import (
    ctf_coefficients,
    ctf_images,
    odd_aberration_factors,
    tilt_phases,
)
from sta_mpi.signal.delocalisation import oscillation_kept
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.noise import interpolate_spectrum
from sta_mpi.signal.radial import radial_grid

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Transforms = NDArray[np.complex64]


@dataclass(frozen=True)
class Weighting:
    """Which parts of the imaging model are used."""

    ctf: bool = True
    dose: bool = True
    scale: bool = True


def transfer_without_ctf(series: TiltSeries, n_px: int, pixel_A: float, weighting: Weighting
                         ) -> Images:
    """Scale times dose damping of every tilt, (n_tilts, n, n//2+1)."""
    grid = radial_grid((n_px, n_px // 2 + 1))
    s_per_A = grid.radii / (n_px * pixel_A)
    transfer = np.ones((series.n_tilts, *grid.place.shape), np.float32)
    for i in range(series.n_tilts):
        if weighting.dose:
            transfer[i] = grid.spread(dose_damping(
                series.pre_dose_e_per_A2[i], s_per_A,
                b_factor_per_dose_A2=series.b_factor_per_dose_A2,
                ctf_b_factor_A2=series.ctf_b_factor_A2[i]))
        if weighting.scale:
            transfer[i] *= np.float32(series.ctf_scale[i])
    return transfer


def spectrum_images(spectra: Floats, n_px: int) -> Images:
    """Noise power per tilt as images: (m, n_shells) spectra to (m, n, n//2+1)."""
    grid = radial_grid((n_px, n_px // 2 + 1))
    out = np.empty((len(spectra), *grid.place.shape), np.float32)
    for image, spectrum in zip(out, spectra, strict=True):
        image[...] = grid.spread_shells(interpolate_spectrum(spectrum, n_px))
    return out


class TransferModel:
    """Transfer and noise of the tilts of one series, on grids of any size.

    Parameters
    ----------
    series : TiltSeries
    noise : (n_tilts, n_shells) float64   noise power from 0 to Nyquist of the binned image
    voxel_A : float                       binned pixel
    diameter_A : float or None            of the circle that masks patches; None: they are not
    """

    def __init__(self, series: TiltSeries, noise: Floats, voxel_A: float, weighting: Weighting,
                 diameter_A: float | None = None) -> None:
        self.series, self.voxel_A, self.weighting = series, voxel_A, weighting
        self._noise, self._diameter_A = noise, diameter_A
        self._of_masked: dict[int, MaskedTilts] = {}
        self._static: dict[int, Images] = {}
        self._inverse_noise: dict[int, Images] = {}
        self._without_ctf: dict[tuple[int, int], Images] = {}
        self._phases: dict[int, TiltPhases] = {}
        self._coarser: dict[float, TransferModel] = {}
        self._limits: dict[int, Floats] = {}

    @property
    def nbytes(self) -> int:
        """Memory of the images that it keeps for its tilts, those of coarser models included."""
        kept = [*self._static.values(), *self._inverse_noise.values(), *self._without_ctf.values()]
        return (sum(image.nbytes for image in kept)
                + sum(parts.nbytes for parts in self._of_masked.values())
                + sum(model.nbytes for model in self._coarser.values()))

    def transfer(self, n_px: int, xyz_A: Floats, tilts: NDArray[np.intp]) -> Images:
        """Transfer a = s D CTF of `tilts` for a particle at xyz_A, (m, n, n//2+1)."""
        if n_px not in self._static:
            self._static[n_px] = transfer_without_ctf(
                self.series, n_px, self.voxel_A, self.weighting)
        transfer = self._static[n_px][tilts]
        if self.weighting.ctf:
            parameters = ctf_coefficients(self.series.select_tilts(tilts), xyz_A)
            transfer *= ctf_images(parameters, n_px, self.voxel_A)
        return transfer

    def inverse_noise(self, n_px: int, tilts: NDArray[np.intp]) -> Images:
        """1 / sigma^2 of `tilts`, (m, n, n//2+1)."""
        if n_px not in self._inverse_noise:
            self._inverse_noise[n_px] = 1.0 / spectrum_images(self._noise, n_px)
        return self._inverse_noise[n_px][tilts]

    def filters(self, edges_px: NDArray[np.intp], xyz_A: Floats, tilts: NDArray[np.intp]
                ) -> Iterator[Images]:
        """a / sigma^2 of each of `tilts` in turn, (n, n//2+1), until the next is asked for.

        `edges_px` (m,) are the sizes n of the grids of these tilts.
        """
        sizes = set(edges_px.tolist())
        for n_px in sizes:
            self._prepare_filters(n_px, tilts[edges_px == n_px])
        statics = (self._without_ctf[size, tilt]
                   for size, tilt in zip(edges_px.tolist(), tilts.tolist(), strict=True))
        if not self.weighting.ctf:
            yield from statics
            return
        phases = {n_px: self._phases_of(n_px).at(xyz_A, tilts) for n_px in sizes}
        out = {n_px: np.empty((1, n_px, n_px // 2 + 1), np.float32) for n_px in sizes}
        for i, (static, n_px) in enumerate(zip(statics, edges_px.tolist(), strict=True)):
            extra = self._phases_of(n_px).extra_cycles
            yield ctf_image_stack(phases[n_px][i : i + 1], n_px, extra, static[None],
                                  out[n_px])[0]

    def _prepare_filters(self, n_px: int, tilts: NDArray[np.intp]) -> None:
        """Keep a / sigma^2 without the CTF of tilts on a grid."""
        new = [tilt for tilt in tilts.tolist() if (n_px, tilt) not in self._without_ctf]
        if new:
            static = transfer_without_ctf(
                self.series.select_tilts(np.array(new)), n_px, self.voxel_A, self.weighting)
            static /= spectrum_images(self._noise[new], n_px)
            self._without_ctf |= {(n_px, tilt): image
                                  for tilt, image in zip(new, static, strict=True)}

    def weight(self, n_px: int, xyz_A: Floats, tilts: NDArray[np.intp]) -> Images:
        """a^2 / sigma^2, (m, n, n//2+1)."""
        transfer = self.transfer(n_px, xyz_A, tilts)
        transfer *= transfer
        transfer *= self.inverse_noise(n_px, tilts)
        return transfer

    def weigh(self, masked: Transforms, xyz_A: Floats, tilts: NDArray[np.intp],
              share: Share | None = None, reach_px: float = np.inf,
              limits_px: Floats | None = None) -> tuple[Transforms, Images]:
        """Samples and weights of the transforms of masked patches.

        Masked transforms are d = b V + noise of power p, where b and p are a^2 / sigma^2 as far
        as the circle keeps its oscillation (see `signal.delocalisation`). Multiplied by b / p
        they have the weight b^2 / p: its product with V is what to expect of them, and it is
        their noise power, as for a sample without a mask.

        Parameters
        ----------
        masked : (m, n, n//2+1) complex64    of `tilts` (m,) of the particle at xyz_A
        share : Share or None                that they are multiplied by
        reach_px : float                     |k| beyond which nobody asks for them: they may be 0
        limits_px : (n_tilts,) or None       and such a |k| for each tilt of the series

        Returns
        -------
        (m, n, n//2+1) complex64 and float32
        """
        n_px = masked.shape[1]
        if self._diameter_A is None or not self.weighting.ctf:
            weight = self.weight(n_px, xyz_A, tilts)
            return (masked.copy(), weight) if share is None else share.of(masked, weight)
        if n_px not in self._of_masked:
            self._of_masked[n_px] = self._masked_parts(n_px, self._diameter_A)
        factor, scale = (None, 1.0) if share is None else (share.factor, share.data_scale)
        return weigh_masked_samples(self._of_masked[n_px], xyz_A, tilts, masked, factor, scale,
                                    reach_px, limits_px)

    def _phases_of(self, n_px: int) -> TiltPhases:
        """Of the CTF of all tilts on a grid."""
        if n_px not in self._phases:
            self._phases[n_px] = tilt_phases(self.series, n_px, self.voxel_A)
        return self._phases[n_px]

    def _masked_parts(self, n_px: int, diameter_A: float) -> MaskedTilts:
        """(s D)^2 / sigma^2 and the shares of the oscillation kept, of every tilt."""
        static = transfer_without_ctf(self.series, n_px, self.voxel_A, self.weighting) ** 2
        static /= spectrum_images(self._noise, n_px)
        noise, particle = np.empty_like(static), np.empty_like(static)
        optics, grid = self.series.optics, radial_grid((n_px, n_px // 2 + 1))
        fine = np.linspace(0.0, grid.radii[-1], 8 * n_px)
        for i, defocus_A in enumerate((self.series.defocus_u_A + self.series.defocus_v_A) / 2):
            kept = oscillation_kept(fine / (n_px * self.voxel_A), float(defocus_A),
                                    optics.wavelength_A, optics.cs_mm, diameter_A)
            noise[i] = grid.spread(np.interp(grid.radii, fine, kept.noise))
            particle[i] = grid.spread(np.interp(grid.radii, fine, kept.particle))
        return masked_tilts(self._phases_of(n_px), static, noise, particle)

    def dose_limits_px(self, n_px: int) -> Floats | None:
        """Radius (n_tilts,) up to which samples of a grid count [index units]; None: no limit.

        Beyond it the dose has left too little of the signal, see `dose_limits.limits_of_best`.
        """
        if not self.weighting.dose:
            return None
        if n_px not in self._limits:
            series = self.series
            self._limits[n_px] = limits_of_best(
                series.pre_dose_e_per_A2, n_px, self.voxel_A, series.b_factor_per_dose_A2,
                series.ctf_b_factor_A2).astype(np.float64)
        return self._limits[n_px]

    def coarser(self, factor: float) -> "TransferModel":
        """The same model for pixels that are `factor` times as large."""
        if factor not in self._coarser:
            last = self._noise.shape[1] - 1
            wanted = np.linspace(0, last / factor, max(2, math.ceil(last / factor) + 1))
            noise = np.stack([np.interp(wanted, np.arange(last + 1), row) for row in self._noise])
            self._coarser[factor] = TransferModel(
                self.series, noise, self.voxel_A * factor, self.weighting, self._diameter_A)
        return self._coarser[factor]

    def fresh(self) -> "TransferModel":
        """The same model without the images that it keeps for its tilts: a few kB."""
        return TransferModel(self.series, self._noise, self.voxel_A, self.weighting,
                             self._diameter_A)

    def odd_phases(self, n_px: int) -> NDArray[np.complex64] | None:
        """Factors that undo the odd aberrations of the images; None without any."""
        return odd_aberration_factors(self.series.optics, n_px, self.voxel_A)
