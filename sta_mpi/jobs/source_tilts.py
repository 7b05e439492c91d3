"""Particles cut from tilt images, which are kept once a node, at the binning of the maps."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import SeriesObserver
from sta_mpi.data import TiltSeries
from sta_mpi.errors import DataError, InputError
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.sources import ObservationOptions, within_dose
from sta_mpi.jobs.tilt_images import check_image_numbers, series_images
from sta_mpi.jobs.window_size import window_edges_px
from sta_mpi.kernels.images import moments
from sta_mpi.signal.binning import binned_image
from sta_mpi.signal.fft import FftPlans, Shape, Window
from sta_mpi.signal.noise import noise_spectrum

Floats = NDArray[np.float64]

NOISE_TILE_PX = 256
"""Tiles of the noise spectrum of a tilt image, unless the image is smaller."""


@dataclass
class TiltSeriesSource:
    """Particles cut from tilt images, which are kept once a node."""

    inputs: InputSet
    options: ObservationOptions
    n_slots: int = 1
    kind: str = "tilt-series"
    _store: Any = None
    _plans: Any = None
    _observers: dict[int, SeriesObserver] = field(default_factory=dict)

    def fft_shapes(self) -> list[Shape]:
        """Windows that patches are cut out of."""
        edges = {edge for ts in self.inputs.used_series for edge in self._edges_px(ts).tolist()}
        return [Window(edge, self.options.frame.box_px) for edge in sorted(edges)]

    def _edges_px(self, ts: TiltSeries) -> NDArray[np.intp]:
        """Edge of the window of each tilt; without a CTF nothing is delocalised."""
        frame, weighting = self.options.frame, self.options.weighting
        return window_edges_px(frame.box_px, frame.cut_px, frame.voxel_A, ts,
                               weighting.ctf and weighting.dose)

    def gain(self, half: int) -> float:
        """Tilt images are scaled to sd 1 when they are cut."""
        return 1.0

    def bytes_shared(self) -> int:
        """Node-shared memory of the tilt images that are held at once."""
        return 4 * self.n_slots * self._largest()

    def _largest(self) -> int:
        """Numbers that the largest series takes."""
        binning = self.options.frame.binning
        return max(SeriesImages.size(ts, binning) for ts in self.inputs.used_series)

    def check(self) -> None:
        """Refuse series whose particles cannot be located on images."""
        beside = [self.inputs.paths.tomograms, self.inputs.paths.particles]
        for ts in self.inputs.used_series:
            if ts.image_size_px is None:
                raise InputError(
                    f"tilt series {ts.name}: its images cannot be read (first: "
                    f"{ts.image_names[0] if ts.image_names else 'none named'}). Check "
                    "rlnMicrographName and start in the project folder.")
            if not ts.has_positions:
                raise InputError(f"tilt series {ts.name}: the shifts of its tilts are unknown. "
                                 "Give rlnTomoXShiftAngst and rlnTomoYShiftAngst.")
            self._check_box(ts, ts.image_size_px)
            check_image_numbers(ts, beside)

    def _check_box(self, ts: TiltSeries, image_size_px: tuple[int, int]) -> None:
        frame = self.options.frame
        window = frame.box_px * frame.binning
        if window > min(image_size_px):
            raise InputError(
                f"tilt series {ts.name}: a box of {frame.box_px} px at binning {frame.binning} "
                f"covers {window} px of the images, which have {image_size_px[0]} x "
                f"{image_size_px[1]} px. Use a smaller --box-px.")

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Allocate node-shared slots, once; images are read when first needed."""
        self._plans = plans
        self._observers.clear()
        if self._store is None:
            self._store = runtime.slots(self.n_slots, (self._largest(),), np.float32)

    @contextmanager
    def loaded(self, i_tomo: int) -> Iterator["SeriesImages"]:
        """Images of a series with their statistics, read by the first rank that asks."""
        ts = self.inputs.series[i_tomo]
        with self._store.load_once(i_tomo, lambda a: self._load(ts, self._images(ts, a)),
                                   for_unit=True) as flat:
            yield self._images(ts, flat)

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Cut particle `row` at its picked position plus offset."""
        particles = self.inputs.particles
        i_tomo = int(particles.i_tomo[row])
        ts = self.inputs.series[i_tomo]
        xyz_A = particles.xyz_A[row] + offset_A
        with self.loaded(i_tomo) as slot:
            observer = self._observer(i_tomo, slot)
            tilts = within_dose(observer.visible_tilts(xyz_A), ts,
                                 self.options.max_dose_e_per_A2)
            if len(tilts) == 0:
                return None
            motion_A = None if self.inputs.motion_A is None else self.inputs.motion_A[row]
            return observer.observe(
                list(slot.images), xyz_A, tilts, str(particles.names[row]), motion_A)

    def model_group(self, row: int) -> int:
        """Particles of one series share noise and transfer."""
        return int(self.inputs.particles.i_tomo[row])

    def _observer(self, i_tomo: int, slot: "SeriesImages") -> SeriesObserver:
        """The observer of a series; only the last one is kept, units come by series."""
        if i_tomo not in self._observers:
            self._observers.clear()
            self._observers[i_tomo] = SeriesObserver(
                self.inputs.series[i_tomo], slot.mean.astype(float), slot.sd.astype(float),
                slot.noise.astype(float), self.options.frame, self.options.weighting,
                self._plans, self._edges_px(self.inputs.series[i_tomo]))
        return self._observers[i_tomo]

    def _images(self, ts: TiltSeries, flat: NDArray[np.float32]) -> "SeriesImages":
        return SeriesImages(ts, flat, self.options.frame.binning)

    def _load(self, ts: TiltSeries, slot: "SeriesImages") -> None:
        beside = [self.inputs.paths.tomograms, self.inputs.paths.particles]
        width, height = _image_size(ts)
        for i, raw in enumerate(series_images(ts, beside)):
            if raw.shape != (height, width):
                raise DataError(
                    f"tilt series {ts.name}, tilt {i + 1}: image {ts.image_names[i]} has "
                    f"{raw.shape[1]} x {raw.shape[0]} px, the first one {ts.image_size_px}. "
                    "Use images of one size.")
            image = np.asarray(raw, np.float32)
            n_finite, slot.mean[i], slot.sd[i] = moments(image)
            slot.noise[i] = self._noise(
                image, n_finite == image.size, slot.mean[i], slot.sd[i], slot.noise.shape[1])
            slot.images[i] = binned_image(image, self.options.frame.binning, float(slot.mean[i]))

    def _noise(self, image: NDArray[np.float32], is_finite: bool, mean: np.float32, sd: np.float32,
               n_shells: int) -> Floats:
        """Noise spectrum at sd 1; pixels that are no numbers count as the mean."""
        if not self.options.measured_noise or sd <= 0:
            return np.ones(n_shells)
        pixels = image if is_finite else np.where(np.isfinite(image), image, mean)
        spectrum = noise_spectrum(pixels, 2 * (n_shells - 1)) / float(sd) ** 2
        return np.maximum(spectrum, 1e-4 * spectrum.max())


class SeriesImages:
    """One tilt series in a flat float32 array: binned images, and what the whole ones had.

    Attributes
    ----------
    images : (t, h // binning, w // binning) float32
    mean, sd : (t,) float32       of the images before binning
    noise : (t, n_shells)         their noise spectra at sd 1
    """

    def __init__(self, ts: TiltSeries, flat: NDArray[np.float32], binning: int) -> None:
        n, (width, height), n_shells = ts.n_tilts, _binned_size(ts, binning), _n_shells(ts)
        sizes = np.cumsum([n * height * width, n, n, n * n_shells])
        images, mean, sd, noise = np.split(flat[: sizes[-1]], sizes[:-1])
        self.images = images.reshape(n, height, width)
        self.mean, self.sd = mean, sd
        self.noise = noise.reshape(n, n_shells)

    @staticmethod
    def size(ts: TiltSeries, binning: int) -> int:
        """Numbers that a series takes."""
        width, height = _binned_size(ts, binning)
        return ts.n_tilts * (width * height + 2 + _n_shells(ts))


def _binned_size(ts: TiltSeries, binning: int) -> tuple[int, int]:
    width, height = _image_size(ts)
    return width // binning, height // binning


def _image_size(ts: TiltSeries) -> tuple[int, int]:
    assert ts.image_size_px is not None
    return ts.image_size_px


def _n_shells(ts: TiltSeries) -> int:
    tile = min(NOISE_TILE_PX, *_image_size(ts)) // 2 * 2
    return tile // 2 + 1
