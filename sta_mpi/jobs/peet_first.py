"""First reference of a PEET run: a file, one particle, or the pairwise tree of 2^k of them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_set import PoseLists
from sta_mpi.align.denovo import StartSettings
from sta_mpi.align.peet_frame import fitted_box, from_peet_map
from sta_mpi.align.reference_tree import fair_reference
from sta_mpi.align.single_reference import enlarged, particle_map
from sta_mpi.align.voxel_band import make_voxel_band
from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.align_loop import RoundLoop
from sta_mpi.jobs.align_search import reference_shapes
from sta_mpi.jobs.averaging import Setup, make_plans
from sta_mpi.jobs.engine import run_stage
from sta_mpi.jobs.peet_input import PeetProject
from sta_mpi.jobs.peet_rounds import search_angles
from sta_mpi.jobs.reference_files import refuse_flat
from sta_mpi.jobs.reference_starts import TREE_ORDER, TREE_SHELL, BandJob, Drawn
from sta_mpi.jobs.wisdom import shared_plans

Map = NDArray[np.float32]

LEAST_CONE_DEG = 15.0
"""Pairs of the tree differ in their normals by at least this, half a step of the rotations."""


def first_reference(project: PeetProject, setup: Setup, loop: RoundLoop, sign: float,
                    parameters: Any) -> Map:
    """Reference of both half-sets, (2, 1, n, n, n), in our axes and contrast; collective.

    `sign` is that of the contrast of the file: -1 where protein is dark.
    """
    run, box = project.run, setup.sizes.box_px
    if isinstance(run.reference, Path):
        data = _from_file(run.reference, box) * np.float32(sign)
    elif isinstance(run.reference, int):
        data = _from_tree(project, setup, loop, 2**run.reference, parameters)
    else:
        data = _from_particle(project, setup, loop, run.reference)
    return np.ascontiguousarray(np.stack([data, data])[:, None])


def _from_file(path: Path, box_px: int) -> Map:
    data = read_mrc(path, permissive=True, pixel_A=1.0).data
    if not np.isfinite(data).all():
        raise InputError(f"reference {path} holds NaN or Inf voxels. Mend the map.")
    refuse_flat(data, path, "reference")
    return from_peet_map(fitted_box(data, box_px))


def _from_particle(project: PeetProject, setup: Setup, loop: RoundLoop, named: tuple[int, int]
                   ) -> Map:
    tomogram, number = named
    source = project.run.source
    rows = np.flatnonzero((project.tomogram == tomogram - 1) & (project.number == number))
    if not len(rows):
        raise InputError(f"{source}: reference = [{tomogram}, {number}], but tomogram {tomogram} "
                         f"has {len(project.rows_of(tomogram - 1))} particles. Name one of them.")
    row = int(rows[0])
    plans = make_plans(setup, loop.runtime, reference_shapes(setup))
    setup.source.prepare(loop.runtime, plans)
    particles = project.inputs.particles
    observation = setup.source.observe(row, particles.offset_A[row])
    if observation is None:
        raise InputError(f"{source}: reference = [{tomogram}, {number}] lies at the edge of its "
                         "tomogram, with less than its box inside. Name another particle.")
    return particle_map(observation.samples(setup.sizes.box_px), particles.R_p2t[row], plans)


def _from_tree(project: PeetProject, setup: Setup, loop: RoundLoop, n: int, parameters: Any) -> Map:
    """The root of a tree of `n` particles drawn with the job's seed, in the axes of the first."""
    particles, box = project.inputs.particles, setup.sizes.box_px
    rng = np.random.default_rng(np.random.SeedSequence([parameters.seed, 0x74EE]))
    order = rng.permutation(len(particles))
    band = make_voxel_band(box, min(TREE_SHELL, box / 4))
    drawn = Drawn(np.sort(order[: 2 * n]), particles.R_p2t)
    bands, is_seen = run_stage(
        BandJob(setup, band, drawn, loop.folder.fingerprint), loop.folder, loop.runtime,
        parameters, loop.checkpoints).outputs
    rows = np.flatnonzero(is_seen)[:n]
    if len(rows) < n:
        raise InputError(
            f"{project.run.source}: reference = {n.bit_length() - 1} asks for a tree of {n} "
            f"particles, {len(rows)} lie in their tomograms. Use fewer levels.")
    angles = search_angles(project.run.iterations[0])
    tilt = float(np.linalg.norm(angles[1:]))
    lists = PoseLists(None if tilt >= 90 else max(tilt, LEAST_CONE_DEG),
                      max(project.run.iterations[0].radius_px))
    grid = band.grid_px
    plans = shared_plans(loop.runtime, [(grid,) * 3, (2 * grid,) * 3], loop.folder.path)
    tree = fair_reference(bands, rng.permutation(rows), StartSettings(lists, (), 0.4 * box),
                          TREE_ORDER, plans)
    return enlarged(tree.maps[-1], box)
