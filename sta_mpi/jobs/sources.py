"""Where a job's particle images come from: files on one side, observers on the other.

A source is made on every rank, `prepare` is collective (node-shared memory), and
`observe(row, offset_A)` gives one particle's weighted samples, or None for a particle whose
whole box is on no tilt image.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import (
    Frame,
    SeriesObserver,
    StackObserver,
    Weighting,
    observe_box,
)
from sta_mpi.data import TiltSeries
from sta_mpi.errors import DataError, InputError
from sta_mpi.formats.mrc import open_stack, read_mrc
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.tilt_images import check_image_numbers, finite_pixels, series_images
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.noise import noise_spectrum

Floats = NDArray[np.float64]

NOISE_TILE_PX = 256
"""Tiles of the noise spectrum of a tilt image, unless the image is smaller."""

MEASURED_PARTICLES, MEASURED_BOXES = 50, 20
"""Stacks a series, and boxes, whose power tells the noise."""


class Source(Protocol):
    """What a job asks for: weighted samples of one particle."""

    kind: str

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Allocate and read what all particles share; collective."""

    def fft_shapes(self) -> list[tuple[int, ...]]:
        """Real-space shapes of all transforms that observing needs."""

    def check(self) -> None:
        """Refuse what cannot be read, before the start."""

    def bytes_shared(self) -> int:
        """Node-shared memory [bytes]."""

    def observe(self, row: int, offset_A: Floats) -> Any:
        """One particle's observation with the refined offset; has `.samples(size_px)`.

        None where no tilt image holds its whole box: such a particle is left out, not bad data.
        """


@dataclass(frozen=True)
class ObservationOptions:
    """What of the imaging model a job uses, and how noise is weighted."""

    frame: Frame
    weighting: Weighting
    measured_noise: bool
    max_dose_e_per_A2: float | None


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

    def fft_shapes(self) -> list[tuple[int, ...]]:
        """Windows and cut patches."""
        frame = self.options.frame
        window = frame.cut_px * frame.binning
        return [(window, window), (frame.cut_px, frame.cut_px)]

    def bytes_shared(self) -> int:
        """Node-shared memory of the tilt images that are held at once."""
        return 4 * self.n_slots * max(_Slot.size(ts) for ts in self.inputs.used_series)

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
            largest = max(_Slot.size(ts) for ts in self.inputs.used_series)
            self._store = runtime.slots(self.n_slots, (largest,), np.float32)

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Cut particle `row` at its picked position plus offset."""
        particles = self.inputs.particles
        i_tomo = int(particles.i_tomo[row])
        ts = self.inputs.series[i_tomo]
        xyz_A = particles.xyz_A[row] + offset_A
        with self._store.load_once(i_tomo, lambda a: self._load(ts, _Slot(ts, a))) as flat:
            slot = _Slot(ts, flat)
            observer = self._observer(i_tomo, slot)
            tilts = _within_dose(observer.visible_tilts(xyz_A), ts,
                                 self.options.max_dose_e_per_A2)
            if len(tilts) == 0:
                return None
            motion_A = None if self.inputs.motion_A is None else self.inputs.motion_A[row]
            return observer.observe(
                list(slot.images), xyz_A, tilts, str(particles.names[row]), motion_A)

    def _observer(self, i_tomo: int, slot: "_Slot") -> SeriesObserver:
        """The observer of a series; only the last one is kept, units come by series."""
        if i_tomo not in self._observers:
            self._observers.clear()
            self._observers[i_tomo] = SeriesObserver(
                self.inputs.series[i_tomo], slot.mean.astype(float), slot.sd.astype(float),
                slot.noise.astype(float), self.options.frame, self.options.weighting,
                self._plans)
        return self._observers[i_tomo]

    def _load(self, ts: TiltSeries, slot: "_Slot") -> None:
        beside = [self.inputs.paths.tomograms, self.inputs.paths.particles]
        for i, image in enumerate(series_images(ts, beside)):
            if image.shape != slot.images.shape[1:]:
                raise DataError(
                    f"tilt series {ts.name}, tilt {i + 1}: image {ts.image_names[i]} has "
                    f"{image.shape[1]} x {image.shape[0]} px, the first one {ts.image_size_px}. "
                    "Use images of one size.")
            slot.images[i] = image
            values = finite_pixels(slot.images[i])
            slot.mean[i] = values.mean(dtype=np.float64)
            slot.sd[i] = values.std(dtype=np.float64)
            slot.noise[i] = self._noise(slot, i)

    def _noise(self, slot: "_Slot", i: int) -> Floats:
        n_shells = slot.noise.shape[1]
        sd = slot.sd[i]
        if not self.options.measured_noise or not np.isfinite(sd) or sd <= 0:
            return np.ones(n_shells)
        image = (slot.images[i] - slot.mean[i]) / sd
        if finite_pixels(image) is not image:
            image[~np.isfinite(image)] = 0
        spectrum = noise_spectrum(image, 2 * (n_shells - 1))
        return np.maximum(spectrum, 1e-4 * spectrum.max())


class _Slot:
    """One tilt series in a flat float32 array: images, mean, sd and noise spectra."""

    def __init__(self, ts: TiltSeries, flat: NDArray[np.float32]) -> None:
        n, (width, height), n_shells = ts.n_tilts, _image_size(ts), _n_shells(ts)
        sizes = np.cumsum([n * height * width, n, n, n * n_shells])
        images, mean, sd, noise = np.split(flat[: sizes[-1]], sizes[:-1])
        self.images = images.reshape(n, height, width)
        self.mean, self.sd = mean, sd
        self.noise = noise.reshape(n, n_shells)

    @staticmethod
    def size(ts: TiltSeries) -> int:
        """Numbers that a series takes."""
        width, height = _image_size(ts)
        return ts.n_tilts * (width * height + 2 + _n_shells(ts))


def _image_size(ts: TiltSeries) -> tuple[int, int]:
    assert ts.image_size_px is not None
    return ts.image_size_px


def _n_shells(ts: TiltSeries) -> int:
    tile = min(NOISE_TILE_PX, *_image_size(ts)) // 2 * 2
    return tile // 2 + 1


@dataclass
class StackSource:
    """RELION 2D stacks, one a particle. Each half-set's noise is measured on its own stacks."""

    inputs: InputSet
    options: ObservationOptions
    half: NDArray[np.int8]
    kind: str = "stacks"
    _noise: dict[int, list[Floats]] = field(default_factory=dict)
    _plans: Any = None
    _observers: dict[tuple[int, int], StackObserver] = field(default_factory=dict)

    def fft_shapes(self) -> list[tuple[int, ...]]:
        """The stacks' own box."""
        return [(self.options.frame.box_px,) * 2]

    def bytes_shared(self) -> int:
        """Stacks are read one by one."""
        return 0

    def check(self) -> None:
        """Refuse sets whose first stack does not fit the table."""
        tilts = self._tilts(0)
        if len(self._read(0)) < len(tilts):
            raise InputError(f"particle {self.inputs.particles.names[0]}: its stack holds fewer "
                             f"images than visible tilts ({len(tilts)}). Extract again.")

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Measure the noise on rank 0 and hand it round."""
        self._plans = plans
        self._observers.clear()
        self._noise = runtime.bcast(
            {h: self._measure_noise(h) for h in (1, 2)} if runtime.is_root else {})

    def _measure_noise(self, half: int) -> list[Floats]:
        """Noise power a tilt and shell of a half-set's images before CTF multiplication.

        From up to 50 particles of each series: the power of the premultiplied images is
        noise times transfer^2 (signal is below it), so the ratio of sums is the noise.
        Flat: one number for the half-set.
        """
        observers = [self._observer_with(np.ones((ts.n_tilts, 2)), ts)
                     for ts in self.inputs.series]
        n_shells = self.options.frame.box_px // 2 + 1
        powers, gains = [], []
        for i, observer in enumerate(observers):
            power = np.zeros((observer.series.n_tilts, n_shells))
            gain = np.zeros_like(power)
            own = (self.inputs.particles.i_tomo == i) & (self.half == half)
            for row in np.flatnonzero(own)[:MEASURED_PARTICLES]:
                self._add_power(int(row), observer, power, gain)
            powers.append(power)
            gains.append(gain)
        flat = sum(p.sum() for p in powers) / max(sum(g.sum() for g in gains), 1e-30)
        if not self.options.measured_noise:
            return [np.full_like(p, flat) for p in powers]
        return [_smooth_noise(p, g, flat) for p, g in zip(powers, gains, strict=True)]

    def _add_power(self, row: int, observer: StackObserver, power: Floats, gain: Floats) -> None:
        tilts = self._tilts(row)
        stack = self._read(row)
        stack = stack[tilts] if len(stack) == observer.series.n_tilts else stack[: len(tilts)]
        if not np.isfinite(stack.sum(dtype=np.float64)):
            return    # the unit of this particle tells it
        box = self.options.frame.box_px
        spectra = self._plans.rfft2(np.ascontiguousarray(stack, np.float32))
        transfer = observer.model.transfer(box, self.inputs.particles.xyz_A[row], tilts)
        shell = np.rint(np.hypot((np.fft.fftfreq(box) * box)[:, None],
                                 np.arange(box // 2 + 1))).astype(int).ravel()
        own = shell <= box // 2
        for tilt, spectrum, a in zip(tilts, spectra, transfer, strict=True):
            power[tilt] += np.bincount(shell[own], (np.abs(spectrum).ravel() ** 2)[own])
            used = (a * a if self.inputs.particles.is_premultiplied else np.ones_like(a)).ravel()
            gain[tilt] += np.bincount(shell[own], used[own])

    def _observer_with(self, noise: Floats, ts: TiltSeries) -> StackObserver:
        return StackObserver(ts, noise, self.options.frame, self.options.weighting, self._plans,
                             self.inputs.particles.is_premultiplied)

    def _tilts(self, row: int) -> NDArray[np.intp]:
        particles = self.inputs.particles
        series = self.inputs.series[int(particles.i_tomo[row])]
        if particles.visible is None:
            return np.arange(series.n_tilts)
        return np.flatnonzero(particles.visible[row, : series.n_tilts] > 0)

    def _read(self, row: int) -> NDArray[np.float32]:
        particles = self.inputs.particles
        assert particles.image_names is not None
        path = self.inputs.resolve(str(particles.image_names[row]))
        stack = np.asarray(open_stack(path)[:], np.float32)
        box = self.options.frame.box_px
        if stack.shape[1:] != (box, box):
            raise DataError(f"{path}: images of {stack.shape[2]} x {stack.shape[1]} px, expected "
                            f"{box} x {box} (rlnImageSize). Extract again.")
        return stack

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Read the stack of particle `row` and centre it with its offset."""
        particles = self.inputs.particles
        i = int(particles.i_tomo[row])
        key = (int(self.half[row]), i)
        if key not in self._observers:
            self._observers[key] = self._observer_with(
                self._noise[key[0]][i], self.inputs.series[i])
        tilts, stack = self._tilts(row), self._read(row)
        if len(stack) == self.inputs.series[i].n_tilts:
            stack = stack[tilts]    # WarpTools writes all tilts, RELION the visible ones
        keep = np.isin(tilts, _within_dose(
            tilts, self.inputs.series[i], self.options.max_dose_e_per_A2))
        if len(stack) == len(tilts):
            stack, tilts = stack[keep], tilts[keep]
        return self._observers[key].observe(
            stack, particles.xyz_A[row], offset_A, tilts, str(particles.names[row]))


@dataclass
class BoxSource:
    """RELION 3D pseudo-subtomograms: data and weight boxes."""

    inputs: InputSet
    options: ObservationOptions
    half: NDArray[np.int8]
    kind: str = "boxes"
    _noise: dict[int, float] = field(default_factory=dict)
    _plans: Any = None

    def fft_shapes(self) -> list[tuple[int, ...]]:
        """The boxes' own size."""
        return [(self.options.frame.box_px,) * 3]

    def bytes_shared(self) -> int:
        """Boxes are read one by one."""
        return 0

    def check(self) -> None:
        """Refuse sets without weight files."""
        if self.inputs.particles.weight_names is None:
            raise InputError(f"{self.inputs.paths.particles}: 3D pseudo-subtomograms need "
                             "rlnCtfImage (weights). Extract again, or average tilt series.")
        self._read(0)

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Scale the weights by the noise power of each half-set's first boxes."""
        self._plans = plans
        self._noise = runtime.bcast(
            {h: self._measure(h) for h in (1, 2)} if runtime.is_root else {})

    def _measure(self, half: int) -> float:
        power = gain = 0.0
        for row in np.flatnonzero(self.half == half)[:MEASURED_BOXES]:
            data, weight = self._read(int(row))
            if not np.isfinite(data.sum(dtype=np.float64)):
                continue    # the unit of this particle tells it
            power += float(np.sum(np.abs(self._plans.rfft3(data)) ** 2, dtype=np.float64))
            gain += float(weight.sum(dtype=np.float64))
        return power / max(gain, 1e-30)

    def _read(self, row: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        particles, box = self.inputs.particles, self.options.frame.box_px
        assert particles.image_names is not None
        assert particles.weight_names is not None
        data = read_mrc(self.inputs.resolve(str(particles.image_names[row]))).data
        path = self.inputs.resolve(str(particles.weight_names[row]))
        weight = read_mrc(path).data
        half = (box, box, box // 2 + 1)
        if data.shape != (box,) * 3 or weight.shape[1:] != half[1:] or len(weight) < box:
            raise DataError(
                f"particle {particles.names[row]}: data {data.shape}, weights {weight.shape}; "
                f"expected {(box,) * 3} and {half}, CTF^2 first. Extract again.")
        return data, np.ascontiguousarray(weight[:box])

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Read the boxes of particle `row` and centre them with its offset."""
        particles = self.inputs.particles
        data, weight = self._read(row)
        samples = observe_box(
            data, weight, particles.R_box2t[row], offset_A, self.options.frame.voxel_A,
            self._noise[int(self.half[row])], self._plans, str(particles.names[row]))
        return _FixedSamples(samples)


@dataclass(frozen=True)
class _FixedSamples:
    """Samples that exist on one grid only."""

    fixed: Any

    def samples(self, size_px: int) -> Any:
        """The samples, if their grid is the one asked for."""
        if len(self.fixed.data_rft) != size_px:
            raise ValueError(f"box samples have {len(self.fixed.data_rft)} px, not {size_px}")
        return self.fixed


def _within_dose(tilts: NDArray[np.intp], series: TiltSeries, limit: float | None
                 ) -> NDArray[np.intp]:
    if limit is None:
        return tilts
    return tilts[series.pre_dose_e_per_A2[tilts] <= limit]


def _smooth_noise(power: Floats, gain: Floats, flat: float) -> Floats:
    """Ratio of sums over 5 neighbouring shells, kept within a factor of the flat level."""
    kernel = np.ones(5)
    top = np.stack([np.convolve(row, kernel, "same") for row in power])
    bottom = np.stack([np.convolve(row, kernel, "same") for row in gain])
    ratio = np.divide(top, bottom, out=np.full_like(top, flat), where=bottom > 0)
    return np.clip(ratio, 1e-2 * flat, 1e4 * flat)
