"""The FSC of a map and an atomic model: frames, density of the model, mask around it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Volume
from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import read_header
from sta_mpi.formats.structures import read_structure
from sta_mpi.post.map_model import MODEL_THRESHOLD, map_model_fsc, pad_to_cube
from sta_mpi.post.mask_shapes import shape_of_atoms
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import fsc_curves
from sta_mpi.signal.fsc import resolution_A
from sta_mpi.signal.masks import soft_edge
from sta_mpi.simulate.atoms import density_of_atoms

Floats = NDArray[np.float64]

MASK_EDGE_PX = 5.0


@dataclass(frozen=True)
class MapModel:
    """A map-model FSC.

    Parameters
    ----------
    curve : (n//2+1,)
    box_px : int          edge of the padded cube
    voxel_A : float
    correlation : float   of the voxels in the mask around the model
    """

    curve: Floats
    box_px: int
    voxel_A: float
    correlation: float

    @property
    def resolution_A(self) -> float:
        """Where the curve falls below 0.5, by the last shell above."""
        return resolution_A(self.curve, self.voxel_A, self.box_px, MODEL_THRESHOLD)


def first_voxel_A(path: Path, voxel_A: float) -> Floats:
    """Place of voxel [0, 0, 0] by the header: the origin, or the start indices without one."""
    header = read_header(path, permissive=True)
    origin = np.array(header.origin_xyz_A, np.float64)
    return origin if origin.any() else np.array(header.start_xyz, np.float64) * voxel_A


def compare_with_model(volume: Volume, frame: Path, model: Path, radius_A: float,
                       b_factor_A2: float | None) -> MapModel:
    """FSC of a map and a model in its frame; `frame` is the file whose header places the map."""
    atoms = read_structure(model)
    cube, before = pad_to_cube(volume.data)
    n, voxel_A = len(cube), volume.voxel_A
    first = first_voxel_A(frame, voxel_A) - np.array(before) * voxel_A
    shape = shape_of_atoms(atoms.xyz_A, radius_A, (n, n, n), voxel_A, first)
    inside = np.all((atoms.xyz_A >= first) & (atoms.xyz_A <= first + n * voxel_A), axis=1)
    if inside.mean() < 0.5:
        raise InputError(
            f"{model}: only {int(inside.sum())} of {len(atoms)} atoms lie in {frame}. Fit the "
            "model into the map first, or mend the origin in its header.")
    density = density_of_atoms(atoms, n, voxel_A, centre_A=first + (n // 2) * voxel_A,
                               b_factor_A2=b_factor_A2)
    mask = soft_edge(shape, MASK_EDGE_PX)
    correlation = float(np.corrcoef(cube[shape], density[shape])[0, 1])
    return MapModel(map_model_fsc(cube, density, mask), n, voxel_A, correlation)


def model_section(found: MapModel) -> Section:
    """The map-model curve for the report."""
    limit = found.resolution_A
    marks = [(MODEL_THRESHOLD, limit)] if np.isfinite(limit) else []
    return Section("Map and model", figures=[Figure(
        "FSC of map and model",
        fsc_curves.later({"map-model": found.curve}, found.voxel_A, found.box_px, marks, (0.5,)),
        "Both under a soft mask around the atoms. Against a model without noise 0.5 is the "
        "threshold that belongs to 0.143 of half maps; a map-model curve far below that points to "
        "a wrong or incomplete model, far above it to a model fitted to noise.")])
