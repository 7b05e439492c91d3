"""What `classify` writes at its end: class maps, particles, probabilities, model, set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.classes import class_posteriors
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.poses_h5 import write_poses
from sta_mpi.formats.relion_model import ModelClass, write_model
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.jobs.align_check import check_warnings
from sta_mpi.jobs.align_output import result_particles
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.classify_report import class_sections
from sta_mpi.jobs.engine import engine_results, left_out_warnings
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.foreign_tables import with_table
from sta_mpi.jobs.map_report import map_results
from sta_mpi.jobs.parameters.classify import ClassifyParameters
from sta_mpi.jobs.reconstruction import Maps, write_maps
from sta_mpi.version import __version__

Floats = NDArray[np.float64]

UNSURE = 0.6
"""Mean probability of the chosen class below which classes are hardly told apart."""


def write_classes(parameters: ClassifyParameters, folder: JobFolder, setup: Setup,
                  state: LoopPoses, maps: list[Maps], stages: list[Any]) -> JobOutcome:
    """Write everything but the report (rank 0 alone)."""
    outputs: dict[str, str] = {}
    for k, m in enumerate(maps, 1):
        prefix = f"class{k:03d}_"
        outputs |= {prefix + name: file
                    for name, file in write_maps(folder.path, m, prefix).items()}
    used = state.columns["n_slices"] > 0
    posteriors = class_posteriors(state.columns["reference_scores"][:, : len(maps)])
    posteriors[~used] = 0.0
    shares = posteriors.sum(axis=0) / max(posteriors.sum(), 1e-300)
    particles = result_particles(setup, state, len(maps))
    particles.columns["rlnClassNumber"] = state.columns["i_reference"] + 1
    particles.columns["rlnMaxValueProbDistribution"] = posteriors.max(axis=1)
    write_particles(folder.file("particles.star"), particles, setup.inputs.tomograms)
    write_poses(folder.file("poses.h5"), particles, attributes={
        "fingerprint": folder.fingerprint, "version": __version__})
    write_h5(folder.file("classes.h5"), {
        "class": np.where(used, state.columns["i_reference"] + 1, 0), "posterior": posteriors,
        "reference_scores": state.columns["reference_scores"]},
        {"what": "classes, 1 .. K, 0: none; their probabilities; log evidence with the share"})
    _write_model(folder, setup, state, maps, shares)
    largest = int(np.argmax(shares))
    prefix = f"class{largest + 1:03d}_"
    write_optimisation_set(folder.file("optimisation_set.star"), OptimisationSet(
        particles=folder.path / "particles.star",
        tomograms=with_table(setup.inputs, folder.path).paths.tomograms,
        trajectories=setup.inputs.paths.trajectories,
        reference1=folder.path / f"{prefix}half1.mrc",
        reference2=folder.path / f"{prefix}half2.mrc"))
    outputs |= {"particles": "particles.star", "poses": "poses.h5", "classes": "classes.h5",
                "model": "run_model.star", "optimisation_set": "optimisation_set.star"}
    if folder.file("components.h5").exists():
        outputs["components"] = "components.h5"
    sizes = np.bincount(state.columns["i_reference"][used], minlength=len(maps))
    results = {
        "particles": len(particles), "classes": len(maps), "rounds": state.round_done,
        "largest_class": largest + 1, "class_sizes": [int(n) for n in sizes],
        "class_shares": [round(float(s), 5) for s in shares],
        "class_resolution_A": [float(m.fsc.resolution_A()) for m in maps],
        "changed_share": state.history[-1]["changed_share"],
        "mean_probability": float(posteriors[used].max(axis=1).mean()),
        **map_results(maps[largest]), **engine_results(*stages)}
    sections = class_sections(folder, parameters, setup, state, maps, posteriors)
    warnings = [*left_out_warnings(stages), *_warnings(parameters, state, posteriors[used], sizes)]
    return JobOutcome(results, outputs, sections, warnings, stages)


def _write_model(folder: JobFolder, setup: Setup, state: LoopPoses, maps: list[Maps],
                 shares: Floats) -> None:
    classes = []
    for k, m in enumerate(maps):
        half = np.clip(np.nan_to_num(m.fsc.corrected), 0.001, 0.999)
        noise = 1.0 / np.maximum(m.weights[2], 1e-30)
        classes.append(ModelClass(f"class{k + 1:03d}_merged.mrc", float(shares[k]),
                                  np.nan_to_num(m.fsc.corrected),
                                  noise * 2 * half / (1 - half), noise, m.fsc.resolution_A()))
    sigma_A = float(np.sqrt(np.mean(state.offset_A**2)))
    write_model(folder.file("run_model.star"), classes, setup.sizes.box_px, setup.sizes.voxel_A,
                setup.sizes.pad, float(np.nanmean(state.columns["p_max"])), sigma_A)


def _warnings(parameters: ClassifyParameters, state: LoopPoses, posteriors: Floats,
              sizes: NDArray[np.int64]) -> list[str]:
    warnings = []
    for i, entry in enumerate(state.history):
        warnings += check_warnings(entry)
        if i > 0 and entry["is_given"] > 0:
            warnings.append(
                f"round {entry['round']:.0f}: a class held less than {parameters.least_share:g} of "
                "the particles and took a random half of the largest class. Where it empties "
                "again, ask for fewer classes (--least-share 0 leaves classes empty).")
    total = max(int(sizes.sum()), 1)
    small = [k + 1 for k, n in enumerate(sizes) if n < parameters.least_share * total or n == 0]
    if small:
        warnings.append(f"class {', '.join(map(str, small))} is empty or nearly so. Ask for fewer "
                        "classes, or trust them only after another seed found them too.")
    changed = state.history[-1]["changed_share"] if len(state.history) > 1 else 0.0
    if parameters.method == "em" and changed > parameters.settled_share:
        warnings.append(f"{100 * changed:.1f} % of the particles "
                        "changed their class in the last round. Raise --iterations.")
    if parameters.method == "em" and len(sizes) > 1 and posteriors.max(axis=1).mean() < UNSURE:
        warnings.append("classes are hardly told apart (mean probability of the chosen class "
                        f"{posteriors.max(axis=1).mean():.2f}). Use a --focus-mask, a finer "
                        "--lowpass-A, or fewer classes.")
    return warnings
