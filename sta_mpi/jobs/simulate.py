"""`simulate`: tilt series with known truth, one tilt a unit of work.

Unlike other jobs, a unit writes its own output: the image goes to its place in the series'
stack, so that images never travel between ranks. Writing it twice gives the same bytes, so a
resumed run is safe.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.mrc import open_stack, read_mrc
from sta_mpi.formats.mrc_sections import SectionWriter
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.engine import engine_results, predicted_parts_GiB, run_stage
from sta_mpi.jobs.folder import RESUMED, JobFolder, JobOutcome
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.jobs.simulate_like import project_files
from sta_mpi.jobs.simulate_output import (
    frames_name,
    stack_name,
    stack_writer,
    write_project,
    write_truth,
)
from sta_mpi.jobs.simulate_scene import Scene, SeriesScene, build_scene
from sta_mpi.parallel.job import Partial, SumSpec, Unit
from sta_mpi.parallel.memory import GiB, MemoryPlan, process_bytes
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import map_slices, particles_on_image
from sta_mpi.simulate.image import Image, aligned_sum, movie_frames, patch_size_px, render_tilt
from sta_mpi.simulate.motion import frame_drift
from sta_mpi.simulate.noise import noise_image, stream

STATISTICS = ("lowest", "highest", "mean", "sd")


def input_files(parameters: SimulateParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [p for p in (parameters.model, parameters.density_map) if p is not None]
    if parameters.is_twin:
        files += project_files(parameters)
    return files


class SimulateJob:
    """Images of all tilts of all series."""

    name = "simulate"

    def __init__(self, scene: Scene, parameters: SimulateParameters, folder: Path,
                 fingerprint: str) -> None:
        self.scene, self.parameters, self.folder = scene, parameters, folder
        self._fingerprint = fingerprint
        self._first = np.cumsum([0, *(s.true.n_tilts for s in scene.series)])

    def units(self) -> list[Unit]:
        """One tilt each; cost: pixels of the patches and of the image."""
        units: list[Unit] = []
        for i, s in enumerate(self.scene.series):
            patches = sum(len(g) * patch_size_px(g.phantom, s.true) ** 2 for g in s.objects)
            cost = float(patches + 4 * np.prod(s.true.image_size_px))
            units += [Unit(len(units) + t, s.name, cost, (i, t)) for t in range(s.true.n_tilts)]
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """None: images are not added up."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Statistics of every tilt image, and the drift of its frames."""
        n = int(self._first[-1])
        specs: dict[str, tuple[tuple[int, ...], str]] = dict.fromkeys(
            STATISTICS, ((n,), "float64"))
        if self.parameters.n_frames:
            specs["drift_px"] = ((n, self.parameters.n_frames, 2), "float64")
        return specs

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> list[SectionWriter]:
        """Writers of the stacks."""
        return [stack_writer(self.folder, s.true, self.parameters.image_type)
                for s in self.scene.series]

    def work(self, context: list[SectionWriter], unit: Unit) -> Partial:
        """Image one tilt and write it."""
        i_series, i_tilt = unit.payload
        s, p = self.scene.series[i_series], self.parameters
        signal = render_tilt(s.objects, s.true, i_tilt, p.mtf_at_nyquist)
        values: dict[str, NDArray[Any]] = {}
        if p.n_frames:
            image, drift_px = self._movie(s, i_tilt, signal)
            values["drift_px"] = drift_px[None]
        else:
            image = signal + self._noise(s, i_tilt, s.noise_sd[i_tilt], "noise")
        context[i_series].write(i_tilt, image)
        found = (image.min(), image.max(), image.mean(dtype=float), image.std(dtype=float))
        values |= {name: np.array([float(v)]) for name, v in zip(STATISTICS, found, strict=True)}
        return Partial({}, np.array([self._first[i_series] + i_tilt]), values)

    def _noise(self, s: SeriesScene, i_tilt: int, sd: float, *purpose: str | int) -> Image:
        p, (width, height) = self.parameters, s.true.image_size_px
        rng = stream(p.seed, s.name, i_tilt, *purpose)
        return noise_image((height, width), float(sd), rng, p.noise_colour, p.noise_knee_per_px)

    def _movie(self, s: SeriesScene, i_tilt: int, signal: Image) -> tuple[Image, NDArray]:
        """Write the frames of a tilt; their aligned sum and their drift."""
        n = self.parameters.n_frames
        drift_px = frame_drift(n, self.parameters.frame_drift_px,
                               stream(self.parameters.seed, s.name, i_tilt, "drift"))
        share = s.noise_sd[i_tilt] / np.sqrt(n)
        noise = [self._noise(s, i_tilt, share, "frame", k) for k in range(n)]
        frames = movie_frames(signal, drift_px, noise)
        write_mrc(self.folder / frames_name(s.name, i_tilt), frames, s.true.pixel_A)
        return aligned_sum(frames, drift_px), drift_px

    def finish(self, reduced: Any, runtime: Any) -> dict[str, str]:
        """Close the stacks, write the project and the truth, on rank 0."""
        rows = {name: reduced.rows(name) for name in self.row_specs()}
        if not runtime.is_root:
            return {}
        for s, first in zip(self.scene.series, self._first[:-1], strict=True):
            part = slice(int(first), int(first) + s.true.n_tilts)
            writer = stack_writer(self.folder, s.true, self.parameters.image_type)
            writer.finish(stack_statistics(*(rows[name][part] for name in STATISTICS)))
        outputs = write_project(self.folder, self.scene, self.parameters)
        return outputs | write_truth(self.folder, self.scene, self.parameters,
                                     rows.get("drift_px"))


def stack_statistics(lowest: NDArray, highest: NDArray, mean: NDArray, sd: NDArray
                     ) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation of a stack from those of its images."""
    total = float(mean.mean())
    return (float(lowest.min()), float(highest.max()), total,
            float(np.sqrt(np.mean(sd**2 + (mean - total) ** 2))))


def memory_plan(scene: Scene, n_frames: int) -> MemoryPlan:
    """Arrays that a rank holds at the peak: images, patches, and the particle's map."""
    true = [s.true for s in scene.series]
    image = 4.0 * max(g.image_size_px[0] * g.image_size_px[1] for g in true)
    patch = max(patch_size_px(o.phantom, s.true) for s in scene.series for o in s.objects)
    parts = {"images of a tilt": image * (6 + 2 * n_frames), "patches": 40.0 * patch**2,
             "truth map": 40.0 * scene.truth_box_px**3}
    return MemoryPlan(parts)


def describe(parameters: SimulateParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    scene = build_scene(parameters)
    true = [s.true for s in scene.series]
    pixels = sum(g.n_tilts * g.image_size_px[0] * g.image_size_px[1] for g in true)
    plan = memory_plan(scene, parameters.n_frames)
    return {
        "tilt_series": len(true), "tilts": sum(g.n_tilts for g in true),
        "particles": sum(len(s.targets) for s in scene.series), "pixel_A": true[0].pixel_A,
        "rank_memory_GiB": plan.rank_peak_GiB(process_bytes()),
        "images_disk_GiB": pixels * np.dtype(parameters.image_type).itemsize / GiB}


def run(parameters: SimulateParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Simulate and write a RELION 5 project with its truth."""
    scene = build_scene(parameters)
    if runtime.is_root:
        for s in scene.series:
            writer = stack_writer(folder.path, s.true, parameters.image_type)
            if folder.state == RESUMED:
                writer.reopen()
            else:
                writer.discard()
    job = SimulateJob(scene, parameters, folder.path, folder.fingerprint)
    memory = memory_plan(scene, parameters.n_frames)
    result = run_stage(job, folder, runtime, parameters, memory=memory)
    predicted = predicted_parts_GiB(job, runtime, memory)
    if not runtime.is_root:
        return JobOutcome()
    true = [s.true for s in scene.series]
    results = {
        "tilt_series": len(scene.series), "tilts": sum(g.n_tilts for g in true),
        "particles": sum(len(s.targets) for s in scene.series),
        "pixel_A": true[0].pixel_A, "truth_box_px": scene.truth_box_px,
        "particle_diameter_A": 2 * scene.phantom.radius_A,
        "noise_sd": float(np.mean([s.noise_sd.mean() for s in scene.series])),
        **engine_results(result)}
    sections = [_picture(folder.path, scene)]
    return JobOutcome(results, result.outputs, sections, [], [result], predicted)


def _picture(folder: Path, scene: Scene) -> Section:
    """The least tilted image of the first series with its particles, and the particle."""
    s = scene.series[0]
    i_tilt = int(np.argmin(np.abs(s.true.tilt_deg)))
    image = open_stack(folder / stack_name(s.name))[i_tilt].astype(np.float32)
    at_px, _ = s.true.position_px(s.true.view(i_tilt), s.targets.position_at_A(i_tilt))
    truth = read_mrc(folder / "truth.mrc")
    return Section("What was simulated", figures=[
        Figure(f"{s.name}, tilt {s.true.tilt_deg[i_tilt]:.0f}°", particles_on_image(
            image, at_px, pixel_A=s.true.pixel_A,
            diameter_A=2 * scene.phantom.radius_A),
            "Circles are the true positions of the particles of the list; protein is dark."),
        Figure("Particle", map_slices(truth.data, truth.voxel_A),
               "The true map: central slices above, projections below.")])
