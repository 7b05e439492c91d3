"""FSC of the particle alone, from the FSC of the whole box and how much of it is solvent.

Solvent adds noise to a half map and no signal. With f = (volume of the box) / (volume of the
particle) the signal-to-noise ratio inside the particle is f times that of the box, so

    F_particle = f F / (1 + (f - 1) F)

(Grant, Rohou & Grigorieff 2018, eLife 7, e35383; Sindelar & Grigorieff 2012). No mask
touches the maps: the curve cannot be made better by a tight mask. RELION counts the particle as
the voxels where the mask is above 1/2, or its mass at 0.81 Da/A^3, and takes 0.476 of the box as
the volume of the box (relion_postprocess 3.1.3 gives these factors to six digits).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError

Floats = NDArray[np.float64]

BOX_SHARE = 0.476
"""Share of the box that counts as its volume in RELION's factor."""

PROTEIN_DA_PER_A3 = 0.81
"""Mass density of protein, 1 / (1.23 A^3/Da)."""


def solvent_factor_of_mask(mask: NDArray[np.float32]) -> float:
    """Factor f of a mask (n, n, n): 0.476 over the share of voxels above 1/2."""
    share = float((mask > 0.5).mean())
    if share <= 0.0:
        raise InputError("no voxel of the mask is above 0.5, so the particle has no volume: use a "
                         "larger mask.")
    return BOX_SHARE / share


def solvent_factor_of_mass(molecular_weight_kDa: float, box_A: float) -> float:
    """Factor f of a particle of that mass in a cube of edge `box_A`.

    Examples
    --------
    >>> round(solvent_factor_of_mass(2500.0, 400.0), 2)
    9.87
    """
    if molecular_weight_kDa <= 0.0 or box_A <= 0.0:
        raise InputError(f"molecular weight {molecular_weight_kDa:g} kDa in a box of {box_A:g} Å: "
                         "both must be positive.")
    return BOX_SHARE * PROTEIN_DA_PER_A3 * box_A**3 / (1000.0 * molecular_weight_kDa)


def particle_fsc(unmasked: ArrayLike, factor: float) -> Floats:
    """FSC inside the particle from the FSC of the unmasked maps.

    Parameters
    ----------
    unmasked : (n//2+1,)
    factor : float         from `solvent_factor_of_mask` or `solvent_factor_of_mass`, > 0

    Returns
    -------
    (n//2+1,) float64 within -1 and 1

    Examples
    --------
    >>> particle_fsc([1.0, 0.5, 0.0], 3.0).tolist()
    [1.0, 0.75, 0.0]
    """
    curve = np.asarray(unmasked, np.float64)
    # a curve as low as -1 / (f - 1) would divide by zero: the formula holds for signal, F > 0
    below = np.maximum(1.0 + (factor - 1.0) * curve, 1e-6)
    return np.asarray(np.clip(factor * curve / below, -1.0, 1.0))
