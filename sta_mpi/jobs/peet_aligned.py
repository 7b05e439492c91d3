"""Aligned particles of a PEET run (alignedBaseName), written from the units that cut them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.peet_frame import cropped, to_peet_map
from sta_mpi.align.single_reference import particle_map
from sta_mpi.errors import ParticleError
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.align_search import reference_shapes
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup, make_plans, make_units
from sta_mpi.jobs.peet_input import PeetProject
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.signal.fft import FftPlans


def aligned_name(base: str, tomogram: int, number: int) -> str:
    """File of a particle; tomogram and number from 1."""
    return f"{base}_Tom{tomogram}_P{number:04d}.mrc"


@dataclass
class AlignedParticles:
    """One file a particle: its box turned to the reference, in PEET's axes and contrast.

    Directions that a particle was not measured in are empty.
    """

    project: PeetProject
    setup: Setup
    state: LoopPoses
    base: str
    folder: Path
    sign: float
    tag: str
    name: str = "aligned particles"

    def units(self) -> list[Unit]:
        """Chunks of one series and half."""
        return make_units(self.setup)

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: files alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Whether each particle was written."""
        return {"is_written": ((len(self.setup.half),), "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self.tag + "aligned"

    def prepare(self, runtime: Any) -> FftPlans:
        """Plans and the source."""
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        return plans

    def work(self, context: FftPlans, unit: Unit) -> Partial:
        """Cut, turn and write the particles of a unit."""
        rows = unit.payload[1]
        written = np.zeros(len(rows), np.int32)
        for i, row in enumerate(rows):
            try:
                observation = self.setup.source.observe(int(row), self.state.anchor_A[row])
            except ParticleError:
                continue    # its round tells it
            if observation is not None:
                self._write(int(row), observation, context)
                written[i] = 1
        return Partial({}, rows, {"is_written": written})

    def _write(self, row: int, observation: Any, plans: FftPlans) -> None:
        voxel_A, state = self.setup.sizes.voxel_A, self.state
        moved_px = (state.offset_A[row] - state.anchor_A[row]) / voxel_A
        samples = observation.samples(self.setup.sizes.box_px).centred(moved_px)
        data = particle_map(samples, state.R_p2t[row], plans)
        turned = cropped(to_peet_map(data), self.project.run.size_px) * np.float32(self.sign)
        name = aligned_name(self.base, int(self.project.tomogram[row]) + 1,
                            int(self.project.number[row]))
        write_mrc(self.folder / name, np.ascontiguousarray(turned), voxel_A)

    def finish(self, reduced: Any, runtime: Any) -> NDArray[np.int32]:
        """Which particles were written."""
        written: NDArray[np.int32] = reduced.rows("is_written")
        return written
