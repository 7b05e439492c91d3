"""`classify`: particles into classes, class averages and class probabilities in turn.

A round scores each particle against the references of all classes, at its pose (`--no-align`)
or at the best pose in each class, and puts it into the averages by its probabilities. The
references are the averages, divided with the prior of each class's own FSC. Half-sets are
joined up to the resolution of the class: classes differ by more than the halves do, and a class
of few particles needs both. The FSC of a class is therefore no gold standard; `refine` its
particles for that.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.classes import (
    class_flow,
    class_posteriors,
    class_shares,
    empty_classes,
    focus_references,
    log_shares,
    split_labels,
)
from sta_mpi.align.grid_search import Band
from sta_mpi.errors import UsageError
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.jobs.align import GLOBAL_ORDER, search_kind
from sta_mpi.jobs.align_loop import RoundLoop, open_store
from sta_mpi.jobs.align_rounds import AlignRound
from sta_mpi.jobs.align_search import Search
from sta_mpi.jobs.align_state import LoopPoses, pack, start_state, unpack
from sta_mpi.jobs.averaging import Setup, make_setup
from sta_mpi.jobs.classify_contest import ROUNDS_A_START, compete
from sta_mpi.jobs.classify_output import write_classes
from sta_mpi.jobs.classify_start import start_classes
from sta_mpi.jobs.engine import describe_job, open_checkpoints
from sta_mpi.jobs.fixed_parts import check_fixed, without_fixed
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves, load_set, set_files
from sta_mpi.jobs.parameters.classify import ClassifyParameters
from sta_mpi.jobs.reconstruction import MapOptions, Maps, map_options
from sta_mpi.jobs.reference_files import read_mask, read_references, reference_files
from sta_mpi.jobs.search_options import (
    LEAST_SHELLS,
    check_band,
    check_candidate_band,
    check_options,
)
from sta_mpi.jobs.tilt_weights import weight_section

Floats = NDArray[np.float64]
Mask = NDArray[np.float32] | None

MOST_SPLITS = 3
"""Times in a run that empty classes are filled; what empties again stays empty."""


def input_files(parameters: ClassifyParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [*set_files(parameters), *reference_files(parameters.reference)]
    return files + [m for m in (parameters.reference_mask, parameters.focus_mask) if m]


def prepare_setup(parameters: ClassifyParameters) -> Setup:
    """Read and check the input, choose sizes."""
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed,
                         parameters.cluster_distance_A)
    setup = make_setup(inputs, parameters, half)
    check_band(parameters.lowpass_A, parameters.highpass_A, setup.sizes)
    kind = kind_of_search(parameters, setup)
    check_candidate_band(parameters.highpass_A, kind, setup.sizes)
    check_options(parameters, kind, kind == "local" or parameters.iterations > 1)
    check_fixed(parameters, kind, inputs.particles)
    least = min(int((half == h).sum()) for h in (1, 2) if (half == h).any())
    if parameters.n_classes > least:
        raise UsageError(f"--classes {parameters.n_classes}: a half-set has {least} particles, "
                         "expected at least one for each class. Ask for fewer classes.")
    if not _has_references(parameters) and kind == "global":
        raise UsageError(
            "first classes need poses, and the particles have none, or --search is global. Give a "
            "--reference for each class, or run `sta-mpi refine` first and classify its result.")
    return setup


def _has_references(parameters: ClassifyParameters) -> bool:
    """Whether each class has a reference of its own."""
    return parameters.method == "em" and len(parameters.reference) == parameters.n_classes


def kind_of_search(parameters: ClassifyParameters, setup: Setup) -> str:
    """How poses are searched."""
    if not parameters.align or parameters.method == "pca":
        return "still"
    return search_kind(parameters.search, parameters.global_order, setup.inputs.particles.R_p2t)


def describe(parameters: ClassifyParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = prepare_setup(parameters)
    read_references(parameters.reference, setup.sizes)
    for mask in (parameters.reference_mask, parameters.focus_mask):
        read_mask(mask, setup.sizes)
    search = _empty_search(parameters, setup)
    job = AlignRound(setup, search, (1.0, 1.0), map_options(parameters, setup.sizes), "dry run")
    return {"classes": parameters.n_classes, "search": search.kind,
            "most_rounds": parameters.iterations, **describe_job(job, setup)}


def run(parameters: ClassifyParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Classify; write classes, particles and report."""
    setup = replace(prepare_setup(parameters), folder=folder.path)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    focus = read_mask(parameters.focus_mask, setup.sizes)
    options = map_options(parameters, setup.sizes, mask, join_A=parameters.lowpass_A)
    mask = options.mask
    checkpoints = open_checkpoints(folder, parameters)
    with open_store(setup, _empty_search(parameters, setup), runtime) as store:
        own = replace(setup, source=store)
        loop = RoundLoop(own, store, folder, runtime, checkpoints)
        state = unpack(checkpoints.load_state(runtime))
        if state is None:
            references = (read_references(parameters.reference, setup.sizes)
                          if _has_references(parameters) else None)
            if references is None:
                references = np.zeros(
                    (2, parameters.n_classes, *(setup.sizes.box_px,) * 3), np.float32)
            state = start_state(own, references)
        masks = (mask, focus)
        maps = _rounds(parameters, own, masks, options, loop, state,
                       _first_labels(parameters, own, masks, options, loop, state))
    if not runtime.is_root:
        return JobOutcome()
    outcome = write_classes(parameters, folder, setup, state, [m for m in maps if m is not None],
                            loop.stages)
    outcome.sections += weight_section(setup, loop.tilt_weights)
    return outcome


def _first_labels(parameters: ClassifyParameters, setup: Setup, masks: tuple[Mask, Mask],
                  options: MapOptions, loop: RoundLoop, state: LoopPoses
                  ) -> NDArray[np.intp] | None:
    """Labels of the first classes; None where references make them, or they are made."""
    if state.history and not _is_contest(parameters, state):
        return None
    if _has_references(parameters):
        return None
    if parameters.random_starts > 1:
        return compete(parameters, loop, state, lambda state, labels: _round(
            parameters, setup, masks, options, loop, state, labels))
    mask, focus = masks
    return start_classes(parameters, loop, mask if focus is None else focus)


def _is_contest(parameters: ClassifyParameters, state: LoopPoses) -> bool:
    """Whether random starts still compete."""
    return (parameters.random_starts > 1
            and state.round_done < parameters.random_starts * (ROUNDS_A_START + 1))


def _round(parameters: ClassifyParameters, setup: Setup, masks: tuple[Mask, Mask],
           options: MapOptions, loop: RoundLoop, state: LoopPoses,
           labels: NDArray[np.intp] | None) -> list[Maps | None]:
    """Put particles into given classes, or score them, and average."""
    search = make_search(state, parameters, setup, masks, labels)
    before = labels_of(state)
    maps = loop.round(search, state, options)
    _note(state, before, parameters.n_classes, labels is not None)
    return maps


def _rounds(parameters: ClassifyParameters, setup: Setup, masks: tuple[Mask, Mask],
            options: MapOptions, loop: RoundLoop, state: LoopPoses,
            first: NDArray[np.intp] | None) -> list[Maps | None]:
    """First averages where there are none, then rounds until particles stay."""
    maps: list[Maps | None] = []
    while not (is_finished(parameters, state) and maps):
        labels = _split(parameters, setup, state) if state.history else first
        maps = _round(parameters, setup, masks, options, loop, state, labels)
        # the last round ends with the outputs: until they are written, its own units count
        if not is_finished(parameters, state):
            loop.checkpoints.save_state(loop.runtime, *pack(state))
    return maps


def _split(parameters: ClassifyParameters, setup: Setup, state: LoopPoses
           ) -> NDArray[np.intp] | None:
    """Labels that fill classes which the last round left empty; None where there are none."""
    if not state.history or state.history[-1]["is_given"] > 0:
        return None
    splits = sum(h["is_given"] for h in state.history[1:])
    empty = empty_classes(_shares(state, parameters.n_classes), parameters.least_share)
    if not len(empty) or splits >= MOST_SPLITS:
        return None
    rng = np.random.default_rng([parameters.seed, state.round_done, 0x5911])
    return split_labels(labels_of(state), setup.half, empty, rng)


def is_finished(parameters: ClassifyParameters, state: LoopPoses) -> bool:
    """Whether particles stay in their classes, or rounds are used up."""
    if not state.history:
        return False
    if parameters.method == "pca":
        return True
    last = state.history[-1]
    searched = sum(h["is_given"] == 0 for h in state.history)
    if searched >= parameters.iterations:
        return last["is_given"] == 0
    shares = _shares(state, parameters.n_classes)
    splits = sum(h["is_given"] for h in state.history[1:])
    if len(empty_classes(shares, parameters.least_share)) and splits < MOST_SPLITS:
        return False
    return last["is_given"] == 0 and last["changed_share"] < parameters.settled_share


def labels_of(state: LoopPoses) -> NDArray[np.intp]:
    """Class of each particle after the last round; -1: none."""
    if not state.columns:
        return np.full(len(state.R_p2t), -1, np.intp)
    return np.where(state.columns["n_slices"] > 0, state.columns["i_reference"], -1).astype(np.intp)


def _shares(state: LoopPoses, n_classes: int) -> Floats:
    scores = state.columns["reference_scores"][state.columns["n_slices"] > 0]
    return class_shares(class_posteriors(scores[:, :n_classes]))


def _note(state: LoopPoses, before: NDArray[np.intp], n_classes: int, is_given: bool) -> None:
    """Add shares and flow to the history of a round."""
    after, entry = labels_of(state), state.history[-1]
    flow = class_flow(before, after, n_classes)
    moved = flow.sum() - np.trace(flow)
    entry["is_given"] = float(is_given)
    entry["changed_share"] = float(moved / flow.sum()) if flow.sum() else 1.0
    for k, share in enumerate(_shares(state, n_classes)):
        entry[f"share_{k + 1}"] = float(share)
    for (a, b), count in np.ndenumerate(flow):
        entry[f"flow_{a + 1}_{b + 1}"] = float(count)


def _empty_search(parameters: ClassifyParameters, setup: Setup) -> Search:
    """The first round with empty references, for sizes."""
    shape = (2, parameters.n_classes, *(setup.sizes.box_px,) * 3)
    state = start_state(setup, np.zeros(shape, np.float32))
    return make_search(state, parameters, setup, (None, None), None)


def make_search(state: LoopPoses, parameters: ClassifyParameters, setup: Setup,
                masks: tuple[Mask, Mask], labels: NDArray[np.intp] | None) -> Search:
    """What the next round does: puts particles into given classes, or scores them."""
    voxel_A, span_A = setup.sizes.voxel_A, setup.sizes.box_px * setup.sizes.voxel_A
    kind = kind_of_search(parameters, setup)
    searched = sum(h["is_given"] == 0 for h in state.history)
    # orientations are unknown in the first round alone
    is_global = kind == "global" and searched == 0
    if is_global:
        order = GLOBAL_ORDER if parameters.global_order is None else parameters.global_order
        rotations, step_deg = healpix_rotations(order, parameters.symmetry), healpix_step_deg(order)
    else:
        step_deg = parameters.angle_range_deg / 3
        rotations = (np.eye(3)[None] if kind == "still"
                     else local_rotations(parameters.angle_range_deg, step_deg))
    step_A = parameters.shift_range_A / 2
    mask, focus = masks
    shares = (_shares(state, parameters.n_classes) if state.columns
              else np.full(parameters.n_classes, 1.0 / parameters.n_classes))
    references = state.references if focus is None else focus_references(
        state.references, focus, shares)
    r_min = 0.0 if parameters.highpass_A is None else span_A / parameters.highpass_A
    band = Band(r_min, float(np.clip(span_A / parameters.lowpass_A, max(LEAST_SHELLS, r_min + 1),
                                     setup.sizes.box_px // 2 - 3)))
    name = "given" if labels is not None else kind if kind == "still" else (
        "global" if is_global else "local")
    search = Search(
        state.R_p2t, state.offset_A, state.anchor_A, references, parameters.n_classes,
        np.ones_like(state.fsc),
        mask, name, rotations, is_global,
        shift_grid(parameters.shift_range_A / voxel_A, step_A / voxel_A), step_A,
        prior_orientations(setup.inputs.particles), parameters.angle_range_deg,
        parameters.shift_range_A, step_deg, band, state.round_done, parameters,
        log_shares(shares), labels)
    return without_fixed(search, setup.inputs.particles)
