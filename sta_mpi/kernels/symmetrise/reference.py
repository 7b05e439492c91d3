"""What turned sums mean: each channel is a transform of its own, gathered turn by turn."""

import numpy as np

from sta_mpi.kernels.gather import reference
from sta_mpi.kernels.planes import box_planes


def mean_over_turns(sums, turns, phases):
    """All planes of `mean_over_turns` from sums (n, n, n//2+1, 4)."""
    n = len(sums)
    out = np.zeros((*sums.shape[:-1], 3))
    for turn, phase in zip(turns, phases, strict=True):
        value, weight = (
            reference.gather(channel, 1.0, *box_planes(turn, n), n, n // 2 - 1)
            for channel in (sums[..., 0] + 1j * sums[..., 1], sums[..., 2]))
        value = value * phase[:, None, None]
        out += np.stack([value.real, value.imag, weight.real], axis=-1) / len(turns)
    return out
