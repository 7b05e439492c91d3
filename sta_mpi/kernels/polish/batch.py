"""Tilt images of several particles and one reference, evaluated together.

On a GPU the samples of all particles lie in the same arrays, and one launch serves every pose
that is asked for. On the CPU particles follow one another.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.polish import inline
from sta_mpi.kernels.polish.device import PlacedSamples, place_samples
from sta_mpi.kernels.polish.pose import PoseProblem, PoseSums
from sta_mpi.kernels.polish.samples import PackedSamples, SampleLayout

Floats = NDArray[np.float64]


class PoseBatch:
    """Particles as functions of their poses; `batch[i]` is the `PoseProblem` of one.

    Parameters
    ----------
    volume, layout, n, device : as for `PoseProblem`, common to all particles
    packed : PackedSamples of every particle      all of one dtype
    rotations : (m_i, 3, 3) float64 of every one  tomogram axes to image axes of every tilt
    """

    def __init__(self, volume: GatherVolume, packed: Sequence[PackedSamples],
                 layout: SampleLayout, rotations: Sequence[Floats], n: int,
                 device: str = "cpu") -> None:
        if len(packed) != len(rotations) or len({p.w.dtype for p in packed}) > 1:
            raise ValueError(f"{len(packed)} particles of {len(rotations)} lists of rotations: "
                             "expected as many, with samples of one dtype")
        self._placed: PlacedSamples | None = None
        if check_device(device) and packed:
            self._placed = place_samples(volume, packed, layout, device)
        first = np.cumsum([0, *(len(p.w) for p in packed)])
        self._problems = [
            PoseProblem(volume, p, layout, R, n, device, self._placed, int(row))
            for p, R, row in zip(packed, rotations, first, strict=False)]

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, i: int) -> PoseProblem:
        return self._problems[i]

    def sums(self, which: NDArray[np.int64], R_p2t: Floats, shift_xyz_px: Floats,
             counts: Sequence[NDArray[np.int64]]) -> list[PoseSums]:
        """Sums of particle which[i] at pose i, over the first counts[i] samples of its tilts.

        Parameters
        ----------
        which : (a,) int                 particles; one may be asked for several times
        R_p2t : (a, 3, 3), shift_xyz_px : (a, 3) float64
        counts : (m_i,) int64 of each
        """
        problems = [self._problems[i] for i in which]
        asked = list(zip(problems, R_p2t, shift_xyz_px, counts, strict=True))
        if self._placed is None or not asked:
            return [p.sums(R, shift, count) for p, R, shift, count in asked]
        poses = [p.tilt_poses(R, shift) for p, R, shift, _ in asked]
        found = self._placed.evaluate(
            inline.N_SUMS, np.concatenate([axes for axes, _ in poses]),
            np.concatenate([cycles for _, cycles in poses]),
            np.concatenate([p.rows for p in problems]), np.concatenate(counts))
        ends = np.cumsum([p.n_tilts for p in problems])[:-1]
        return [p.combined(own) for p, own in zip(problems, np.split(found, ends), strict=True)]
