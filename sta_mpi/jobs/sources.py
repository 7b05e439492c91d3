"""Where a job's particle images come from: files on one side, observers on the other.

A source is made on every rank, `prepare` is collective (node-shared memory), and
`observe(row, offset_A)` gives one particle's weighted samples, or None for a particle whose
whole box is on no tilt image. The kinds are in `source_tilts`, `source_stacks` and
`source_boxes`.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import Frame
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import TiltSeries
from sta_mpi.errors import DataError
from sta_mpi.signal.fft import FftPlans, Shape

Floats = NDArray[np.float64]


class Source(Protocol):
    """What a job asks for: weighted samples of one particle."""

    kind: str

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Allocate and read what all particles share; collective."""

    def fft_shapes(self) -> list[Shape]:
        """Real-space shapes of all transforms that observing needs."""

    def gain(self, half: int) -> float:
        """Factor, a power of two, that brings a half-set's pixels to a noise of about 1."""

    def check(self) -> None:
        """Refuse what cannot be read, before the start."""

    def bytes_shared(self) -> int:
        """Node-shared memory [bytes]."""

    def model_group(self, row: int) -> Hashable:
        """Equal for particles whose observations share a `TransferModel`."""

    def observe(self, row: int, offset_A: Floats) -> Any:
        """One particle's observation with the refined offset; has `.samples(size_px, r_max_px)`
        and `.samples_to_insert(n_sums)`.

        None where no tilt image holds its whole box: such a particle is left out, not bad data.

        Raises
        ------
        ParticleError    its own data are bad
        DataError        data that it shares with others are bad
        """


@dataclass(frozen=True)
class ObservationOptions:
    """What of the imaging model a job uses, and how noise is weighted."""

    frame: Frame
    weighting: Weighting
    measured_noise: bool
    max_dose_e_per_A2: float | None


def gives_boxes(source: Source) -> bool:
    """Whether particles come as one merged box each, and not as tilt images."""
    return source.kind in ("boxes", "tomograms")


def refuse_all_bad(left_out: list[tuple[int, str]], n_particles: int) -> None:
    """DataError, which quarantines the unit, where all of its particles are bad."""
    if left_out and len(left_out) == n_particles:
        raise DataError(left_out[0][1])


def within_dose(tilts: NDArray[np.intp], series: TiltSeries, limit: float | None
                ) -> NDArray[np.intp]:
    """Those of `tilts` that had at most `limit` e/Å² before them; all without a limit."""
    if limit is None:
        return tilts
    return tilts[series.pre_dose_e_per_A2[tilts] <= limit]


def unit_gain(noise_power: float) -> float:
    """The power of two that brings a noise power nearest to 1; 1 where there is no noise.

    Images of any grey scale then fill the same range of the exact sums. A power of two is
    undone without rounding.
    """
    if not (np.isfinite(noise_power) and noise_power > 0):
        return 1.0
    return float(2.0 ** -np.rint(0.5 * np.log2(noise_power)))
