"""One particle, one round of a refinement: what each step of it costs, box by box.

The particle is kept in memory (41 tilts, 3 um defocus, 120 e/A2); its data are slices of the
reference times their weight, with noise of the modelled power. The polish starts 1.5 degrees and
1 px off, with the bands, rings and dose limits of the jobs. CPU time, interleaved medians, one
thread; each step alone, so that what is left to Python between them is seen by the last column,
all steps in one call.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_iteration.py
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from bench_particle_store import HERE, make_source
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align.dose_limits import dose_limits, ring_bands, sample_counts
from sta_mpi.align.marching import marching_radii
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import (
    Bands,
    PolishSettings,
    Pose,
    bands_of,
    polish_steps,
    run_steps,
)
from sta_mpi.align.reference import Reference, prepare_reference
from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.kernels.gather import gather_slices
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.masks import soft_sphere

CASES = [(64, 2.7, 24, 2.0, "box"), (96, 2.7, 36, 2.0, "box"), (192, 1.35, 80, 2.0, "box"),
         (192, 1.35, 80, 2.0, "padded")]
"""Box, voxel, Fourier index of the search, padding of the sums, samples that are inserted."""

SIGNAL = 0.3
"""Mean signal-to-noise power of a sample of the reference."""


class Iteration:
    """All steps of one particle."""

    def __init__(self, box: int, voxel_A: float, r_max: int, pad: float, inserted: str) -> None:
        rng = np.random.default_rng(3)
        source, plans = make_source(box, voxel_A)
        self.observation = source.observe(0, HERE)
        self.box, self.grid, self.inserted = box, 2 * round(box * pad / 2), inserted
        noise = rng.normal(size=(box,) * 3).astype(np.float32)
        self.reference: Reference = prepare_reference(
            noise * soft_sphere(box, 0.3 * box, 3.0), None, r_max, plans, 1.5)
        rings = ring_bands(r_max, marching_radii(r_max), 12)
        self.layout = make_layout(box, rings.radii)
        self.settings = PolishSettings(bands=rings.stages)
        dose = self.observation.model.series.pre_dose_e_per_A2
        self.count = sample_counts(self.layout, dose_limits(dose, box, voxel_A))
        self.bands: Bands | None = None    # as a job, which keeps them for particles alike
        self.truth = random_rotations(1, rng)[0]
        self.samples = self._planted(self.observation.samples(box), rng)
        turn = rotation_from_vector(np.radians([0.9, -0.9, 0.9]))
        self.start = Pose(self.truth @ turn, np.array([0.6, -0.6, 0.6]))
        self.sums = np.zeros((self.grid, self.grid, self.grid // 2 + 1, 4), np.float32)

    def _planted(self, samples: TiltSamples, rng: np.random.Generator) -> TiltSamples:
        axes = np.ascontiguousarray((samples.rotation @ self.truth)[:, :2])
        slices = gather_slices(self.reference.volume, axes, self.box, self.layout.r_max_px)
        weight = samples.weight_rft
        power = float(np.mean(weight * np.abs(slices) ** 2))
        weight = weight * np.float32(SIGNAL / power)
        noise = rng.normal(size=(2, *weight.shape)) * np.sqrt(weight / 2)
        data = (weight * slices + noise[0] + 1j * noise[1]).astype(np.complex64)
        return TiltSamples(data, weight, samples.rotation, samples.tilts)

    def box_samples(self) -> TiltSamples:
        """Transforms and weights on the grid of the box."""
        return self.observation.samples(self.box, self.layout.r_max_px)

    def polish(self) -> Pose:
        """Pack, and polish from the start."""
        packed = pack_samples(self.samples.data_rft, self.samples.weight_rft, self.layout)
        problem = PoseProblem(self.reference.volume, packed, self.layout, self.samples.rotation,
                              self.box)
        if self.bands is None:
            self.bands = bands_of(problem, self.settings, self.count)
        found = run_steps(problem, polish_steps(self.bands, self.start))
        return Pose(found.R_p2t, found.shift_xyz_px)

    def sum_samples(self) -> TiltSamples:
        """What the sums take, the particle moved to the origin."""
        if self.inserted == "padded":
            samples = self.observation.samples_to_insert(self.grid)
        else:
            samples = self.observation.samples_with_low(self.grid)
        return samples.centred(np.array([0.3, 0.2, -0.1]))

    def insert(self, samples: TiltSamples) -> None:
        """Add the slices to the sums."""
        samples.insert(self.sums, self.grid, self.truth)

    def whole(self) -> None:
        """All of it, as a round does it."""
        self.box_samples()
        self.polish()
        self.insert(self.sum_samples())


def repeat(case: int, times: int, begin: Callable[[], object]) -> None:
    """All steps of CASES[case], some times to warm up and, after `begin`, that often.

    What benchmarks/scaling/outside_kernels.py samples.
    """
    iteration = Iteration(*CASES[case])
    for _ in range(times // 8 + 1):
        iteration.whole()
    begin()
    for _ in range(times):
        iteration.whole()


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    rows = []
    for box, voxel_A, r_max, pad, inserted in CASES:
        case = Iteration(box, voxel_A, r_max, pad, inserted)
        steps = [case.box_samples, case.polish, case.sum_samples,
                 partial(case.insert, case.sum_samples()), case.whole]
        seconds = median_seconds(steps, rounds)
        rows.append([str(box), str(r_max), f"{pad:g}", inserted,
                     *(f"{1e3 * s:.1f}" for s in seconds)])
    print_table("one particle, one round, ms", [
        "box", "r", "pad", "inserted", "samples", "pack and polish", "samples for the sums",
        "insertion", "all"], rows)


if __name__ == "__main__":
    main()
