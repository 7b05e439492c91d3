"""Particles from RELION 2D stacks, one file a particle."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import StackObserver
from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError, ParticleError
from sta_mpi.formats.mrc import open_stack, split_stack_name
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.sources import ObservationOptions, unit_gain, within_dose
from sta_mpi.signal.fft import FftPlans, Shape

Floats = NDArray[np.float64]

MEASURED_PARTICLES = 50
"""Stacks a series whose power tells the noise."""


@dataclass
class StackSource:
    """RELION 2D stacks, one a particle. Each half-set's noise is measured on its own stacks."""

    inputs: InputSet
    options: ObservationOptions
    half: NDArray[np.int8]
    kind: str = "stacks"
    _noise: dict[int, list[Floats]] = field(default_factory=dict)
    _gain: dict[int, float] = field(default_factory=dict)
    _plans: Any = None
    _observers: dict[tuple[int, int], StackObserver] = field(default_factory=dict)

    def fft_shapes(self) -> list[Shape]:
        """The stacks' own box."""
        return [(self.options.frame.box_px,) * 2]

    def gain(self, half: int) -> float:
        """Factor that the pixels of a half-set are multiplied by; a power of two."""
        return self._gain[half]

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
        """Measure the noise on rank 0, once, and hand it round."""
        self._plans = plans
        self._observers.clear()
        if self._noise:
            return
        self._noise = runtime.bcast(
            {h: self._measure_noise(h) for h in (1, 2)} if runtime.is_root else {})
        for half, spectra in self._noise.items():
            self._gain[half] = unit_gain(float(np.median(np.concatenate(spectra))))

    def model_group(self, row: int) -> tuple[int, int]:
        """Stacks of one series and half-set share noise and transfer."""
        return int(self.half[row]), int(self.inputs.particles.i_tomo[row])

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
        number, name = split_stack_name(str(particles.image_names[row]))
        path = self.inputs.resolve(name)
        first = 0 if number is None else number - 1    # one file a series: n@file
        with open_stack(path) as images:
            last = len(images) if number is None else first + len(self._tilts(row))
            stack = np.asarray(images[first:last], np.float32)
        box = self.options.frame.box_px
        if stack.shape[1:] != (box, box):
            raise ParticleError(
                f"{path}: images of {stack.shape[2]} x {stack.shape[1]} px, expected "
                f"{box} x {box} (rlnImageSize). Extract again.")
        return stack

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Read the stack of particle `row` and centre it with its offset."""
        particles = self.inputs.particles
        i = int(particles.i_tomo[row])
        key = self.model_group(row)
        if key not in self._observers:
            self._observers.clear()    # units come by series and half
            self._observers[key] = self._observer_with(
                self._noise[key[0]][i] * self._gain[key[0]] ** 2, self.inputs.series[i])
        tilts, stack = self._tilts(row), self._read(row)
        if len(stack) == self.inputs.series[i].n_tilts:
            stack = stack[tilts]    # WarpTools writes all tilts, RELION the visible ones
        keep = np.isin(tilts, within_dose(
            tilts, self.inputs.series[i], self.options.max_dose_e_per_A2))
        if len(stack) == len(tilts):
            stack, tilts = stack[keep], tilts[keep]
        return self._observers[key].observe(
            stack * np.float32(self._gain[key[0]]), particles.xyz_A[row], offset_A, tilts,
            str(particles.names[row]))


def _smooth_noise(power: Floats, gain: Floats, flat: float) -> Floats:
    """Ratio of sums over 5 neighbouring shells, kept within a factor of the flat level."""
    kernel = np.ones(5)
    top = np.stack([np.convolve(row, kernel, "same") for row in power])
    bottom = np.stack([np.convolve(row, kernel, "same") for row in gain])
    ratio = np.divide(top, bottom, out=np.full_like(top, flat), where=bottom > 0)
    return np.clip(ratio, 1e-2 * flat, 1e4 * flat)
