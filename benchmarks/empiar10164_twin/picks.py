"""Picks of the twin: true places jittered on the spheres, orientations known as normals alone."""

from pathlib import Path

import numpy as np
import starfile
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sta_mpi.formats.relion_particle_table import RelionParticles, new_names
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_priors import BOX_OF_PRIORS, PRIOR_COLUMNS
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star_table import text_column

Floats = NDArray[np.float64]

JITTER_A = 37.5
"""Half the lattice constant, along each of two axes in the surface."""
HEIGHT_A = 20.0
"""Error along the normal."""
MARKED_PIXEL_A = 10.0
"""Pixel of the tomograms in which the spheres were marked."""


def write_picks(places: Path, tomogram_file: Path, spheres: Path, folder: Path, seed: int) -> int:
    """Write picks of `places` to `folder` (particles and set); how many.

    Half-sets are whole spheres. Normals are those of the sphere marked by hand whose surface is
    nearest, not of the particle; the turn about them is random.
    """
    tomograms = read_tomograms(tomogram_file)
    true = read_particles(places, tomograms)
    rng = np.random.default_rng(seed)
    xyz_A, R_p2t, number = [], [], np.zeros(len(true), np.intp)
    for i, name in enumerate(true.tomo_names):
        rows = np.flatnonzero(true.i_tomo == i)
        centre_A, radius_A = _marked_spheres(spheres, name, tomograms)
        out, number[rows] = _normals(true.position_A[rows], centre_A, radius_A)
        number[rows] += 1000 * i
        R = _frames(out, rng)
        jitter = rng.uniform(-1, 1, (len(rows), 3)) * [JITTER_A, JITTER_A, HEIGHT_A]
        xyz_A.append(true.position_A[rows] + np.einsum("nij,nj->ni", R, jitter))
        R_p2t.append(R)
    order = np.concatenate([np.flatnonzero(true.i_tomo == i) for i in range(len(true.tomo_names))])
    picks = _table(tomograms, true.i_tomo[order], np.concatenate(xyz_A), np.concatenate(R_p2t),
                   np.unique(number[order], return_inverse=True)[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_particles(folder / "particles.star", picks, tomograms)
    write_optimisation_set(folder / "optimisation_set.star", OptimisationSet(
        particles=folder / "particles.star", tomograms=tomogram_file), project_dir=folder.parent)
    return len(picks)


def _marked_spheres(folder: Path, name: str, tomograms: TomogramSet) -> tuple[Floats, Floats]:
    """Centres (k, 3) from the tomogram centre and radii (k,) [Å] of the marked spheres."""
    table = starfile.read(folder / f"{name}_spheres.star", always_dict=False)
    pixel_A = tomograms.tilt_series(name).pixel_A
    at = table[[f"rlnCoordinate{axis}" for axis in "XYZ"]].to_numpy(float) * MARKED_PIXEL_A
    return (at - np.array(tomograms.size_px(name)) * pixel_A / 2,
            table["rlnSphereRadius"].to_numpy(float) * MARKED_PIXEL_A)


def _normals(xyz_A: Floats, centre_A: Floats, radius_A: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Outward normals of the spheres whose surfaces are nearest, and their numbers."""
    out = xyz_A[:, None] - centre_A
    distance = np.linalg.norm(out, axis=2)
    nearest = np.abs(distance - radius_A).argmin(axis=1)
    rows = np.arange(len(xyz_A))
    return out[rows, nearest] / distance[rows, nearest, None], nearest


def _frames(normal: Floats, rng: np.random.Generator) -> Floats:
    """Rotations (n, 3, 3) whose z axis is the normal, turned at random about it."""
    across = np.cross(normal, rng.standard_normal(normal.shape))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    R = np.stack([across, np.cross(normal, across), normal], axis=2)
    turn = Rotation.from_euler("z", rng.uniform(0, 360, (len(normal), 1)),
                              degrees=True).as_matrix()
    return np.asarray(R @ turn)


def _table(tomograms: TomogramSet, i_tomo: NDArray[np.int32], xyz_A: Floats, R_p2t: Floats,
           number: NDArray[np.intp]) -> RelionParticles:
    n = len(xyz_A)
    columns = {"rlnTomoName": text_column(tomograms.names)[i_tomo]}
    columns |= {label: text_column([text] * n) for label, text in PRIOR_COLUMNS.items()}
    columns["rlnTomoManifoldIndex"] = number + 1
    counts = np.bincount(number)
    of_sphere, sums = np.zeros(len(counts), np.int8), [0, 0]
    for k in np.argsort(-counts, kind="stable"):
        side = int(sums[1] < sums[0])
        of_sphere[k] = side + 1
        sums[side] += int(counts[k])
    return RelionParticles(
        tomo_names=list(tomograms.names), i_tomo=i_tomo.astype(np.int32),
        names=new_names(list(tomograms.names), i_tomo), xyz_A=xyz_A, offset_A=np.zeros((n, 3)),
        R_p2t=R_p2t, R_box2t=R_p2t @ BOX_OF_PRIORS.T, half=of_sphere[number],
        optics_group=np.ones(n, np.int32), columns=columns)
