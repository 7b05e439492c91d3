"""`tomogram`: weighted back-projection, a slab of one tomogram a unit.

A unit writes its planes to their place in the volume, so that voxels never travel between ranks
and no rank holds a tomogram. Writing them twice gives the same bytes, so a resumed run is safe.
Here all slabs of a tomogram see the same filtered images.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.engine import engine_results, predicted_parts_GiB, run_stage
from sta_mpi.jobs.folder import RESUMED, JobFolder, JobOutcome
from sta_mpi.jobs.parameters.tomogram import TomogramParameters
from sta_mpi.jobs.tomogram_images import FilteredImages, SeriesSlot
from sta_mpi.jobs.tomogram_output import tomogram_sections, write_tables
from sta_mpi.jobs.tomogram_setup import SeriesPlan, TomogramSetup, make_setup, tomogram_file
from sta_mpi.jobs.wisdom import shared_plans
from sta_mpi.kernels.back_project import back_project
from sta_mpi.parallel.accumulators import engine_memory
from sta_mpi.parallel.devices import check_device_memory, select_device
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.parallel.memory import GiB, MemoryPlan, available_GiB, process_bytes
from sta_mpi.prepare.grey_scale import grey_factor, to_grey

Planes = NDArray[np.float32]


def input_files(parameters: TomogramParameters) -> list[Path]:
    """Files whose content the fingerprint covers: tables, not the images."""
    path = tomogram_file(parameters)
    return [path, *read_tomograms(path).table_files()]


class TomogramJob:
    """All slabs of all tomograms; a row is a unit."""

    name = "tomogram"

    def __init__(self, setup: TomogramSetup, fingerprint: str, n_slots: int = 1) -> None:
        self.setup, self.n_slots = setup, n_slots
        self._fingerprint = fingerprint
        self._writers = [[setup.writer(plan, kind) for kind in setup.kinds]
                         for plan in setup.plans]

    def units(self) -> list[Unit]:
        """Slabs; cost: voxels times images."""
        units: list[Unit] = []
        for i, plan in enumerate(self.setup.plans):
            x, y, _ = plan.size_px
            units += [Unit(len(units) + j, plan.series.name, float(x * y * (z1 - z0))
                           * len(plan.tilts), (i, z0, z1))
                      for j, (z0, z1) in enumerate(self.setup.slabs(plan))]
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """None: planes are not added up."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Statistics of every slab (lowest, highest, sum, squares), grey factor, and pixels that
        were not finite."""
        n, m = len(self.units()), len(self.setup.kinds)
        return {"statistics": ((n, m, 4), "float64"), "factor": ((n,), "float64"),
                "bad_pixels": ((n,), "int64"), "written": ((n,), "int8")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> FilteredImages:
        """Plans, and memory for the filtered images."""
        choice = select_device(runtime, self.setup.parameters.device)
        check_device_memory(runtime, choice, {"filtered images": slot_bytes(self.setup)})
        grids = [plan.grid for plan in self.setup.plans]
        shapes = [(n, n) for grid in grids for n in (grid.padded_px, grid.sampled_px)]
        plans = shared_plans(runtime, list(dict.fromkeys(shapes)), self.setup.folder)
        return FilteredImages(self.setup, runtime, plans, self.n_slots)

    def work(self, context: FilteredImages, unit: Unit) -> Partial:
        """Back-project one slab and write it."""
        i_series, z0, z1 = unit.payload
        plan, p = self.setup.plans[i_series], self.setup.parameters
        with context.loaded(i_series) as slot:
            volumes = slab_volumes(slot, plan, z0, z1, p.device)
            # halves are twice a sum of half of the images
            factor = grey_factor(p.mode, float(np.sqrt(slot.variance.sum(dtype=np.float64))),
                                 len(slot.halves) * float(slot.largest.sum(dtype=np.float64)))
            n_bad = int(slot.n_bad.sum())
        statistics = np.empty((1, len(volumes), 4))
        for row, writer, planes in zip(statistics[0], self._writers[i_series], volumes,
                                       strict=True):
            grey = to_grey(planes, p.mode, factor)
            writer.write_block(z0, grey)
            row[:] = _statistics(grey)
        return Partial({}, np.array([unit.id]), {
            "statistics": statistics, "factor": np.array([factor]),
            "bad_pixels": np.array([n_bad]), "written": np.ones(1, np.int8)})

    def finish(self, reduced: Any, runtime: Any) -> dict[str, NDArray[Any]]:
        """Close the volumes whose slabs are all there, on rank 0; the rows on all."""
        rows = {name: reduced.rows(name) for name in self.row_specs()}
        if runtime.is_root:
            of_series = np.array([unit.payload[0] for unit in self.units()])
            for i, plan in enumerate(self.setup.plans):
                own = of_series == i
                for k, writer in enumerate(self._writers[i]):
                    if rows["written"][own].all():
                        writer.finish(volume_statistics(
                            rows["statistics"][own, k], int(np.prod(plan.size_px))))
                    else:
                        writer.discard()
        return rows

    def complete(self, rows: dict[str, NDArray[Any]]) -> list[SeriesPlan]:
        """Tomograms all of whose slabs were written."""
        of_series = np.array([unit.payload[0] for unit in self.units()])
        return [plan for i, plan in enumerate(self.setup.plans)
                if rows["written"][of_series == i].all()]

    def prepare_files(self, is_resumed: bool) -> None:
        """Reopen what a killed run left, or remove what another one did; on rank 0."""
        for writer in (w for writers in self._writers for w in writers):
            if is_resumed:
                writer.reopen()
            else:
                writer.discard()


def slab_volumes(slot: SeriesSlot, plan: SeriesPlan, z0: int, z1: int, device: str
                 ) -> list[Planes]:
    """Planes z0 to z1 of the whole volume and of its halves, if there are any."""
    x, y, _ = plan.size_px
    sums = [back_project(images, matrices, z0, np.empty((z1 - z0, y, x), np.float32), device)
            for images, matrices in zip(slot.halves, slot.matrices, strict=True)]
    if len(sums) == 1:
        return sums
    whole = sums[0] + sums[1]
    # a half has half of the images: twice the sum is on the same grey scale
    return [whole, *(np.multiply(part, np.float32(2.0), out=part) for part in sums)]


def _statistics(planes: NDArray[Any]) -> tuple[float, float, float, float]:
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    for plane in planes:
        values = plane.astype(np.float64).ravel()
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        total += float(values.sum())
        squares += float(np.vdot(values, values))
    return low, high, total, squares


def volume_statistics(slabs: NDArray[np.float64], n_voxels: int
                      ) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation of a volume from those of its slabs."""
    mean = float(slabs[:, 2].sum()) / n_voxels
    variance = float(slabs[:, 3].sum()) / n_voxels - mean * mean
    return (float(slabs[:, 0].min()), float(slabs[:, 1].max()), mean,
            float(np.sqrt(max(variance, 0.0))))


def memory_plan(setup: TomogramSetup, n_slots: int) -> MemoryPlan:
    """Arrays that a rank, and a node, hold at the peak."""
    padded = max(plan.grid.padded_px for plan in setup.plans)
    sampled = max(plan.grid.sampled_px for plan in setup.plans)
    slab = max(plan.size_px[0] * plan.size_px[1] * (z1 - z0)
               for plan in setup.plans for z0, z1 in setup.slabs(plan))
    return MemoryPlan(
        {"one tilt image and its transform": 24.0 * padded**2,
         "filter of a tilt": 45.0 * sampled**2, "slab": 4.0 * slab * (len(setup.kinds) + 2)},
        {"filtered images": n_slots * slot_bytes(setup)})


def slot_bytes(setup: TomogramSetup) -> float:
    """Memory of the filtered images of one series."""
    return 4.0 * max(SeriesSlot.size(plan) for plan in setup.plans)


def choose_slots(setup: TomogramSetup) -> int:
    """Series held at once on a node: two, where half of the memory can hold them."""
    budget = 0.5 * GiB * (setup.parameters.max_memory_GiB or available_GiB())
    return 2 if len(setup.plans) > 1 and 2 * slot_bytes(setup) <= budget else 1


def describe(parameters: TomogramParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = make_setup(parameters, parameters.output)
    job = TomogramJob(setup, "dry run")
    plan = memory_plan(setup, choose_slots(setup)).plus(engine_memory(job, "rank"))
    return {**sizes(setup), "units": len(job.units()),
            "rank_memory_GiB": sum(plan.rank_bytes.values()) / GiB + process_bytes() / GiB,
            "shared_memory_GiB": sum(plan.node_bytes.values()) / GiB}


def sizes(setup: TomogramSetup) -> dict[str, Any]:
    """Numbers of the setup for job.json."""
    item = np.dtype(setup.parameters.mode).itemsize
    voxels = sum(float(np.prod(plan.size_px)) for plan in setup.plans)
    first = setup.plans[0]
    return {"tomograms": len(setup.plans), "voxel_A": setup.voxel_A, "binning": setup.binning,
            "size_px": list(first.size_px), "tilts": sum(p.series.n_tilts for p in setup.plans),
            "disk_GiB": voxels * item * len(setup.kinds) / GiB}


def run(parameters: TomogramParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Reconstruct, write volumes and the tomogram table."""
    setup = make_setup(parameters, folder.path)
    n_slots = runtime.bcast(choose_slots(setup))
    job = TomogramJob(setup, folder.fingerprint, n_slots)
    if runtime.is_root:
        job.prepare_files(folder.state == RESUMED)
    runtime.barrier()
    memory = memory_plan(setup, n_slots)
    result = run_stage(job, folder, runtime, parameters, memory=memory)
    predicted = predicted_parts_GiB(job, runtime, memory)
    if not runtime.is_root:
        return JobOutcome()
    complete = job.complete(result.outputs)
    if not complete:
        raise InputError(f"no tomogram could be made: {result.quarantined[0].message}")
    outputs = write_tables(setup, complete)
    rows = result.outputs
    results = {**sizes(setup), "tomograms": len(complete),
               **engine_results(result)}
    return JobOutcome(results, outputs, tomogram_sections(setup, job.units(), rows, complete),
                      _warnings(setup, job, rows, complete), [result], predicted)


def _warnings(setup: TomogramSetup, job: TomogramJob, rows: dict[str, NDArray[Any]],
              complete: list[SeriesPlan]) -> list[str]:
    texts = []
    names = [plan.series.name for plan in setup.plans if plan not in complete]
    if names:
        texts.append(f"{len(names)} tomograms were not made, first {names[0]}: their images are "
                     "bad. The report lists the reasons.")
    of_series = np.array([unit.payload[0] for unit in job.units()])
    for i, plan in enumerate(setup.plans):
        n_bad = int(rows["bad_pixels"][of_series == i].max(initial=0))
        if n_bad:
            texts.append(f"tilt series {plan.series.name}: {n_bad} pixels were NaN or Inf and "
                         "count as the mean of their image.")
    return texts
