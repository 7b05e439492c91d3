"""What a search costs the host when its sums come from a GPU: microseconds an evaluation.

`polish_batch` takes the path that it takes with a GPU (tables of tilts for all particles, one
call, sums taken apart), but the sums are computed on the CPU, outside the clock. One rank can
feed a GPU with at most 1e6 / (microseconds) evaluations a second; more ranks share a GPU.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_polish_batch.py
"""

import time

import numpy as np
from bench_insert import tilt_axes
from scipy.spatial.transform import Rotation
from timing import print_table, rounds_argument

from sta_mpi.align.polish import PolishSettings, Pose
from sta_mpi.align.polish_batch import polish_batch
from sta_mpi.kernels.gather import gather_slices, prepare_gather
from sta_mpi.kernels.polish import PoseBatch, make_layout, pack_samples
from sta_mpi.kernels.polish.device import place_samples
from sta_mpi.signal.fft import FftPlans

BOX, R_MAX = 32, 12


class CountingSamples:
    """Samples of all particles of a batch on the host, with the time their sums took."""

    def __init__(self, packed, layout):
        self._own = [place_samples([p], layout, "cpu") for p in packed]
        self._tilts = len(packed[0].w)
        self.seconds, self.evaluations, self.calls = 0.0, 0, 0

    def hold(self, volume):
        return self._own[0].hold(volume)

    def evaluate(self, held, n_sums, axes, cycles, rows, count):
        start, m = time.process_time(), self._tilts
        parts = [self._own[rows[i] // m].evaluate(
            held, n_sums, axes[i : i + m], cycles[i : i + m], rows[i : i + m], count[i : i + m])
            for i in range(0, len(rows), m)]
        found = np.concatenate(parts)
        self.seconds += time.process_time() - start
        self.evaluations += len(parts)
        self.calls += 1
        return found


def blobs(rng):
    """A map of 20 Gaussian blobs."""
    z, y, x = np.indices((BOX, BOX, BOX)) - BOX // 2
    return sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 8)
               for a, b, c in rng.uniform(-8, 8, (20, 3))).astype(np.float32)


def main() -> None:
    """Measure and print."""
    rounds, rng, rows = rounds_argument(__doc__ or ""), np.random.default_rng(0), []
    plans = FftPlans(effort="estimate")
    volume = prepare_gather(plans.rfft3(blobs(rng)), plans, 2.0)
    layout = make_layout(BOX, [R_MAX / 4, R_MAX / 2, R_MAX])
    R = np.zeros((41, 3, 3))
    R[:, :2] = tilt_axes()
    R[:, 2] = np.cross(R[:, 0], R[:, 1])
    for size in (1, 16, 256):
        packed, starts = [], []
        for _ in range(size):
            pose = Rotation.random(rng=rng)
            views = gather_slices(volume, np.ascontiguousarray((R @ pose.as_matrix())[:, :2]),
                                  BOX, R_MAX)
            noise = rng.normal(size=(*views.shape, 2)).astype(np.float32)
            data = views + np.float32(0.3) * noise.view(np.complex64)[..., 0]
            packed.append(pack_samples(data, np.ones(data.shape, np.float32), layout))
            off = Rotation.from_rotvec(np.radians(3) * rng.normal(size=3))
            starts.append([Pose((pose * off).as_matrix(), rng.normal(size=3))])
        batch = PoseBatch(volume, packed, layout, [R] * size, BOX)
        batch._placed = samples = CountingSamples(packed, layout)
        batch._held = [samples.hold(volume)]
        costs = []
        for i in range(rounds + 1):
            samples.seconds, samples.evaluations, samples.calls = 0.0, 0, 0
            start = time.process_time()
            polish_batch(batch, starts, PolishSettings(max_shift_px=4.0))
            if i:  # the first round compiles
                costs.append((time.process_time() - start - samples.seconds)
                             / samples.evaluations)
        rows.append([str(size), f"{samples.evaluations / size:.1f}", str(samples.calls),
                     f"{1e6 * float(np.median(costs)):.0f}"])
    print_table("polish_batch", ["particles", "evaluations a particle", "calls (launches)",
                                 "host, us an evaluation"], rows)


if __name__ == "__main__":
    main()
