"""The FSC that a post-processed map is weighted by, and the mask it is for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import HalfMaps
from sta_mpi.jobs.half_maps import map_sizes, read_fsc_mask
from sta_mpi.jobs.parameters.postprocess import PostprocessParameters
from sta_mpi.post.automask import MaskSettings, mask_of_map
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.fsc import FscResult, corrected_fsc, resolution_A

Map = NDArray[np.float32]
Floats = NDArray[np.float64]

AUTO_MASK_LOWPASS_A = 15.0


@dataclass(frozen=True)
class FinalFsc:
    """FSC of the half maps, the curve that is final, and the mask it is for.

    `used_unmasked`: masking made it worse, so the unmasked curve is final.
    """

    fsc: FscResult
    final: Floats
    mask: Map
    used_unmasked: bool
    voxel_A: float
    box_px: int

    @property
    def resolution_A(self) -> float:
        """Resolution of the final curve."""
        return resolution_A(self.final, self.voxel_A, self.box_px)


def final_fsc(p: PostprocessParameters, halves: HalfMaps) -> FinalFsc:
    """The corrected FSC, or the unmasked one where masking makes it worse."""
    voxel_A, box = halves.half1.voxel_A, halves.half1.box_px
    if p.auto_mask:
        lowpassed = lowpass_map(halves.merged.data, voxel_A,
                                max(AUTO_MASK_LOWPASS_A, 2.0 * voxel_A))
        mask = mask_of_map(lowpassed, voxel_A, MaskSettings(
            molecular_weight_kDa=p.molecular_weight_kDa)).mask
    else:
        mask = read_fsc_mask(p.mask, p.mask_diameter_A, map_sizes(halves.half1), p.voxel_A)
    fsc = corrected_fsc(halves.half1.data, halves.half2.data, mask, voxel_A,
                        np.random.default_rng(p.seed), p.randomise_at_A, p.randomise_at_fsc)
    worse = fsc.resolution_A() > resolution_A(fsc.unmasked, voxel_A, box)
    used_unmasked = worse and not p.force_mask
    return FinalFsc(fsc, fsc.unmasked if used_unmasked else fsc.corrected, mask, used_unmasked,
                  voxel_A, box)
