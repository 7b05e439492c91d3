"""Tilt images of several particles and one or more references, evaluated together.

On a GPU the samples of all particles lie in the same arrays, and one launch serves every pose
that is asked for of a reference. On the CPU particles follow one another.
"""

from collections.abc import Sequence
from itertools import accumulate

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
    """Particles as functions of their poses, with each of the references.

    `batch[k * n_particles + i]` is the `PoseProblem` of particle i with reference k.

    Parameters
    ----------
    volumes : GatherVolume or a sequence of them   one scale, common to all particles
    packed : PackedSamples of every particle       all of one dtype
    layout, n, device : as for `PoseProblem`, common to all particles
    rotations : (m_i, 3, 3) float64 of every one   tomogram axes to image axes of every tilt
    """

    def __init__(self, volumes: GatherVolume | Sequence[GatherVolume],
                 packed: Sequence[PackedSamples], layout: SampleLayout,
                 rotations: Sequence[Floats], n: int, device: str = "cpu") -> None:
        if len(packed) != len(rotations) or len({p.w.dtype for p in packed}) > 1:
            raise ValueError(f"{len(packed)} particles of {len(rotations)} lists of rotations: "
                             "expected as many, with samples of one dtype")
        references = [volumes] if isinstance(volumes, GatherVolume) else list(volumes)
        self._placed: PlacedSamples | None = None
        if check_device(device) and packed:
            self._placed = place_samples(packed, layout, device)
        self._held = [self._placed.hold(v) if self._placed else None for v in references]
        self.n_particles = len(packed)
        first = list(accumulate((len(p.w) for p in packed), initial=0))
        self._problems = [
            PoseProblem(v, p, layout, R, n, device, self._placed, row)
            for v in references for p, R, row in zip(packed, rotations, first, strict=False)]

    @property
    def is_batched(self) -> bool:
        """Whether several evaluations at once are cheaper than one after the other."""
        return self._placed is not None

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, i: int) -> PoseProblem:
        return self._problems[i]

    def sums(self, which: NDArray[np.int64], R_p2t: Floats, shift_xyz_px: Floats,
             counts: Sequence[NDArray[np.int64]]) -> list[PoseSums]:
        """Sums of problem which[i] at pose i, over the first counts[i] samples of its tilts.

        Parameters
        ----------
        which : (a,) int                 problems; one may be asked for several times
        R_p2t : (a, 3, 3), shift_xyz_px : (a, 3) float64
        counts : (m_i,) int64 of each
        """
        problems = [self._problems[i] for i in which]
        asked = list(zip(problems, R_p2t, shift_xyz_px, counts, strict=True))
        if self._placed is None:
            return [p.sums(R, shift, count) for p, R, shift, count in asked]
        found: dict[int, PoseSums] = {}
        reference = np.asarray(which, np.int64) // max(self.n_particles, 1)
        for k in np.unique(reference):
            own = np.flatnonzero(reference == k).tolist()
            poses = [asked[i][0].tilt_poses(*asked[i][1:3]) for i in own]
            sums = self._placed.evaluate(
                self._held[k], inline.N_SUMS, np.concatenate([axes for axes, _ in poses]),
                np.concatenate([cycles for _, cycles in poses]),
                np.concatenate([problems[i].rows for i in own]),
                np.concatenate([counts[i] for i in own]))
            ends = np.cumsum([problems[i].n_tilts for i in own])[:-1]
            for i, tilts in zip(own, np.split(sums, ends), strict=True):
                found[i] = problems[i].combined(tilts)
        return [found[i] for i in range(len(problems))]
