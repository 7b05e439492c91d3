"""Report sections of `classify`: slices, sizes, flow and resolution of classes, components."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.align_report import noise_section
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.parameters.classify import ClassifyParameters
from sta_mpi.jobs.reconstruction import Maps
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import class_course, class_slices, component_scatter, fsc_curves

Floats = NDArray[np.float64]

MOST_CLASSES = 12
"""Classes that one figure shows, the largest first."""


def class_sections(folder: JobFolder, parameters: ClassifyParameters, setup: Setup,
                   state: LoopPoses, maps: list[Maps], posteriors: Floats) -> list[Section]:
    """Classes first, then how they came about."""
    sections = [_classes(setup, state, maps, posteriors), _course(parameters, state, len(maps))]
    if "reached" in state.best:
        sections.append(_contest(state))
    if folder.file("components.h5").exists():
        sections.append(_components(folder, setup))
    return [*sections, *noise_section(setup, state)]


def _classes(setup: Setup, state: LoopPoses, maps: list[Maps], posteriors: Floats) -> Section:
    used = state.columns["n_slices"] > 0
    labels = state.columns["i_reference"]
    sizes = np.bincount(labels[used], minlength=len(maps))
    shares = posteriors.sum(axis=0) / max(posteriors.sum(), 1e-300)
    shown = np.argsort(-shares, kind="stable")[:MOST_CLASSES]
    rows = []
    for k, m in enumerate(maps):
        own = used & (labels == k)
        mean = float(posteriors[own, k].mean()) if own.any() else None
        rows.append([k + 1, int(sizes[k]), f"{100 * shares[k]:.1f} %",
                     *(int((own & (setup.half == h)).sum()) for h in (1, 2)), mean,
                     m.fsc.resolution_A()])
    names = {k: f"class {k + 1} ({100 * shares[k]:.0f} %)" for k in shown}
    voxel_A, box = setup.sizes.voxel_A, setup.sizes.box_px
    curves = {names[k]: maps[k].fsc.corrected for k in shown[:6]
              if np.isfinite(maps[k].fsc.corrected).any()}
    figures = [Figure(
        "Class slices", class_slices.later([maps[k].merged.data for k in shown],
                                           [names[k] for k in shown], voxel_A),
        "Central xy and xz slices of each class in one grey scale, and in the lower rows minus "
        "the mean of the classes: what tells each of them apart. Differences all over the "
        "particle, or rings outside it, are noise or contrast, not conformation.")]
    if curves:
        figures.append(Figure("FSC by class", fsc_curves.later(curves, voxel_A, box),
                              "Corrected for the mask. The halves of a class share references up "
                              "to its resolution: refine a class for a gold-standard number."))
    return Section("Classes", tables=[Table(
        "Classes", ["class", "particles", "share", "half 1", "half 2", "mean probability",
                    "resolution [Å]"], rows,
        "Particles are counted in their most probable class; shares are means of probabilities.")],
        figures=figures)


def _course(parameters: ClassifyParameters, state: LoopPoses, n: int) -> Section:
    rounds = [int(h["round"]) for h in state.history]
    shares = np.array([[h[f"share_{k + 1}"] for k in range(n)] for h in state.history])
    changed = np.array([h["changed_share"] for h in state.history])
    fate = ["" if h["is_given"] == 0 else "empty classes filled" if i else "first classes"
            for i, h in enumerate(state.history)]
    rows = [[r, *(f"{100 * s:.1f}" for s in row), f"{100 * c:.1f}", word]
            for r, row, c, word in zip(rounds, shares, changed, fate, strict=True)]
    last = state.history[-1]
    flow = [[a + 1, *(int(last[f"flow_{a + 1}_{b + 1}"]) for b in range(n))] for a in range(n)]
    return Section("Course of the classification", tables=[
        Table("Shares by round [%]", ["round", *(f"class {k + 1}" for k in range(n)), "changed",
                                      ""], rows),
        Table("Flow in the last round", ["from class", *(f"to {k + 1}" for k in range(n))], flow,
              "Particles that were in the class of the row and are in that of the column.")],
        figures=[Figure("Class flow", class_course.later(rounds, shares, changed),
                        "Shares should level off and few particles should change. Classes that "
                        "trade particles to the end are not distinct.")])


def _contest(state: LoopPoses) -> Section:
    reached, shares = state.best["reached"], state.best["shares"]
    best = int(np.argmax(reached))
    rows = [[i + 1, float(value), float(value - reached[best]),
             " / ".join(f"{100 * s:.0f}" for s in own), "went on" if i == best else ""]
            for i, (value, own) in enumerate(zip(reached, shares, strict=True))]
    return Section("Random starts", tables=[Table(
        "Starts in competition", ["start", "mean log-likelihood", "behind the best",
                                  "shares [%], largest first", ""], rows,
        "Starts that come to the same likelihood and shares found the same classes. Where all of "
        "them differ, the data do not decide on this number of classes.")])


def _components(folder: JobFolder, setup: Setup) -> Section:
    found = read_h5(folder.file("components.h5")).arrays
    z, power, cluster = found["coordinates"], found["power"], found["cluster"]
    maps = [read_mrc(folder.file(f"component{i + 1:02d}.mrc")).data
            for i in range(min(len(power), MOST_CLASSES))]
    spread = np.nanvar(z, axis=0)
    rows = [[i + 1, float(p), float(s)] for i, (p, s) in enumerate(zip(power, spread, strict=True))]
    used = np.isfinite(z[:, 0])
    return Section("Principal components", tables=[Table(
        "Components", ["component", "power", "known share of the variance"], rows,
        "Power is that of the component's map over the band. A known share near 1: the data say "
        "where each particle lies along it; near 0: they do not.")],
        figures=[
            Figure("Components", class_slices.later(maps, [f"component {i + 1}"
                                                     for i in range(len(maps))],
                                                    setup.sizes.voxel_A, is_difference=True),
                   "Central slices. A component of real variation is compact."),
            Figure("Particles along components", component_scatter.later(z[used], cluster[used]),
                   "Clouds that stand apart are classes; one cloud is continuous or no "
                   "variation.")])
