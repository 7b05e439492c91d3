"""Units of a sample of the particles: parts of the units of a round.

The rank that holds the particles of a unit between rounds then finds those of the sample as
well. How the sample is parted does not depend on the number of ranks.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sta_mpi.jobs.averaging import Setup, make_units
from sta_mpi.parallel.job import Unit


class SampleUnits:
    """Units of some particles.

    Parameters
    ----------
    setup : Setup
    rows : (n,) int      particles, each once
    most : int           particles in a unit at most

    Attributes
    ----------
    units : list of Unit    payload (half, rows)
    """

    def __init__(self, setup: Setup, rows: NDArray[np.intp], most: int) -> None:
        self.units: list[Unit] = []
        self._parents: list[int] = []
        is_taken = np.zeros(len(setup.half), bool)
        is_taken[rows] = True
        for parent in make_units(setup):
            half, whole = parent.payload
            own = whole[is_taken[whole]]
            for begin in range(0, len(own), most):
                part = own[begin : begin + most]
                self.units.append(
                    Unit(len(self.units), parent.group, float(len(part)), (half, part)))
                self._parents.append(parent.id)

    def holders(self, of_round: Mapping[int, int]) -> dict[int, int]:
        """Ranks that hold the units, from those that hold the units of a round."""
        return {unit.id: of_round[parent] for unit, parent
                in zip(self.units, self._parents, strict=True) if parent in of_round}

    def holders_of_round(self, of_sample: Mapping[int, int]) -> dict[int, int]:
        """Ranks that have cut a part of a round's units, from those that worked on the sample."""
        return {parent: of_sample[unit.id] for unit, parent
                in zip(self.units, self._parents, strict=True) if unit.id in of_sample}
