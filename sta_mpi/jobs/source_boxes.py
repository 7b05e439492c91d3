"""Particles from RELION 3D pseudo-subtomograms: a data and a weight box each."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import BoxObservation, observe_box
from sta_mpi.errors import InputError, ParticleError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.sources import ObservationOptions, unit_gain
from sta_mpi.signal.fft import FftPlans, Shape

Floats = NDArray[np.float64]

MEASURED_BOXES = 20
"""Boxes a half-set whose power tells the noise."""


@dataclass
class BoxSource:
    """RELION 3D pseudo-subtomograms: data and weight boxes."""

    inputs: InputSet
    options: ObservationOptions
    half: NDArray[np.int8]
    kind: str = "boxes"
    _noise: dict[int, float] = field(default_factory=dict)
    _plans: Any = None

    def gain(self, half: int) -> float:
        """Factor that the voxels of a half-set are multiplied by; a power of two."""
        return unit_gain(self._noise[half])

    def fft_shapes(self) -> list[Shape]:
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
        """Scale the weights by the noise power of each half-set's first boxes, read once."""
        self._plans = plans
        if not self._noise:
            self._noise = runtime.bcast(
                {h: self._measure(h) for h in (1, 2)} if runtime.is_root else {})

    def model_group(self, row: int) -> int:
        """Boxes have no transfer model."""
        return 0

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
            raise ParticleError(
                f"particle {particles.names[row]}: data {data.shape}, weights {weight.shape}; "
                f"expected {(box,) * 3} and {half}, CTF^2 first. Extract again.")
        return data, np.ascontiguousarray(weight[:box])

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Read the boxes of particle `row` and centre them with its offset."""
        particles = self.inputs.particles
        data, weight = self._read(row)
        half = int(self.half[row])
        gain = self.gain(half)
        samples = observe_box(
            data * np.float32(gain), weight, particles.R_box2t[row], offset_A,
            self.options.frame.voxel_A, self._noise[half] * gain**2, self._plans,
            str(particles.names[row]))
        return BoxObservation(samples)
