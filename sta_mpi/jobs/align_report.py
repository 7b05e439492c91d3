"""Report sections of `align`: what the rounds did to the poses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.map_report import map_sections
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.reconstruction import Maps
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import pose_change, score_histogram


def align_sections(maps: Maps, particles: Particles, setup: Setup,
                   columns: dict[str, NDArray[Any]], history: list[dict[str, float]],
                   parameters: AlignParameters) -> list[Section]:
    """Maps as in average, then rounds, scores and pose changes."""
    before = setup.inputs.particles
    used = columns["n_slices"] > 0
    turn = angular_distance_deg(before.R_p2t, particles.R_p2t)[used]
    move = np.linalg.norm(particles.offset_A - before.offset_A, axis=1)[used]
    names = ["round", "median turn [°]", "median move [Å]", "mean ncc", "grey scale 1",
             "grey scale 2", "resolution [Å]"]
    keys = ["round", "median_turn_deg", "median_move_A", "mean_ncc", "grey_scale_half1",
            "grey_scale_half2", "resolution_A"]
    rows = [[int(h["round"]), *(h[k] for k in keys[1:])] for h in history]
    scores = score_histogram(columns["ncc"][used], setup.half[used],
                             before.i_tomo[used], before.tomo_names, "normalised correlation")
    rounds = Section(
        "Rounds", tables=[Table("Rounds", names, rows,
                                "Turns and moves are those of the round. The grey scale is that "
                                "of the reference against the data: 1 for this program's own "
                                "averages, anything for other maps.")],
        figures=[
            Figure("Pose change from the input", pose_change([turn], [move]),
                   "Peaks at the limits of the search mean that it was too narrow."),
            Figure("Scores", scores,
                   "One peak, alike in both halves. A second peak at low scores is wrong picks; "
                   "a series that stands apart has another geometry or defocus.")])
    return [rounds, *map_sections(maps, particles, parameters.symmetry)]
