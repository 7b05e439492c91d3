"""The filters of `select`, each a name and a function that says which rows stay."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.column_edits import parse_assignment, parse_range
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.jobs.parameters.select import SelectParameters
from sta_mpi.jobs.select_input import RowFilter, numbers, scores_of, texts
from sta_mpi.pick.selection import (
    axis_tilt_deg,
    best,
    in_box,
    in_volume,
    limit_per_group,
    random_subset,
    within,
)

Keep = NDArray[np.bool_]


def row_filters(p: SelectParameters, tomograms: TomogramSet
                ) -> Iterator[tuple[str, RowFilter]]:
    """Filters that look at one particle at a time, in their order."""
    if p.tomogram_name:
        yield "tomogram", lambda s: _in_tomograms(s, p.tomogram_name)
    if p.classes:
        yield "class", lambda s: np.isin(numbers(s, "rlnClassNumber", "--classes"), p.classes)
    if p.half is not None:
        yield f"half {p.half}", lambda s: _of_half(s, int(p.half or 0))
    for text in p.keep_range:
        yield text, _range_filter(text)
    for text in p.keep_text:
        yield f"{text} kept", _text_filter(text, "--keep-text", True)
    for text in p.drop_text:
        yield f"{text} dropped", _text_filter(text, "--drop-text", False)
    if p.tilt_min_deg is not None or p.tilt_max_deg is not None:
        yield "tilt of the axis", lambda s: within(
            axis_tilt_deg(s.R_p2t), p.tilt_min_deg, p.tilt_max_deg)
    if p.min_tilts is not None:
        yield "visible tilts", lambda s: _seen(s, int(p.min_tilts or 0))
    if p.min_score is not None or p.max_score is not None:
        yield "score", lambda s: _score_within(s, p)
    if p.region_low_A or p.region_high_A:
        yield "box", lambda s: in_box(s.position_A, p.region_low_A or (-np.inf,) * 3,
                                      p.region_high_A or (np.inf,) * 3)
    if p.region_mask is not None:
        yield "mask", lambda s: _in_masks(s, str(p.region_mask), p.region_invert, tomograms)


def count_filters(p: SelectParameters, rng: np.random.Generator) -> Iterator[tuple[str, RowFilter]]:
    """Filters that look at how many there are, in their order."""
    if p.quartile_share is not None:
        yield "share of the upper quartile", lambda s: _above_share(
            s, p, float(p.quartile_share or 0))
    if p.best_share is not None or p.best_count is not None:
        yield "best", lambda s: best(needed_scores(s, p, "--best-count"), p.best_count,
                                     p.best_share)
    if p.random_share is not None or p.random_count is not None:
        yield "random", lambda s: random_subset(len(s), p.random_count, p.random_share, rng)
    if p.min_per_tomogram is not None or p.max_per_tomogram is not None:
        yield "number in a tomogram", lambda s: limit_per_group(
            s.i_tomo, np.zeros(len(s)) if p.max_per_tomogram is None
            else needed_scores(s, p, "--max-per-tomogram"),
            p.min_per_tomogram, p.max_per_tomogram)


def region_files(p: SelectParameters, names: list[str]) -> list[Path]:
    """The masks of --region-mask for these tomograms."""
    if p.region_mask is None:
        return []
    return sorted({Path(p.region_mask.replace("{tomo}", name)) for name in names})


def needed_scores(particles: RelionParticles, p: SelectParameters, option: str
                  ) -> NDArray[np.float64]:
    """Scores; InputError where no column is known."""
    scores, _ = scores_of(particles, p)
    if scores is None:
        raise InputError(f"{option}: the particles have no column of scores that is known. Name "
                         "one with --score-column.")
    return scores


def _in_tomograms(particles: RelionParticles, names: tuple[str, ...]) -> Keep:
    unknown = sorted(set(names) - set(particles.tomo_names))
    if unknown:
        raise UsageError(f"--tomogram-name {unknown[0]}: no such tomogram; there are "
                         f"{', '.join(particles.tomo_names[:10])}. Correct the name.")
    return np.isin(particles.i_tomo, [particles.tomo_names.index(name) for name in names])


def _of_half(particles: RelionParticles, half: int) -> Keep:
    if not particles.half.any():
        raise InputError(f"--half {half}: no particle has a half-set (rlnRandomSubset). Use the "
                         "output of a refinement.")
    return particles.half == half


def _range_filter(text: str) -> RowFilter:
    label, low, high = parse_range(text, "--keep-range")
    return lambda s: within(numbers(s, label, "--keep-range"), low, high)


def _text_filter(text: str, option: str, wanted: bool) -> RowFilter:
    label, value = parse_assignment(text, option)
    return lambda s: np.array([(value in cell) is wanted
                               for cell in texts(s, label, option).tolist()], bool)


def _seen(particles: RelionParticles, least: int) -> Keep:
    if particles.visible is None:
        raise InputError("--min-tilts: the particles have no rlnTomoVisibleFrames. Extract them "
                         "first.")
    return np.asarray((particles.visible == 1).sum(axis=1) >= least)


def _score_within(particles: RelionParticles, p: SelectParameters) -> Keep:
    scores = needed_scores(particles, p, "--min-score")
    return within(-scores if p.score_low_is_good else scores, p.min_score, p.max_score)


def _above_share(particles: RelionParticles, p: SelectParameters, share: float) -> Keep:
    """The upper quartile is that of good particles, also where half of all are false."""
    scores = needed_scores(particles, p, "--quartile-share")
    keep = np.zeros(len(particles), bool)
    for i in np.unique(particles.i_tomo):
        rows = np.flatnonzero(particles.i_tomo == i)
        high = float(np.quantile(scores[rows], 0.75))
        if not high > 0:
            raise InputError(
                f"--quartile-share {share:g}: the upper quartile of the scores of tomogram "
                f"{particles.tomo_names[i]} is {high:g}, and a share of it means something only "
                "where scores are above 0. Use --min-score.")
        keep[rows] = scores[rows] >= share * high
    return keep


def _in_masks(particles: RelionParticles, pattern: str, invert: bool, tomograms: TomogramSet
              ) -> Keep:
    keep = np.zeros(len(particles), bool)
    for i in np.unique(particles.i_tomo):
        name = particles.tomo_names[i]
        path = pattern.replace("{tomo}", name)
        mask = read_mrc(path)
        pixel_A = tomograms.row(name).number("rlnTomoTiltSeriesPixelSize")
        size_A = np.array(tomograms.size_px(name)) * pixel_A
        found_A = np.array(mask.data.shape[::-1]) * mask.voxel_A
        if (np.abs(found_A - size_A) > np.maximum(0.02 * size_A, 2 * mask.voxel_A)).any():
            raise InputError(f"--region-mask {path}: {_sizes(found_A)} Å, tomogram {name} has "
                             f"{_sizes(size_A)} Å. Give a mask of the whole tomogram.")
        rows = np.flatnonzero(particles.i_tomo == i)
        keep[rows] = in_volume(particles.position_A[rows], mask.data, mask.voxel_A) != invert
    return keep


def _sizes(size_A: NDArray[np.float64]) -> str:
    return " x ".join(f"{v:.0f}" for v in size_A)
