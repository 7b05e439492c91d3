"""`extract`: pseudo-subtomograms as files, a batch of particles of one series a unit.

Like `simulate`, a unit writes its own output, so that images never travel between ranks. Every
file appears whole or not at all, and the same unit writes the same bytes, so a resumed run is safe.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.extract import ParticleCutter, wiener_divided
from sta_mpi.errors import ParticleError
from sta_mpi.formats.mrc_sections import SectionWriter
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.engine import (
    engine_results,
    left_out_warnings,
    predicted_parts_GiB,
    run_stage,
)
from sta_mpi.jobs.extract_output import extract_sections, write_set
from sta_mpi.jobs.extract_setup import (
    IMAGES,
    ExtractSetup,
    make_setup,
    particle_files,
    series_file,
)
from sta_mpi.jobs.folder import RESUMED, JobFolder, JobOutcome
from sta_mpi.jobs.held_series import leave_room
from sta_mpi.jobs.inputs import set_files
from sta_mpi.jobs.parameters.extract import ExtractParameters
from sta_mpi.jobs.sources import refuse_all_bad
from sta_mpi.jobs.wisdom import shared_plans
from sta_mpi.parallel.job import Partial, SumSpec, Unit, chunk_rows
from sta_mpi.parallel.memory import GiB, MemoryPlan, process_bytes

STATISTICS = ("lowest", "highest", "mean", "sd")
FLOAT16 = 12
"""MRC mode of half-precision numbers."""


def input_files(parameters: ExtractParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    return set_files(parameters)


class _Context:
    """Plans and the cutter of the series at hand."""

    def __init__(self, setup: ExtractSetup, plans: Any) -> None:
        self.setup, self.plans = setup, plans
        self._cutter: tuple[int, ParticleCutter] | None = None

    def cutter(self, i_tomo: int, images: Any) -> ParticleCutter:
        """The cutter of a series; only the last one is kept, units come by series."""
        if self._cutter is None or self._cutter[0] != i_tomo:
            s = self.setup
            self._cutter = i_tomo, ParticleCutter(
                s.inputs.series[i_tomo], images.mean.astype(float), images.sd.astype(float),
                images.noise.astype(float), s.frame, s.options, self.plans)
        return self._cutter[1]


class ExtractJob:
    """One pass over all particles: cut, multiply, write."""

    name = "extract"

    def __init__(self, setup: ExtractSetup, fingerprint: str) -> None:
        self.setup = setup
        self._fingerprint = fingerprint
        inputs, folder = setup.inputs, setup.folder
        is_box = setup.parameters.form == "boxes"
        self._images = particle_files(inputs, folder, "data.mrc" if is_box else "stack2d.mrcs")
        self._weights = particle_files(inputs, folder, "weights.mrc")
        self._filtered = particle_files(inputs, folder, "filtered.mrc")
        self._mode = FLOAT16 if setup.parameters.image_type == "float16" else 2

    def units(self) -> list[Unit]:
        """Chunks of one series."""
        s = self.setup
        units: list[Unit] = []
        for i, ts in enumerate(s.inputs.series):
            rows = np.flatnonzero((s.inputs.particles.i_tomo == i) & (s.n_images > 0))
            for chunk in chunk_rows(rows, s.parameters.unit_particles):
                units.append(Unit(len(units), ts.name, float(s.n_images[chunk].sum()), chunk))
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """None: images are not added up."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Whether each particle was written, and the statistics of its images."""
        n = len(self.setup.inputs.particles)
        return {"written": ((n,), "int8"), **dict.fromkeys(STATISTICS, ((n,), "float64"))}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> _Context:
        """Plans and shared tilt images."""
        frame = self.setup.frame
        whole, n = frame.window_px * frame.binning, frame.box_px
        shapes: list[tuple[int, ...]] = [(whole,) * 2, (frame.window_px,) * 2, (n, n)]
        if self.setup.parameters.form == "boxes":
            shapes.append((n, n, n))
        plans = shared_plans(runtime, list(dict.fromkeys(shapes)), self.setup.folder)
        self.setup.source.prepare(runtime, plans)
        return _Context(self.setup, plans)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Cut and write the particles of a unit; those with bad pixels are left out."""
        rows = unit.payload
        written = np.zeros(len(rows), np.int8)
        statistics = np.full((len(STATISTICS), len(rows)), np.nan)
        left_out: list[tuple[int, str]] = []
        for i, row in enumerate(rows):
            try:
                statistics[:, i] = self._extract(context, int(row))
                written[i] = 1
            except ParticleError as error:
                left_out.append((int(row), str(error)))
        refuse_all_bad(left_out, len(rows))
        values = dict(zip(STATISTICS, statistics, strict=True))
        return Partial({}, rows, {"written": written, **values}, left_out)

    def _extract(self, context: _Context, row: int) -> tuple[float, float, float, float]:
        """Write one particle; statistics of its images."""
        s, i_tomo = self.setup, int(self.setup.inputs.particles.i_tomo[row])
        tilts = np.flatnonzero(s.visible[row] == 1)
        motion_A = None if s.inputs.motion_A is None else s.inputs.motion_A[row]
        name = str(s.inputs.particles.names[row])
        with s.source.loaded(i_tomo) as images:
            cutter, pixels = context.cutter(i_tomo, images), list(images.images)
            if s.parameters.form == "boxes":
                box = cutter.box(pixels, s.xyz_A[row], s.R_box2t[row], tilts, name, motion_A)
                data = box.data
            else:
                data = cutter.stack(pixels, s.xyz_A[row], tilts, name, motion_A)
        voxel_A = s.frame.voxel_A
        if s.parameters.layout == "series":
            self.stack_writer(i_tomo).write_block(int(s.first[row]), data)
        else:
            write_mrc(self._images[row], data, voxel_A, mode=self._mode)
        if s.parameters.form == "boxes":
            write_mrc(self._weights[row], np.concatenate([box.weight_rft, box.multiplicity_rft]),
                      voxel_A, mode=self._mode)
            if s.parameters.snr is not None:
                divided = wiener_divided(box, s.parameters.snr, s.frame.taper_px, context.plans)
                write_mrc(self._filtered[row], divided, voxel_A, mode=self._mode)
        return (float(data.min()), float(data.max()), float(data.mean(dtype=np.float64)),
                float(data.std(dtype=np.float64)))

    def stack_writer(self, i_tomo: int) -> SectionWriter:
        """Writer of the stack of a series."""
        s, n = self.setup, self.setup.frame.box_px
        sections = int(s.n_images[s.inputs.particles.i_tomo == i_tomo].sum())
        return SectionWriter(series_file(s.inputs.series[i_tomo].name, s.folder),
                             (sections, n, n), s.frame.voxel_A, self._mode)

    def seen_series(self) -> list[int]:
        """Series with at least one particle to write."""
        s = self.setup
        return [int(i) for i in np.unique(s.inputs.particles.i_tomo[s.n_images > 0])]

    def finish(self, reduced: Any, runtime: Any) -> dict[str, NDArray[Any]]:
        """Name the stacks of the series, on rank 0; the rows on all."""
        rows = {name: reduced.rows(name) for name in self.row_specs()}
        if runtime.is_root and self.setup.parameters.layout == "series":
            for i in self.seen_series():
                self._close_stack(i, rows)
        return rows

    def _close_stack(self, i_tomo: int, rows: dict[str, NDArray[Any]]) -> None:
        s, writer = self.setup, self.stack_writer(i_tomo)
        own = (s.inputs.particles.i_tomo == i_tomo) & (s.n_images > 0)
        n = s.frame.box_px
        for row in np.flatnonzero(own & (rows["written"] == 0)):
            # bad data: empty images keep the places of the others
            writer.write_block(int(s.first[row]), np.zeros((s.n_images[row], n, n), np.float32))
        good = own & (rows["written"] == 1)
        if not good.any():
            return
        share = s.n_images[good] / s.n_images[good].sum()
        mean = float(share @ rows["mean"][good])
        spread = rows["sd"][good] ** 2 + (rows["mean"][good] - mean) ** 2
        writer.finish((float(rows["lowest"][good].min()), float(rows["highest"][good].max()),
                       mean, float(np.sqrt(share @ spread))))


def describe(parameters: ExtractParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = make_setup(parameters, parameters.output)
    plan = memory_plan(setup)
    return {
        "particles": len(setup.inputs.particles), "written": int((setup.n_images > 0).sum()),
        "images": int(setup.n_images.sum()), "box_px": setup.frame.box_px,
        "window_px": setup.frame.window_px, "voxel_A": setup.frame.voxel_A,
        "units": len(ExtractJob(setup, "dry run").units()),
        "disk_GiB": disk_bytes(setup) / GiB,
        "rank_memory_GiB": plan.rank_peak_GiB(process_bytes())}


def disk_bytes(setup: ExtractSetup) -> float:
    """What the images will take."""
    n, p = setup.frame.box_px, setup.parameters
    size = 2 if p.image_type == "float16" else 4
    if p.form != "boxes":
        return float(size * n * n * setup.n_images.sum())
    voxels = n**3 * (2 if p.snr is not None else 1) + 2 * n * n * (n // 2 + 1)
    return float(size * voxels * (setup.n_images > 0).sum())


def memory_plan(setup: ExtractSetup) -> MemoryPlan:
    """Arrays that one rank, and one node, hold at the peak."""
    frame = setup.frame
    window, cut, n = frame.window_px * frame.binning, frame.window_px, frame.box_px
    tilts = max(ts.n_tilts for ts in setup.inputs.used_series)
    parts = {"patches of a particle": tilts * (4.0 * window**2 + 4.0 * window * (window + 2)
                                               + 32.0 * cut * (cut // 2 + 1) + 8.0 * n * n),
             "transfer": tilts * 8.0 * (cut * (cut // 2 + 1) + n * (n // 2 + 1))}
    if setup.parameters.form == "boxes":
        parts["box"] = 40.0 * n**3
    return MemoryPlan(parts, {"tilt images": float(setup.source.bytes_shared())})


def run(parameters: ExtractParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Extract and write images, particles and set."""
    setup = make_setup(parameters, folder.path)
    job = ExtractJob(setup, folder.fingerprint)
    if runtime.is_root:
        if folder.state != RESUMED:
            shutil.rmtree(folder.path / IMAGES, ignore_errors=True)
        elif parameters.layout == "series":
            for i in job.seen_series():
                job.stack_writer(i).reopen()
    runtime.barrier()
    leave_room(setup.source, runtime, parameters.max_memory_GiB, lambda: memory_plan(setup))
    memory = memory_plan(setup)
    result = run_stage(job, folder, runtime, parameters, memory=memory)
    predicted = predicted_parts_GiB(job, runtime, memory)
    if not runtime.is_root:
        return JobOutcome()
    written = result.outputs["written"] == 1
    outputs = write_set(setup, written)
    results = {
        "particles_in": len(written), "particles": int(written.sum()),
        "images": int(setup.n_images[written].sum()), "box_px": setup.frame.box_px,
        "window_px": setup.frame.window_px, "voxel_A": setup.frame.voxel_A,
        "disk_GiB": disk_bytes(setup) / GiB, **engine_results(result)}
    warnings = left_out_warnings([result])
    n_unseen = int((setup.n_images == 0).sum())
    if n_unseen:
        warnings.append(f"{n_unseen} particles are left out: seen on fewer than "
                        f"{parameters.min_tilts} tilts with their whole box.")
    return JobOutcome(results, outputs, extract_sections(setup, written), warnings, [result],
                      predicted)
