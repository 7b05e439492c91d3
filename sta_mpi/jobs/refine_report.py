"""Report section of `refine`: how resolution and FSC went round by round."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.relion_fsc import read_postprocess
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.reconstruction import MapSizes
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import fsc_curves

MOST_CURVES = 6
"""Curves in one figure that can still be told apart."""


def round_section(folder: JobFolder, sizes: MapSizes, history: list[dict[str, float]]) -> Section:
    """FSC of the given poses and of the rounds, and what became of each round."""
    rounds = [int(h["round"]) for h in history]
    shown = rounds if len(rounds) <= MOST_CURVES else [
        rounds[i] for i in np.unique(np.linspace(0, len(rounds) - 1, MOST_CURVES).astype(int))]
    curves = {_name(i): _curve(folder, i) for i in shown}
    rows = []
    for h in history:
        fate = ("for comparison" if h["round"] == 0 else
                "taken back" if h.get("accepted", 1.0) == 0 else
                "worse, but kept" if h.get("worse", 0.0) > 0 else
                "accepted, converged" if h.get("finished", 0.0) > 0 else "accepted")
        rows.append([_name(int(h["round"])), h["resolution_A"], h.get("crossing_shell"),
                     h.get("unseen_gain"), fate])
    return Section("Course of the refinement", tables=[Table(
        "Rounds and what became of them",
        ["round", "resolution [Å]", "FSC reaches [shell]", "gain on unseen tilts [log-lik.]",
         "fate"], rows,
        "FSC reaches: mean crossing of thresholds from half of 0.143 to twice it, by which rounds "
        "are compared. Unseen tilts: every fifth tilt of a sample of particles is kept from a "
        "search and scored with the other half's reference; values below about -1.5 mean "
        "overfitting.")],
        figures=[Figure(
            "FSC by round", fsc_curves.later(curves, sizes.voxel_A, sizes.box_px),
            "Corrected for the mask. Curves should move to the right and then lie on each other.")])


def _name(i_round: int) -> str:
    return "given poses" if i_round == 0 else f"round {i_round}"


def _curve(folder: JobFolder, i_round: int) -> NDArray[np.float64]:
    curve: NDArray[np.float64] = read_postprocess(
        folder.file(f"round{i_round:02d}_fsc.star")).curves["corrected"]
    return curve
