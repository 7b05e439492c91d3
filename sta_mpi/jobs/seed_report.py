"""Report of `seed`: objects, and seeds drawn on slices of their tomograms."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sta_mpi.data import Particles
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.reconstructed_tomograms import ReconstructedTomogram
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.jobs.parameters.seed import SeedParameters
from sta_mpi.jobs.seed_objects import SeededObject
from sta_mpi.prepare.preview import lowpassed_slice
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures.picks import kept_and_removed
from sta_mpi.report.figures.tomograms import points_on_slice

Floats = NDArray[np.float64]

SHOWN = 4
"""Tomograms with pictures."""
SLAB_A, LOWPASS_A, ARROW_A = 200.0, 60.0, 120.0


def seed_sections(p: SeedParameters, objects: list[SeededObject], tomograms: TomogramSet,
                  particles: Particles) -> list[Section]:
    """A table of objects, and pictures of the first tomograms."""
    rows = []
    for number, one in enumerate(objects, 1):
        distance = _neighbours(one.seeds.xyz_A)
        rows.append((number, one.tomo_name, one.what, one.shape, len(one.seeds.xyz_A),
                     one.n_outside, *distance))
    table = Table(
        "Objects", ("number", "tomogram", "marked by", "shape", "seeds", "left out",
                    "nearest neighbour, least [Å]", "median [Å]"), rows,
        "Numbers are rlnTomoManifoldIndex, or rlnHelicalTubeID of tubes and stalks.")
    sections = [Section("What was seeded", tables=[table])]
    figures = []
    for i in np.unique(particles.i_tomo)[:SHOWN]:
        name, own = particles.tomo_names[i], particles.i_tomo == i
        figures.append(_picture(name, particles.xyz_A[own], particles.R_p2t[own][:, :, 2],
                                tomograms.reconstructed(name)))
    return [*sections, Section("Where seeds are", figures=figures)]


def _neighbours(xyz_A: Floats) -> tuple[float, float]:
    """Least and median distance of each seed's nearest neighbour [Å]; NaN for single ones."""
    if len(xyz_A) < 2:
        return np.nan, np.nan
    nearest = cKDTree(xyz_A).query(xyz_A, 2)[0][:, 1]
    return float(nearest.min()), float(np.median(nearest))


def _picture(name: str, xyz_A: Floats, z_axis: Floats, volume: ReconstructedTomogram | None
             ) -> Figure:
    """Seeds near the slice that holds most of them; their places alone without a volume."""
    if volume is None or not volume.exists:
        return Figure(name, kept_and_removed(xyz_A, np.zeros((0, 3))),
                      "Seen along z, and along y. There is no volume to draw on.")
    index = volume.index_xyz(xyz_A)
    planes = max(1, round(SLAB_A / volume.pixel_A))
    with open_stack(volume.paths[0], permissive=True) as stack:
        depth = stack.shape[0]
        z = int(np.bincount(np.clip(np.round(index[:, 2]).astype(int), 0, depth - 1)).argmax())
        first, last = max(0, z - planes // 2), min(depth, z + planes // 2 + 1)
        image = lowpassed_slice(stack[first:last], volume.pixel_A,
                                max(LOWPASS_A, 4.0 * volume.pixel_A))
    near = (index[:, 2] >= first - 0.5) & (index[:, 2] < last - 0.5)
    arrows = z_axis[near][:, :2] * ARROW_A / volume.pixel_A
    return Figure(name, points_on_slice(image, [("seeds", index[near][:, :2], arrows)],
                                        volume.pixel_A, title=f"{name}, plane {z + 1}"),
                  f"The {near.sum()} seeds in the {last - first} planes of the picture, of "
                  f"{len(xyz_A)}; lines are the particles' z axes, {ARROW_A:.0f} Å long where they "
                  "lie in the plane.")
