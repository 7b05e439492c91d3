"""The atoms of a model, as arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Atoms:
    """n atoms.

    Parameters
    ----------
    xyz_A : (n, 3) float64        positions in the model's own frame
    elements : (n,) str           chemical symbols, "C", "Zn"
    b_factor_A2 : (n,) float64    isotropic B-factors
    occupancy : (n,) float64
    """

    xyz_A: NDArray[np.float64]
    elements: NDArray[Any]
    b_factor_A2: NDArray[np.float64]
    occupancy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.elements)
