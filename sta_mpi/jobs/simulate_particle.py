"""The particle of a simulation: built-in, from an atomic model, or from a map."""

import numpy as np

from sta_mpi.data import Volume
from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.structures import read_structure
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.simulate.atoms import density_of_atoms
from sta_mpi.simulate.builtin_phantoms import BUILT_IN
from sta_mpi.simulate.grid_phantom import GridPhantom, resampled
from sta_mpi.simulate.phantom import Phantom

MODEL_MARGIN_A = 8.0
"""Room about the atoms of a model for their own width and the solvent's surface."""


def truth_box_px(parameters: SimulateParameters, phantom: Phantom, pixel_A: float) -> int:
    """Box of the truth map: the one asked for, else 1.5 diameters, a multiple of 4."""
    if parameters.truth_box_px is not None:
        return parameters.truth_box_px
    return 4 * int(np.ceil(1.5 * 2 * phantom.radius_A / pixel_A / 4))


def make_phantom(parameters: SimulateParameters, pixel_A: float) -> Phantom:
    """The particle, ready for images of this pixel."""
    if parameters.model is not None:
        return _model_phantom(parameters, pixel_A)
    if parameters.density_map is not None:
        volume = read_mrc(parameters.density_map)
        if len(set(volume.data.shape)) != 1:
            raise InputError(f"{parameters.density_map}: a box of {volume.data.shape} (z, y, x) "
                             "px, expected a cube. Pad the map to a cube.")
        n = 2 * int(np.ceil(volume.box_px * volume.voxel_A / pixel_A / 2))
        return GridPhantom.of_map(resampled(volume, n, pixel_A))
    return BUILT_IN[parameters.phantom](parameters.phantom_radius_A, parameters.phantom_detail_A)


def _model_phantom(parameters: SimulateParameters, pixel_A: float) -> GridPhantom:
    assert parameters.model is not None
    atoms = read_structure(parameters.model)
    centre = np.array(parameters.model_centre_A or atoms.xyz_A.mean(axis=0), float)
    reach_A = float(np.linalg.norm(atoms.xyz_A - centre, axis=1).max())
    n = 2 * int(np.ceil((reach_A + MODEL_MARGIN_A) / pixel_A)) + 4
    try:
        data = density_of_atoms(
            atoms, n, pixel_A, centre_A=centre, b_factor_A2=parameters.model_b_factor_A2,
            solvent=parameters.solvent)
    except ValueError as error:
        raise InputError(f"{parameters.model}: {error}. Lower --solvent.") from None
    return GridPhantom.of_map(Volume(data, pixel_A))
