"""A PEET project: parameter file, models and motive lists, to and from particles.

Particle i of a tomogram is point i of the first object of its model, counted from 1 over all
contours; its motive list row holds the shift from there, the orientation, score and class. PEET's
symmetry axis is y: the reference is turned so that it lies along z, unless `y_is_axis` is False.
"""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.dynamo_table import tomogram_stem
from sta_mpi.formats.foreign_particles import ForeignParticles, VolumeGrid, describe_lost
from sta_mpi.formats.imod_model import ImodModel, model_points_px, read_imod_model
from sta_mpi.formats.mrc import read_header
from sta_mpi.formats.paths import find_file
from sta_mpi.formats.peet_motive_list import DUPLICATE_CLASS, MotiveList, read_motive_list
from sta_mpi.formats.peet_prm import PrmFile, read_prm
from sta_mpi.geometry.peet import (
    peet_euler_from_rotation,
    peet_from_rp2t,
    rotation_from_peet_euler,
    rp2t_from_peet,
)

Floats = NDArray[np.float64]

_ZERO_ROTATIONS = 0.0


@dataclass
class PeetTomogram:
    """One tomogram of a project: its name, volume, model and motive list."""

    name: str
    volume: str
    model: ImodModel
    motives: MotiveList
    source: str


def read_peet_project(path: str | os.PathLike[str], iteration: int | None = None
                      ) -> tuple[PrmFile, list[PeetTomogram]]:
    """Read what a parameter file names.

    Parameters
    ----------
    iteration : int     motive lists `<fnOutput>_MOTL_Tom<k>_Iter<iteration>.csv`; default: the
                        highest number that all tomograms have, else those of initMOTL

    Raises
    ------
    InputError     missing files, lists of different lengths, initial lists that PEET makes itself
    """
    near = Path(path)
    prm = read_prm(path)
    volumes, models = prm.strings("fnVolume"), prm.strings("fnModParticle")
    if len(volumes) != len(models):
        raise InputError(f"{near}: {len(volumes)} tomograms in fnVolume, {len(models)} models in "
                         "fnModParticle: expected one a tomogram. Correct the file.")
    lists = _motive_lists(prm, near, len(volumes), iteration)
    tomograms = []
    for volume, model_name, motives in zip(volumes, models, lists, strict=True):
        model = read_imod_model(_locate(model_name, near, "fnModParticle"))
        n = len(model_points_px(model))
        tomograms.append(PeetTomogram(
            tomogram_stem(volume), volume, model,
            MotiveList.fresh(n) if motives is None else read_motive_list(motives),
            model_name if motives is None else str(motives)))
    return prm, tomograms


def _locate(name: str, near: Path, what: str) -> Path:
    """A file named in a project, also where the project was moved."""
    found = find_file(name, near) or find_file(tomogram_file(name), near)
    if found is None:
        raise InputError(f"{near}: {what} names {name!r}, which is neither there nor beside the "
                         "parameter file. Correct the name or copy the file there.")
    return found


def tomogram_file(name: str) -> str:
    """Last part of a path with either kind of slashes."""
    return re.split(r"[\\/]", name)[-1]


def _motive_lists(prm: PrmFile, near: Path, n: int, iteration: int | None
                  ) -> Sequence[Path | None]:
    root = prm.strings("fnOutput")[0] if "fnOutput" in prm else near.stem
    pattern = re.compile(rf"{re.escape(root)}_MOTL_Tom(\d+)_Iter(\d+)\.csv")
    found: dict[int, dict[int, Path]] = {}
    for file in sorted(near.parent.iterdir()):
        match = pattern.fullmatch(file.name)
        if match and 1 <= int(match[1]) <= n:
            found.setdefault(int(match[2]), {})[int(match[1])] = file
    complete = sorted(number for number, files in found.items() if len(files) == n)
    chosen = iteration if iteration is not None else (complete[-1] if complete else None)
    if chosen is not None:
        if chosen not in complete:
            raise InputError(f"{near}: no motive lists {root}_MOTL_Tom<k>_Iter{chosen}.csv of all "
                             f"{n} tomograms (complete: {complete or 'none'}). Give another "
                             "--iteration.")
        return [found[chosen][k] for k in range(1, n + 1)]
    return _initial_lists(prm, near, n)


def _initial_lists(prm: PrmFile, near: Path, n: int) -> Sequence[Path | None]:
    cells = prm.cells("initMOTL") if "initMOTL" in prm else [0]
    if all(isinstance(item, str) for item in cells):
        if len(cells) != n:
            raise InputError(f"{near}: {len(cells)} files in initMOTL, {n} tomograms. Correct it.")
        return [_locate(str(item), near, "initMOTL") for item in cells]
    if [v for part in prm.numbers("initMOTL") for v in part] != [_ZERO_ROTATIONS]:
        raise InputError(f"{near}: initMOTL = {prm['initMOTL']}: PEET makes these orientations "
                         "when it starts, and there are no motive lists of an iteration. Run its "
                         "first iteration, give motive lists in initMOTL, or use seed.")
    return [None] * n


def particles_of_peet(tomograms: Sequence[PeetTomogram], y_is_axis: bool = True
                      ) -> ForeignParticles:
    """Particles of models and motive lists, row by row of the lists."""
    names = list(dict.fromkeys(t.name for t in tomograms))
    grids: dict[str, VolumeGrid] = {}
    parts: dict[str, list[NDArray]] = {key: [] for key in (
        "i_tomo", "index_px", "offset_px", "R", "score", "class_number", "pixel_A")}
    lost: list[str] = []
    for tomogram in tomograms:
        motives = tomogram.motives
        grid = _grid(tomogram)
        grids.setdefault(tomogram.name, grid)
        n = len(motives)
        parts["i_tomo"].append(np.full(n, names.index(tomogram.name), np.int32))
        parts["index_px"].append(_points(tomogram))
        parts["offset_px"].append(motives.offset_px)
        parts["R"].append(rp2t_from_peet(
            rotation_from_peet_euler(motives.euler_z1_x2_z3_deg), y_is_axis))
        parts["score"].append(motives.ccc)
        parts["class_number"].append(motives.class_number)
        parts["pixel_A"].append(np.full(n, grid.pixel_A or np.nan))
        for name, values in (("wedgeWT", motives.weight), ("adjCCC", motives.adjusted_ccc),
                             ("oldClass", motives.previous_class.astype(np.float64))):
            lost += describe_lost(f"{tomogram.name}: column {name}", values)
        if len(tomogram.model.objects) > 1:
            lost.append(f"{tomogram.name}: objects 2 to {len(tomogram.model.objects)} of the model "
                        "(PEET uses the first)")
    joined = {key: np.concatenate(values) for key, values in parts.items()}
    return ForeignParticles(
        names, joined["i_tomo"], joined["index_px"], joined["offset_px"], joined["R"],
        joined["score"], joined["class_number"], np.zeros(len(joined["i_tomo"]), np.int8),
        joined["pixel_A"], grids, lost)


def _points(tomogram: PeetTomogram) -> Floats:
    points = model_points_px(tomogram.model)
    number = tomogram.motives.particle
    bad = np.flatnonzero((number < 1) | (number > len(points)))
    if len(bad):
        raise InputError(f"{tomogram.source}, row {bad[0] + 1}: pIndex {number[bad[0]]}, the "
                         f"model of {tomogram.name} has {len(points)} points. Use the "
                         "model that belongs to this motive list.")
    return points[number - 1]


def _grid(tomogram: PeetTomogram) -> VolumeGrid:
    """Size and voxel of the volume: of its header where it is there, else of the model."""
    model = tomogram.model
    x, y, z = model.image_size_px
    size = (x, z, y) if model.flags & (1 << 16) else (x, y, z)
    volume = Path(tomogram.volume)
    if not volume.is_file():
        return VolumeGrid(size if min(size) > 0 else None, model.pixel_A, tomogram.volume)
    header = read_header(volume, permissive=True)
    x, y, z = header.shape_zyx[::-1]
    found = (x, y, z)
    if min(size) > 0 and size != found:
        warnings.warn(f"{volume}: {' x '.join(map(str, found))} voxels, its model was drawn on "
                      f"{' x '.join(map(str, size))}; the volume is used", InputWarning)
    return VolumeGrid(found, header.pixel_xyz_A[0] or model.pixel_A, tomogram.volume)


def motives_of_particles(particles: ForeignParticles, rows: NDArray[np.intp],
                         y_is_axis: bool = True) -> MotiveList:
    """Motive list of some particles, numbered from 1 in this order."""
    motives = MotiveList.fresh(len(rows))
    motives.ccc = np.nan_to_num(particles.score[rows])
    motives.offset_px = particles.offset_px[rows]
    motives.class_number = particles.class_number[rows]
    motives.euler_z1_x2_z3_deg = peet_euler_from_rotation(
        peet_from_rp2t(particles.R_p2t[rows], y_is_axis))
    return motives


def twist_axes(motives: MotiveList) -> Floats:
    """PEET's y axes (n, 3) of particles in the tomogram."""
    return rotation_from_peet_euler(motives.euler_z1_x2_z3_deg)[:, :, 1]


def halves_of_classes(class_number: NDArray[np.int64]) -> tuple[NDArray[np.int8],
                                                                NDArray[np.int64]]:
    """Half-set and the rest of classes labelled 10 x tomogram + half-set.

    Duplicates (-9999) get half-set 0 and keep their class.
    """
    half = np.where(class_number == DUPLICATE_CLASS, 0, class_number % 10)
    bad = np.flatnonzero((half > 2) | ((half == 0) & (class_number != DUPLICATE_CLASS)))
    if len(bad):
        raise InputError(f"class {class_number[bad[0]]} of particle {bad[0] + 1}: its last digit "
                         "is not a half-set, 1 or 2. Leave --halves-from-class away.")
    rest = np.where(class_number == DUPLICATE_CLASS, class_number, class_number // 10)
    return half.astype(np.int8), rest
