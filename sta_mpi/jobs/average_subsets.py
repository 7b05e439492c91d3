"""Further passes of `average` at the same poses: other half-sets, and fewer particles.

Each pass is a stage of the same job; its FSC is kept in the state of the job, so that a killed
run does not repeat finished passes. Maps of these passes are not written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.jobs.averaging import Setup, make_setup
from sta_mpi.jobs.engine import run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves
from sta_mpi.jobs.parameters.average import AverageParameters
from sta_mpi.jobs.resolution_report import reslog_section, splits_section
from sta_mpi.parallel.checkpoint import CheckpointStore
from sta_mpi.parallel.job import Job
from sta_mpi.signal.fsc import FscResult

FRACTIONS = (0.125, 0.25, 0.5)
"""Shares of each half-set that the ResLog curve is measured at, besides all."""

LEAST_OF_A_HALF = 2
"""Particles of a half-set without which a share is left out."""


@dataclass(frozen=True)
class Pass:
    """A further pass: its name, the half-sets (n,) with 0 for particles left out."""

    name: str
    half: NDArray[np.int8]

    @property
    def n_particles(self) -> int:
        """Particles in it."""
        return int((self.half > 0).sum())


def further_passes(parameters: AverageParameters, setup: Setup) -> list[Pass]:
    """What `--splits` and `--reslog` ask for."""
    mode = "clusters" if parameters.halves == "clusters" else "random"
    passes = [Pass(f"split {i + 1}", assign_halves(
        setup.inputs.particles, mode, parameters.seed + 1000 * i, parameters.cluster_distance_A))
        for i in range(1, parameters.splits)]
    if parameters.reslog:
        rng = np.random.default_rng([parameters.seed, 0x4E5106])
        order = [rng.permutation(np.flatnonzero(setup.half == h)) for h in (1, 2)]
        for share in FRACTIONS:
            half = np.zeros_like(setup.half)
            counts = [round(share * len(rows)) for rows in order]
            for h, (rows, n) in enumerate(zip(order, counts, strict=True), 1):
                half[rows[:n]] = h
            if min(counts) >= LEAST_OF_A_HALF:
                passes.append(Pass(f"subset {share:g}", half))
    return passes


def run_passes(passes: list[Pass], setup: Setup, make_job: Callable[[Setup, str], Job],
               folder: JobFolder, runtime: Any, checkpoints: CheckpointStore
               ) -> tuple[list[FscResult], list[Any]]:
    """FSC of every pass (rank 0), and the stages that were run now; collective."""
    state = checkpoints.load_state(runtime)
    curves = [] if state is None else _unpack(state.position["curves"])
    stages = []
    for further in passes[len(curves):]:
        own = _with_halves(setup, further)
        job = make_job(own, folder.fingerprint + further.name)
        result = run_stage(job, folder, runtime, setup.parameters, checkpoints)
        stages.append(result)
        maps, _ = result.outputs
        curves.append(runtime.bcast(None if maps is None else maps.fsc))
        checkpoints.save_state(runtime, {"curves": _pack(curves)}, {})
    return curves, stages


def _with_halves(setup: Setup, further: Pass) -> Setup:
    """The same input with other half-sets; stacks and boxes are scaled by half-set."""
    if setup.source.kind == "tilt-series" or further.n_particles < len(further.half):
        return replace(setup, half=further.half)
    return replace(make_setup(setup.inputs, setup.parameters, further.half), folder=setup.folder)


def report_passes(passes: list[Pass], curves: list[FscResult], fsc: FscResult, n_particles: int,
                  outcome: JobOutcome) -> None:
    """Add sections, results and warnings to the outcome of the first pass."""
    splits = [c for p, c in zip(passes, curves, strict=True) if p.name.startswith("split")]
    subsets = [(p.n_particles, c) for p, c in zip(passes, curves, strict=True)
               if p.name.startswith("subset")]
    if splits:
        names = ["split 1 (the maps)", *(p.name for p in passes[: len(splits)])]
        splits_section(names, [fsc, *splits], outcome)
    if subsets:
        reslog_section(fsc, n_particles, [n for n, _ in subsets], [c for _, c in subsets], outcome)


def _pack(curves: list[FscResult]) -> list[dict[str, Any]]:
    return [{name: value.tolist() if isinstance(value, np.ndarray) else value
             for name, value in vars(c).items()} for c in curves]


def _unpack(packed: list[dict[str, Any]]) -> list[FscResult]:
    curves = []
    for values in packed:
        unmasked, masked, randomised, corrected = (
            np.array(values[name]) for name in ("unmasked", "masked", "randomised", "corrected"))
        curves.append(FscResult(unmasked, masked, randomised, corrected,
                                values["randomised_from_shell"], values["voxel_A"],
                                values["box_px"]))
    return curves
