"""How well unseen particles are explained when symmetries are imposed on the winner.

A check of what the half maps said: particles that the winner was not made from judge it with the
group averaged in, about the same axes. A symmetry that is there takes noise away and raises their
evidence, or leaves it; one that is not blurs the map. Nothing is decided by it: where the map
is biased (edges of a lattice), so are the unseen particles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_set import BandSet
from sta_mpi.align.denovo import judge
from sta_mpi.align.move_map import RigidMove, move_map, symmetrise_map
from sta_mpi.align.support import z_of_difference
from sta_mpi.align.symmetry_axis import SymmetryFit
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.reference_plan import ReferencePlan
from sta_mpi.signal.fft import FftPlans

Map = NDArray[np.float32]

ORDERS = (2, 3, 4, 5, 6, 7, 8, 12)
WORSE_Z = -3.0
"""Evidence lost by a symmetry, in standard errors, from which a warning is due."""


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
    scale = len(winner) / plan.setup.sizes.box_px
    move = RigidMove(fit.move.R, fit.move.t_px * scale)
    centred = move_map(winner, move, plans)
    settings = plan.settings(len(unseen))
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


def score_warnings(symmetry: str, scores: list[SymmetryScore]) -> list[str]:
    """One line where unseen particles are explained much worse with the symmetry."""
    own = [s for s in scores if s.symmetry == symmetry and s.z < WORSE_Z]
    if not own:
        return []
    return [f"particles that the winner was not made from are explained worse with {symmetry} "
            f"imposed on it (z = {own[0].z:.1f}). Look at the map before the move: edges of a "
            "lattice, or a symmetry that is not there."]
