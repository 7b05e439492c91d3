"""How well unseen particles are explained when symmetries are imposed on the winner.

A check of what the half maps said: particles that the winner was not made from judge it with the
group averaged in, about its own axes. A symmetry that is there costs little or nothing, one that is
not blurs the map (on a C6 lattice C6 cost 4 % of the evidence, orders that are not there 23 to
28 %). Nothing is decided by it: where the map is biased (edges of a lattice), so are the
unseen particles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_set import BandSet
from sta_mpi.align.denovo import judge
from sta_mpi.align.map_fit import make_band
from sta_mpi.align.move_map import RigidMove, move_map, symmetrise_map
from sta_mpi.align.support import z_of_difference
from sta_mpi.align.symmetry_axis import SymmetryFit, generating_operators, refine_axes
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.reference_plan import ReferencePlan
from sta_mpi.signal.fft import FftPlans

Map = NDArray[np.float32]

ORDERS = (2, 3, 4, 5, 6, 7, 8, 12)
WORSE_Z, WORSE_SHARE = -3.0, 0.12
"""Evidence lost by a symmetry, in standard errors and over that of C1, from which a warning is
due."""


@dataclass(frozen=True)
class SymmetryScore:
    """A group imposed on the winner.

    Parameters
    ----------
    symmetry : str
    evidence : float    mean log evidence of an unseen particle
    z : float           of its gain over C1
    """

    symmetry: str
    evidence: float
    z: float


def score_symmetries(plan: ReferencePlan, winner: Map, unseen: BandSet, symmetry: str,
                     fit: SymmetryFit) -> list[SymmetryScore]:
    """Scores of C1, of the group found, and of other orders about a cyclic axis."""
    plans = FftPlans(effort="estimate")
    names = ["C1", symmetry]
    if symmetry[0] == "C":
        names = ["C1", *(f"C{n}" for n in sorted({*ORDERS, int(symmetry[1:])}))]
    settings = plan.settings(len(unseen))
    move = _own_axes(winner, symmetry, fit, plan, plans)
    centred = move_map(winner, move, plans)
    rows = np.arange(len(unseen))
    found: list[SymmetryScore] = []
    first = np.zeros(0)
    for name in names:
        # C1 goes the same way, so that all are interpolated alike
        map_ = move_map(symmetrise_map(centred, symmetry_matrices(name), plans), move.inverse(),
                        plans)
        own = judge(unseen, map_, rows, settings, plans).log_evidence
        first = own if name == "C1" else first
        found.append(SymmetryScore(name, float(own.mean()), z_of_difference(own, first)))
    return found


def _own_axes(winner: Map, symmetry: str, fit: SymmetryFit, plan: ReferencePlan, plans: FftPlans
              ) -> RigidMove:
    """The move to the axes of the winner itself: rounds have moved the map from where it was."""
    is_cyclic = symmetry[0] == "C"
    band = make_band(winner, None, 2.0, plan.r_max, plans)
    scale = len(winner) / plan.setup.sizes.box_px
    Q, centre, _ = refine_axes(band, generating_operators(symmetry_matrices(symmetry)), fit.Q,
                               fit.centre_px * scale, is_cyclic, 1.0)
    return RigidMove(Q.T, -Q.T @ centre)


def score_warnings(symmetry: str, scores: list[SymmetryScore]) -> list[str]:
    """One line where unseen particles are explained much worse with the symmetry."""
    own = [s for s in scores if s.symmetry == symmetry and s.z < WORSE_Z
           and scores[0].evidence - s.evidence > WORSE_SHARE * abs(scores[0].evidence)]
    if not own:
        return []
    return [f"particles that the winner was not made from are explained worse with {symmetry} "
            f"imposed on it (z = {own[0].z:.1f}). Look at the map before the move: edges of a "
            "lattice, or a symmetry that is not there."]
