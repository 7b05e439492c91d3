"""What a kept particle costs a round: cut from tilt images, or taken from memory or scratch.

CPU time of one observation (41 tilts, 3 um defocus), of its samples on the grid of the box, and
the bytes that are kept. Images are noise and already in memory: reading them is not counted.
Scratch files are on the disk of the default folder and small enough to stay in the page cache.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_particle_store.py
"""

import tempfile
from functools import partial
from types import SimpleNamespace

import numpy as np
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.align.observe import Frame, SeriesObserver
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.jobs.particle_store import ParticleStore
from sta_mpi.jobs.store_plan import StorePlan
from sta_mpi.jobs.window_size import cut_size_px, window_edges_px
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.series import SeriesPlan, planned_series

CASES = [(64, 2.7), (96, 2.7), (192, 1.35)]
IMAGE_PX = 1024
HERE = np.zeros(3)


def make_source(box: int, voxel_A: float) -> tuple[SimpleNamespace, FftPlans]:
    """(source of one particle in the middle of noise images, FFT plans)."""
    plan = SeriesPlan(
        voxel_A, Optics(300.0, 2.7, 0.07), (200, 200, 200), (IMAGE_PX, IMAGE_PX), (-60, 60, 3.0),
        "dose-symmetric", 2, 85.0, 0.0, 8.0, 3.0, 30000.0, 0.0, 300.0, 1500.0, 35.0, 0.0, -1,
        "cosine", 3000.0)
    rng = np.random.default_rng(1)
    g = planned_series("TS", plan, rng)
    P = projection_from_angles(g.x_tilt_deg, g.tilt_deg, g.axis_deg, g.shift_A,
                               g.tomogram_size_px, g.pixel_A)
    series = TiltSeries(
        g.name, g.pixel_A, g.optics, P, g.pre_dose_e_per_A2, g.defocus_u_A, g.defocus_v_A,
        g.astig_deg, g.phase_shift_deg, g.scale, g.b_factor_A2, g.hand, g.defocus_slope,
        g.b_factor_per_dose_A2, g.tomogram_size_px, g.image_size_px)
    n = series.n_tilts
    images = list(rng.normal(size=(n, IMAGE_PX, IMAGE_PX)).astype(np.float32))
    cut, plans = cut_size_px(box, voxel_A, [series]), FftPlans(effort="measure")
    observer = SeriesObserver(series, np.zeros(n), np.ones(n), np.ones((n, 129)),
                              Frame(box, cut, 1, voxel_A), Weighting(), plans,
                              window_edges_px(box, cut, voxel_A, series, True))
    return SimpleNamespace(
        kind="tilt-series", model_group=lambda row: 0, prepare=lambda runtime, plans: None,
        cut_px=cut,
        observe=lambda row, anchor: observer.observe(images, anchor, np.arange(n), "p")), plans


def make_store(source: SimpleNamespace, plans: FftPlans, box: int, precision: str, level: str
               ) -> ParticleStore:
    """A store that keeps its particles in one place."""
    room = {"memory": (1e9, 0.0), "scratch": (0.0, 1e9), "cut": (0.0, 0.0)}[level]
    plan = StorePlan(precision, 1, 1.0, 4.0 * 41 * box**2, 0, 0, 0, *room, tempfile.gettempdir())
    store = ParticleStore(source, plan, box)
    store.prepare(None, plans)
    store.observe(0, HERE)
    return store


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    variants = [("cut", "float32"), ("memory", "float32"), ("memory", "float16"),
                ("scratch", "float32"), ("scratch", "float16")]
    rows = []
    for box, voxel_A in CASES:
        source, plans = make_source(box, voxel_A)
        stores = [make_store(source, plans, box, p, level) for level, p in variants]
        calls = [partial(store.observe, 0, HERE) for store in stores]
        samples = partial(stores[1].observe(0, HERE).samples, box)
        *seconds, one = median_seconds([*calls, samples], rounds)
        for (level, precision), store, each in zip(variants, stores, seconds, strict=True):
            counts = store.counts
            size = (counts.memory_bytes + counts.scratch_bytes) / 2**20
            rows.append([str(box), str(source.cut_px), level, precision, f"{1e3 * each:.2f}",
                         f"{1e3 * one:.2f}", f"{size:.2f}"])
            store.close()
    print_table("kept particles", [
        "box", "window", "from", "precision", "observation, ms", "samples, ms", "MiB"], rows)


if __name__ == "__main__":
    main()
