"""Report sections of `align`: what the rounds did to the poses."""

import numpy as np

from sta_mpi.data import Particles
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.map_report import map_sections
from sta_mpi.jobs.parameters.align import SearchParameters
from sta_mpi.jobs.reconstruction import Maps
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import noise_excess, pose_change, score_histogram


def align_sections(maps: Maps, particles: Particles, setup: Setup, state: LoopPoses,
                   history: list[dict[str, float]], parameters: SearchParameters) -> list[Section]:
    """Maps as in average, then rounds, scores and pose changes."""
    columns = state.columns
    before = setup.inputs.particles
    used = columns["n_slices"] > 0
    turn = angular_distance_deg(before.R_p2t, particles.R_p2t)[used]
    move = np.linalg.norm(particles.offset_A - before.offset_A, axis=1)[used]
    labels = {
        "median_turn_deg": "median turn [°]", "median_move_A": "median move [Å]",
        "band_px": "band [shells]", "mean_loglik": "mean log-likelihood",
        "mean_p_max": "mean top probability", "settled_share": "settled",
        "settled_loss": "loss of the settled [log-lik.]", "median_grey_scale": "grey scale",
        "oracle_better_share": "oracle better", "resolution_A": "resolution [Å]"}
    names = ["round", *labels.values()]
    rows = [[int(h["round"]), *(h.get(key) for key in labels)] for h in history]
    scores = score_histogram.later(columns["ncc"][used], setup.half[used],
                                   before.i_tomo[used], before.tomo_names, "normalised correlation")
    rounds = Section(
        "Rounds", tables=[Table("Rounds", names, rows,
                                "Turns and moves are those of the round. The grey scale is that "
                                "of the reference against the data: near 1 for this program's "
                                "own averages, anything for other maps. Settled particles were "
                                "at their optimum and not searched; their loss is what that "
                                "costs at most. Oracle better: share of a random sample for "
                                "which an exhaustive search finds a better pose.")],
        figures=[
            Figure("Pose change from the input", pose_change.later([turn], [move]),
                   "Peaks at the limits of the search mean that it was too narrow."),
            Figure("Scores", scores,
                   "One peak, alike in both halves. A second peak at low scores is wrong picks; "
                   "a series that stands apart has another geometry or defocus.")])
    return [rounds, *noise_section(setup, state),
            *map_sections(maps, particles, parameters.symmetry)]


def noise_section(setup: Setup, state: LoopPoses) -> list[Section]:
    """Noise that the first and the last search met; nothing where none was fitted."""
    if not state.excess:
        return []
    first, last = min(state.excess), max(state.excess)
    curves = {} if first == last else {f"round {first}": state.excess[first].mean(axis=0)}
    curves |= {f"round {last}, half {half}": state.excess[last][half - 1] for half in (1, 2)}
    return [Section("Noise", figures=[Figure(
        "What the references leave, relative to the noise of the images",
        noise_excess.later(curves, setup.sizes.voxel_A, setup.sizes.box_px),
        "1: nothing but noise. A rise at low frequencies is what surrounds the particle "
        "(neighbours, a membrane); one at high frequencies that stays from round to round is "
        "signal that the geometry blurs: tilts out of place, a wrong defocus, mixed states.")])]
