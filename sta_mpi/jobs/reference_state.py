"""Where `reference` stands: what a resume reads back."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.jobs.align_state import LoopPoses, Packed, pack, unpack
from sta_mpi.parallel.checkpoint import LoopState

STARTED, AVERAGED, ORIENTED = "started", "averaged", "oriented"
_STARTS = "starts_"


@dataclass
class ReferenceState:
    """Poses and references, and what was found before them.

    Parameters
    ----------
    step : str          STARTED: the winner is known; AVERAGED: half maps of all particles are;
                        ORIENTED: symmetry and axes as well
    loop : LoopPoses
    starts : dict       arrays of the competition
    notes : dict        small values: what was decided
    """

    step: str
    loop: LoopPoses
    starts: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def pack_reference(state: ReferenceState) -> Packed:
    """(small values, arrays) for a checkpoint."""
    position, arrays = pack(state.loop)
    return ({**position, "step": state.step, "notes": state.notes},
            arrays | {_STARTS + name: np.asarray(v) for name, v in state.starts.items()})


def unpack_reference(saved: LoopState | None) -> ReferenceState | None:
    """The state in a checkpoint; None without one."""
    loop = unpack(saved)
    if saved is None or loop is None:
        return None
    starts = {name.removeprefix(_STARTS): values for name, values in saved.arrays.items()
              if name.startswith(_STARTS)}
    return ReferenceState(saved.position["step"], loop, starts, saved.position["notes"])
