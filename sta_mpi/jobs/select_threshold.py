"""`select --false-share`: a threshold from the histogram of scores, tomogram by tomogram."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.pick.thresholds import ScoreMixture, fit_mixture, threshold_at
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures.thresholds import mixture_histogram

Floats = NDArray[np.float64]

LEAST_IN_TOMOGRAM = 100
"""Tomograms with fewer particles are judged by the scores of all."""

_DRAWN = 8


@dataclass(frozen=True)
class TomogramThreshold:
    """Threshold of one tomogram, in units of the score; `is_own`: from its own scores."""

    name: str
    scores: Floats
    mixture: ScoreMixture
    threshold: float
    is_own: bool


@dataclass
class Thresholds:
    """What --false-share found."""

    of: list[TomogramThreshold] = field(default_factory=list)


def automatic_thresholds(particles: RelionParticles, scores: Floats, false_share: float
                         ) -> tuple[NDArray[np.bool_], Thresholds]:
    """Which particles stay, and the threshold of every tomogram.

    Raises
    ------
    InputError   the scores of all particles do not show two kinds
    """
    pooled = _threshold(scores, false_share)
    keep, found = np.zeros(len(particles), bool), Thresholds()
    for i in np.unique(particles.i_tomo):
        rows = np.flatnonzero(particles.i_tomo == i)
        own = _threshold(scores[rows], false_share) if len(rows) >= LEAST_IN_TOMOGRAM else None
        used = own or pooled
        if used is None:
            raise InputError(
                f"--false-share: the {len(scores)} scores do not part into two kinds (tomogram "
                f"{particles.tomo_names[i]}), so no threshold follows from them. Look at the "
                "histogram of a run without this option, and give --min-score.")
        keep[rows] = scores[rows] >= used[1]
        found.of.append(TomogramThreshold(particles.tomo_names[i], scores[rows], *used,
                                          is_own=own is not None))
    return keep, found


def _threshold(scores: Floats, false_share: float) -> tuple[ScoreMixture, float] | None:
    mixture = fit_mixture(scores)
    if mixture is None or not mixture.is_bimodal:
        return None
    threshold = threshold_at(mixture, scores[np.isfinite(scores)], false_share)
    return None if threshold is None else (mixture, threshold)


def threshold_section(thresholds: Thresholds, label: str, false_share: float) -> Section:
    """Thresholds in a table, histograms with the fitted curves."""
    rows = [(t.name, len(t.scores), t.threshold, int((t.scores >= t.threshold).sum()),
             "its own" if t.is_own else "all tomograms") for t in thresholds.of]
    table = Table("Thresholds", ("tomogram", "particles", f"threshold ({label})", "kept",
                                 "from the scores of"), rows)
    figures = [Figure(t.name, mixture_histogram(t.scores, t.mixture.density, t.threshold, label))
               for t in thresholds.of[:_DRAWN]]
    return Section("Automatic threshold", (
        "Scores as the sum of two normal distributions; above the threshold "
        f"{100 * false_share:g} % are expected to be of the lower one. Where the two curves do "
        "not follow the histogram, give --min-score instead."), figures=figures, tables=[table])
