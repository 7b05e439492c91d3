"""`average`: particles at their given poses into half maps."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.symmetrise import Helix
from sta_mpi.errors import ParticleError
from sta_mpi.jobs.average_subsets import further_passes, report_passes, run_passes
from sta_mpi.jobs.averaging import (
    Setup,
    SliceMaker,
    UnitSums,
    check_any_seen,
    make_plans,
    make_setup,
    make_unit_sums,
    make_units,
    memory_plan,
    n_slices,
)
from sta_mpi.jobs.engine import (
    describe_job,
    engine_results,
    left_out_warnings,
    open_checkpoints,
    predicted_parts_GiB,
    run_stage,
)
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.held_series import leave_room
from sta_mpi.jobs.inputs import assign_halves, load_set, set_files
from sta_mpi.jobs.map_report import map_results, map_sections
from sta_mpi.jobs.parameters.average import AverageParameters, ReconstructionParameters
from sta_mpi.jobs.reconstruction import (
    MapOptions,
    Maps,
    half_sum_specs,
    map_options,
    reconstruct,
    write_maps,
)
from sta_mpi.jobs.sources import refuse_all_bad
from sta_mpi.jobs.tilt_weights import (
    NAME,
    add_weights,
    collect_weights,
    no_weights,
    tilt_weight_spec,
    weight_section,
)
from sta_mpi.jobs.volume_setup import contrast_warnings
from sta_mpi.parallel.accumulators import choose_storage, engine_memory
from sta_mpi.parallel.job import Partial, SumSpec, Unit


def input_files(parameters: AverageParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    return set_files(parameters)


@dataclass
class _Context:
    setup: Setup
    sums: UnitSums
    slices: SliceMaker


class AverageJob:
    """One pass over all particles: cut, weight, insert."""

    name = "average"

    def __init__(self, setup: Setup, fingerprint: str, options: MapOptions | None = None
                 ) -> None:
        self.setup = setup
        self._options = options or map_options(setup.parameters, setup.sizes)
        self._fingerprint = fingerprint
        self.tilt_weights: NDArray[np.float64] | None = None

    def units(self) -> list[Unit]:
        """Chunks of one series and half."""
        return make_units(self.setup)

    def sum_specs(self) -> dict[str, SumSpec]:
        """The sums of both halves."""
        return {**half_sum_specs(self.setup.sizes, n_slices(self.setup)),
                **tilt_weight_spec(self.setup)}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Number of slices of each particle."""
        return {"n_slices": ((len(self.setup.half),), "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._fingerprint

    def prepare(self, runtime: Any) -> _Context:
        """Plans, shared tilt images and the unit's sums."""
        sums = make_unit_sums(self.setup, runtime, self.units())
        plans = make_plans(self.setup, runtime)
        self.setup.source.prepare(runtime, plans)
        return _Context(self.setup, sums[0], SliceMaker(self.setup))

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Insert the particles of a unit."""
        half, rows = unit.payload
        particles = context.setup.inputs.particles
        context.sums.clear()
        counts, weights = np.zeros(len(rows), np.int32), no_weights(context.setup)
        left_out: list[tuple[int, str]] = []
        for i, row in enumerate(rows):
            try:
                observation = context.setup.source.observe(int(row), particles.offset_A[row])
            except ParticleError as error:
                left_out.append((int(row), str(error)))
                continue
            if observation is not None:
                samples = context.slices(observation)
                context.sums.insert(samples, particles.R_p2t[row])
                add_weights(weights, int(particles.i_tomo[row]), samples)
                counts[i] = samples.n_slices
        refuse_all_bad(left_out, len(rows))
        return Partial({f"half{half}": context.sums.total(), NAME: weights}, rows,
                       {"n_slices": counts}, left_out)

    def finish(self, reduced: Any, runtime: Any) -> tuple[Maps | None, Any]:
        """Maps on rank 0, and the number of slices of every particle."""
        maps = reconstruct(reduced, runtime, self.setup.sizes, self._options,
                           self.setup.source.gain)
        self.tilt_weights = collect_weights(reduced, runtime)
        return maps, reduced.rows("n_slices")


def prepare_setup(parameters: ReconstructionParameters) -> Setup:
    """Read and check the input, choose sizes."""
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed,
                         parameters.cluster_distance_A)
    return make_setup(inputs, parameters, half)


def describe(parameters: AverageParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = prepare_setup(parameters)
    return describe_job(AverageJob(setup, "dry run"), setup)


def run(parameters: AverageParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Average and write maps, FSC and report."""
    setup = replace(prepare_setup(parameters), folder=folder.path)
    inputs = setup.inputs
    options = replace(map_options(parameters, setup.sizes), helix=_helix(parameters, setup))
    checkpoints = open_checkpoints(folder, parameters)
    job = AverageJob(setup, folder.fingerprint, options)
    engine = engine_memory(job, choose_storage(job, runtime))
    leave_room(setup.source, runtime, parameters.max_memory_GiB,
               lambda: memory_plan(setup, runtime.size).plus(engine))
    passes = further_passes(parameters, setup)
    curves, stages = run_passes(passes, setup, lambda own, name: AverageJob(own, name, options),
                                folder, runtime, checkpoints)
    memory = memory_plan(setup, runtime.size)
    result = run_stage(job, folder, runtime, parameters, checkpoints, memory)
    maps, counts = result.outputs
    check_any_seen(counts, setup)
    predicted = predicted_parts_GiB(job, runtime, memory)
    if maps is None:
        return JobOutcome()
    outputs = write_maps(folder.path, maps)
    results = {
        "particles": len(inputs.particles), "tilt_series": len(inputs.used_series),
        "source": setup.source.kind, "slices": int(counts.sum()),
        **map_results(maps), **engine_results(*stages, result)}
    sections = [*map_sections(maps, inputs.particles, parameters.symmetry),
                *weight_section(setup, job.tilt_weights)]
    warnings = [*left_out_warnings([result]), *_warnings(counts),
                *contrast_warnings(setup.source.kind, maps.merged.data)]
    outcome = JobOutcome(results, outputs, sections, warnings, [*stages, result], predicted)
    report_passes(passes, curves, maps.fsc, len(inputs.particles), outcome)
    return outcome


def _helix(parameters: AverageParameters, setup: Setup) -> Helix | None:
    """The helical symmetry asked for, in voxels."""
    if parameters.helical_rise_A is None:
        return None
    return Helix(parameters.helical_units, parameters.helical_rise_A / setup.sizes.voxel_A,
                 parameters.helical_twist_deg)


def _warnings(counts: np.ndarray) -> list[str]:
    if (counts == 0).any():
        return [f"{int((counts == 0).sum())} particles contributed nothing: no tilt image holds "
                "their whole box, or they are in the quarantine. A smaller box may keep them."]
    return []
