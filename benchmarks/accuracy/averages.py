"""Averages of particles in memory at given poses, with the package's insertion and division."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishResult, Pose
from sta_mpi.align.reconstruct import divide_plane, plane_shell_sums, shell_mean
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.fft import FftPlans, shift_phases

Floats = NDArray[np.float64]


def centred(samples: TiltSamples, shift_xyz_px: Floats) -> TiltSamples:
    """The samples of a particle moved back by its shift."""
    n = samples.data_rft.shape[1]
    data = samples.data_rft.copy()
    for image, t in zip(data, samples.rotation @ shift_xyz_px, strict=True):
        image *= shift_phases(n, -t[:2])
    return TiltSamples(data, samples.weight_rft, samples.rotation, samples.tilts)


def average(particles: Sequence[TiltSamples], poses: Sequence[Pose | PolishResult],
            plans: FftPlans, box_px: int | None = None) -> NDArray[np.float32]:
    """The map (box, box, box) of particles at poses, as a half map is made.

    Samples on a grid wider than the box (as those of a job are) keep the interpolation's error,
    which differs between symmetric copies, small.
    """
    n = particles[0].data_rft.shape[1]
    box = box_px or n
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    for samples, pose in zip(particles, poses, strict=True):
        centred(samples, pose.shift_xyz_px).insert(sums, n, pose.R_p2t)
    wide = sums.astype(np.float64)
    num, den = wide[..., 0] + 1j * wide[..., 1], wide[..., 2]
    mean = shell_mean(np.sum([plane_shell_sums(den[z], n, z) for z in range(n)], axis=0))
    rft = np.stack([divide_plane(num[z], den[z], n, z, mean, None) for z in range(n)])
    inside = slice(n // 2 - box // 2, n // 2 - box // 2 + box)
    return correct_gridding(plans.irfft3(rft)[inside, inside, inside], n / box)
