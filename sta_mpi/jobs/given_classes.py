"""A round without a search: particles enter the average of the class that they were given."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import ParticleError
from sta_mpi.jobs.align_search import Found, Mode, Search, moved_px, unseen
from sta_mpi.jobs.averaging import Setup


class GivenClasses:
    """Puts each particle into its class at its current pose; label -1: into none."""

    def __init__(self, setup: Setup, search: Search, observe: Any) -> None:
        self._setup, self._search, self._observe = setup, search, observe

    def align(self, rows: NDArray[np.intp], half: int) -> Iterator[Found]:
        """One mode for each particle, of weight 1."""
        for row in rows:
            yield self._given(int(row))

    def _given(self, row: int) -> Found:
        search = self._search
        assert search.labels is not None
        label = int(search.labels[row])
        try:
            observation = self._observe(row, search.anchor_A[row])
        except ParticleError as error:
            return unseen(search, row, str(error))
        nothing = unseen(search, row)
        if observation is None or label < 0:
            return nothing
        scores = np.full(search.n_classes, -np.inf)
        scores[label] = 0.0
        columns = {**nothing.columns, "reference_scores": scores, "i_reference": label,
                   "p_max": 1.0, "n_modes": 1, "ncc": 0.0, "loglik": 0.0, "gain": 0.0,
                   "grey_scale": 0.0}
        mode = Mode(label, search.R_p2t[row], moved_px(self._setup, search, row), 1.0)
        return replace(nothing, columns=columns, observation=observation, modes=[mode])
