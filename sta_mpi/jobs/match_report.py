"""Report of `match`: histograms with thresholds, picks drawn on slices."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.match_input import MatchInput
from sta_mpi.jobs.parameters.match import MatchParameters
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures.matches import score_and_decoys
from sta_mpi.report.figures.tomograms import points_on_slice

if TYPE_CHECKING:
    from sta_mpi.jobs.match_output import Peaks

SHOWN = 4
"""Tomograms with pictures in the report."""
SLICES = 3
SHOWN_DETAIL = 0.07
"""Standard deviation of the blur of the slices shown, in mask diameters."""


@dataclass(frozen=True)
class TomogramPicks:
    """What was found in one tomogram.

    Parameters
    ----------
    picks : Peaks                  above the threshold, best first
    candidates, decoys : Peaks     all peaks of the template and of its inverse
    threshold, suggested : float   used, and lowest with the wanted rate
    rate : float                   estimated share of false picks; NaN without picks
    is_inverted : bool             the inverse finds particles, the template none
    """

    name: str
    source: int
    picks: "Peaks"
    candidates: "Peaks"
    decoys: "Peaks"
    threshold: float
    suggested: float
    rate: float
    is_inverted: bool


def match_sections(p: MatchParameters, folder: Path, inputs: MatchInput,
                   found: list[TomogramPicks]) -> list[Section]:
    """A table of all tomograms, and pictures of the first ones."""
    rows = [(f.name, len(f.picks.score), f.rate, f.suggested, f.threshold, len(f.candidates.score),
             int((f.decoys.score >= f.threshold).sum())) for f in found]
    table = Table("Picks", ("tomogram", "picks", "estimated false-alarm rate",
                            "suggested threshold", "threshold used", "candidates",
                            "decoys above"), rows,
                  "Scores are robust standard deviations over the median of their depth. A rate is "
                  "(1 + decoys) / picks, decoys being peaks of the inverted template.")
    sections = [Section("Picks", tables=[table])]
    for f in found[:SHOWN]:
        figures = [Figure(
            "Scores", score_and_decoys(f.candidates.score, f.decoys.score, f.threshold,
                                       p.false_alarm_rate),
            "Peaks of the template and of its inverse. Left of the threshold both are alike.")]
        sections.append(Section(f"Tomogram {f.name}",
                                figures=figures + _slices(p, folder, inputs, f)))
    return sections


def _slices(p: MatchParameters, folder: Path, inputs: MatchInput, f: TomogramPicks
            ) -> list[Figure]:
    """Picks on slices of the band-passed tomogram, protein dark as on the raw images."""
    file = folder / "filtered" / f"{f.name.replace('/', '_')}.mrc"
    if not file.is_file():
        return []
    filtered = read_mrc(file)
    volume = inputs.sources[f.source].volume
    scale = np.array(filtered.data.shape[::-1]) / np.array(volume.size_px)
    at = volume.index_xyz(f.picks.xyz_A) * scale
    reach = 0.25 * p.mask_diameter_A / filtered.voxel_A
    depths = np.quantile(at[:, 2], (np.arange(SLICES) + 0.5) / SLICES) if len(at) else \
        len(filtered.data) * (np.arange(SLICES) + 1.0) / (SLICES + 1)
    blur_px = SHOWN_DETAIL * p.mask_diameter_A / filtered.voxel_A
    smooth = gaussian_filter(filtered.data, blur_px)
    figures = []
    for z in np.unique(np.rint(depths).astype(int)):
        own: Any = at[np.abs(at[:, 2] - z) <= reach] if len(at) else np.zeros((0, 3))
        figures.append(Figure(
            f"Slice {z}",
            points_on_slice(-smooth[min(z, len(smooth) - 1)],
                            [(f"picks within {reach * filtered.voxel_A:.0f} Å", own[:, :2], None)],
                            filtered.voxel_A, 0.8 * p.mask_diameter_A, f"{f.name}, z = {z}"),
            "Tomogram low-passed to the size of the particle, protein dark, and the picks near the "
            "slice. They should sit on particles, not on beads, streaks, membranes or borders."))
    return figures
