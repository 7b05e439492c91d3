"""Particle STAR files of RELION 3.0, 3.1 and 4.0 read without a set of tomograms.

Coordinates are array indices in voxels of the pixel that the file or the caller names; origins are
pixels (3.0: rlnOriginX) or Å (rlnOriginXAngst), to be subtracted. RELION 3 calls the tomogram by
the file of its reconstruction (rlnMicrographName), RELION 4 by rlnTomoName.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.dynamo_table import tomogram_stem
from sta_mpi.formats.foreign_particles import ForeignParticles, VolumeGrid, names_and_indices
from sta_mpi.formats.relion_coordinates import CENTRED, CORNER
from sta_mpi.formats.relion_particle_table import ORIGINS, box_rotations, part_rotations
from sta_mpi.formats.star import StarFile, read_star
from sta_mpi.formats.star_table import StarTable

Floats = NDArray[np.float64]

_ORIGINS_PX = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
_SCORES = ("rlnMaxValueProbDistribution", "rlnLogLikeliContribution", "rlnAutopickFigureOfMerit")
_USED = {*CORNER, *ORIGINS, *_ORIGINS_PX, *_SCORES, "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi",
         "rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi",
         "rlnMicrographName", "rlnTomoName", "rlnClassNumber", "rlnRandomSubset", "rlnOpticsGroup",
         "rlnPixelSize", "rlnMagnification", "rlnDetectorPixelSize", "rlnTomoParticleName"}


def read_relion_without_series(path: str | os.PathLike[str]) -> ForeignParticles:
    """Particles of a STAR file with corner-based coordinates.

    Raises
    ------
    InputError     centred coordinates (they need the tomograms), no coordinates, no names
    """
    star = read_star(path)
    table = _particle_table(star)
    if all(label in table for label in CENTRED):
        raise InputError(f"{table.where}: {CENTRED[0]}: RELION 5 coordinates need their tomograms. "
                         "Pass --particles and --tomograms, or --optimisation-set.")
    table.require(*CORNER)
    label = "rlnTomoName" if "rlnTomoName" in table else "rlnMicrographName"
    table.require(label)
    given = [str(name) for name in table.strings(label)]
    names, i_tomo = names_and_indices(
        [tomogram_stem(name) if label == "rlnMicrographName" else name for name in given])
    pixel_A, image_pixel_A = _pixels(star, table)
    R_box, R_part = box_rotations(table), part_rotations(table)
    offset = -np.einsum("nij,nj->ni", R_box, _origins_A(table, image_pixel_A)) / pixel_A[:, None]
    if not np.isfinite(offset).all():
        raise InputError(f"{table.where}: origins that are not finite, or no pixel for them "
                         "(rlnPixelSize or rlnImagePixelSize). Add it.")
    score = next((table.floats(s) for s in _SCORES if s in table), np.full(len(table), np.nan))
    grids = {tomogram_stem(name): VolumeGrid(path=name) for name in dict.fromkeys(given)} \
        if label == "rlnMicrographName" else {}
    lost = [f"column {name}" for name in table.labels if name not in _USED]
    return ForeignParticles(
        names, i_tomo, np.stack([table.finite(c) for c in CORNER], axis=1), offset,
        R_box @ R_part, score, table.integers("rlnClassNumber", 0),
        table.integers("rlnRandomSubset", 0).astype(np.int8), pixel_A, grids, lost)


def _particle_table(star: StarFile) -> StarTable:
    if "particles" in star:
        return star["particles"]
    found = [table for table in star if CORNER[0] in table or CENTRED[0] in table]
    if len(found) != 1:
        raise InputError(f"{Path(star.first.source or 'file')}: {len(found)} tables with "
                         f"{CORNER[0]}, expected one. Give a file of particles.")
    return found[0]


def _origins_A(table: StarTable, image_pixel_A: Floats) -> Floats:
    if any(label in table for label in ORIGINS):
        return np.stack([table.finite(label, 0.0) for label in ORIGINS], axis=1)
    if any(label in table for label in _ORIGINS_PX):
        origins = np.stack([table.finite(label, 0.0) for label in _ORIGINS_PX], axis=1)
        return np.where(origins == 0, 0.0, origins * image_pixel_A[:, None])
    return np.zeros((len(table), 3))


def _pixels(star: StarFile, table: StarTable) -> tuple[Floats, Floats]:
    """Voxel edge of coordinates and of images (n,) [Å]; NaN where the file does not tell."""
    n = len(table)
    image = np.full(n, np.nan)
    if "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        image = 1e4 * table.finite("rlnDetectorPixelSize") / table.finite("rlnMagnification")
    elif "rlnPixelSize" in table:
        image = table.finite("rlnPixelSize")
    coordinate = image
    if "optics" in star and "rlnOpticsGroup" in table:
        optics = star["optics"]
        row_of = {int(g): i for i, g in enumerate(optics.integers("rlnOpticsGroup"))}
        groups = table.integers("rlnOpticsGroup")
        unknown = [int(g) for g in np.unique(groups) if int(g) not in row_of]
        if unknown:
            raise InputError(f"{table.where}: optics group {unknown[0]} is not in the table "
                             "optics. Correct rlnOpticsGroup.")
        rows = np.array([row_of[int(g)] for g in groups], int)
        if "rlnImagePixelSize" in optics:
            image = optics.finite("rlnImagePixelSize")[rows]
            coordinate = image
        if "rlnTomoTiltSeriesPixelSize" in optics:
            coordinate = optics.finite("rlnTomoTiltSeriesPixelSize")[rows]
    return np.where(coordinate > 0, coordinate, np.nan), np.where(image > 0, image, np.nan)
