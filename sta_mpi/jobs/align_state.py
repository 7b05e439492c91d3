"""Where the rounds of `align` and `refine` stand: what a resume reads back."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.jobs.averaging import Setup
from sta_mpi.parallel.checkpoint import LoopState

Floats = NDArray[np.float64]

ANCHOR_PX = 2.0
"""A particle that has moved farther [binned px] from where its images were cut is cut again."""

Packed = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""Small values and arrays of a checkpoint."""


@dataclass
class LoopPoses:
    """Poses, references and history after some rounds.

    Parameters
    ----------
    R_p2t, offset_A : (n, 3, 3), (n, 3)
    anchor_A : (n, 3)                   offsets at which images are cut
    references : (2, K, b, b, b)        of each half-set and class
    fsc : (K, n_shells)                 of the half maps that the references are; 1 at the start
    columns : dict                      per-particle results of the last round
    history : list of dict              one entry a round
    grey : (2,) or None                 grey scales of the round in hand, once they are known
    noise_gain : (2, n_shells) or None  factors of the noise of the round in hand, once known
    excess : dict                       excess noise (2, n_shells) of each round's search, NaN
                                        outside its band; rounds that fit no noise are left out
    best : dict                         arrays of the best of several starts so far (classify)
    """

    round_done: int
    R_p2t: Floats
    offset_A: Floats
    anchor_A: Floats
    references: NDArray[np.float32]
    fsc: Floats
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    grey: tuple[float, float] | None = None
    noise_gain: Floats | None = None
    excess: dict[int, Floats] = field(default_factory=dict)
    best: dict[str, NDArray[Any]] = field(default_factory=dict)

    def move(self, R_p2t: Floats, offset_A: Floats, aligned: NDArray[np.bool_],
             voxel_A: float) -> None:
        """Take new poses of the aligned particles; those that moved far get a new anchor."""
        self.R_p2t = np.where(aligned[:, None, None], R_p2t, self.R_p2t)
        self.offset_A = np.where(aligned[:, None], offset_A, self.offset_A)
        far = np.linalg.norm(self.offset_A - self.anchor_A, axis=1) > ANCHOR_PX * voxel_A
        self.anchor_A = np.where(far[:, None], self.offset_A, self.anchor_A)


def start_state(setup: Setup, references: NDArray[np.float32]) -> LoopPoses:
    """The poses of the input and the first references (2, K, b, b, b), before any round."""
    particles = setup.inputs.particles
    n_shells = setup.sizes.box_px // 2 + 1
    return LoopPoses(
        0, particles.R_p2t.copy(), particles.offset_A.copy(), particles.offset_A.copy(),
        references, np.ones((references.shape[1], n_shells)))


def pack(state: LoopPoses) -> Packed:
    """(small values, arrays) for a checkpoint."""
    arrays: dict[str, NDArray[Any]] = {
        "R_p2t": state.R_p2t, "offset_A": state.offset_A, "anchor_A": state.anchor_A,
        "references": state.references, "fsc": state.fsc}
    if state.noise_gain is not None:
        arrays["noise_gain"] = state.noise_gain
    arrays |= {f"column_{name}": values for name, values in state.columns.items()}
    arrays |= {f"excess_{i_round}": values for i_round, values in state.excess.items()}
    arrays |= {f"best_{name}": values for name, values in state.best.items()}
    return {"round_done": state.round_done, "history": state.history, "grey": state.grey}, arrays


def unpack(saved: LoopState | None) -> LoopPoses | None:
    """The state in a checkpoint; None without one."""
    if saved is None:
        return None
    arrays, position = saved.arrays, saved.position
    columns, best = ({name.removeprefix(prefix): values for name, values in arrays.items()
                      if name.startswith(prefix)} for prefix in ("column_", "best_"))
    excess = {int(name.removeprefix("excess_")): values for name, values in arrays.items()
              if name.startswith("excess_")}
    grey = position["grey"]
    return LoopPoses(int(position["round_done"]), arrays["R_p2t"], arrays["offset_A"],
                     arrays["anchor_A"], arrays["references"], arrays["fsc"], columns,
                     position["history"],
                     None if grey is None else (float(grey[0]), float(grey[1])),
                     arrays.get("noise_gain"), excess, best)
