"""Subunits that are missing here and there: expand by the symmetry, classify one of them.

    pytest -m slow tests/jobs/test_focused_expansion.py
"""

import numpy as np
import pytest
from mixture import SUBUNIT, add_images, run, truth_file

from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.phantom import GaussianPhantom

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_figures")]

BOX, VOXEL_A, MISSING = 32, 6.0, 0.4
C3 = symmetry_matrices("C3")


def subunits():
    """Three copies of a subunit 40 Å from the axis."""
    whole = chiral_phantom(60.0, 4.0)
    centre = whole.centre_A[SUBUNIT]
    own = centre - centre.mean(axis=0) + [40.0, 0.0, 0.0]
    return [GaussianPhantom(own @ S.T, whole.sigma_A[SUBUNIT], whole.mass[SUBUNIT]) for S in C3]


def core():
    """What all particles have on their axis, as heavy as two subunits: the grey scale of a particle
    without anything else is known by it."""
    mass = 2 * subunits()[0].mass.sum() / 3
    return GaussianPhantom(np.array([[0.0, 0.0, z] for z in (-20.0, 0.0, 24.0)]),
                           np.full(3, 8.0), np.full(3, mass))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """50 C3 particles of which each lacks each subunit by chance; (folder, (50, 3) what lacks)."""
    folder = tmp_path_factory.mktemp("focus") / "sim"
    folder.parent.mkdir(exist_ok=True)
    maps = [p.truth_map(BOX, VOXEL_A) for p in subunits()]
    write_mrc(folder.parent / "whole.mrc", sum(maps) + core().truth_map(BOX, VOXEL_A),
              VOXEL_A)
    run("simulate", "--density-map", folder.parent / "whole.mrc", "--n-series", 2, "--n-particles",
        25, "--pixel-A", VOXEL_A, "--image-width-px", 256, "--image-height-px", 256,
        "--tilt-step-deg", 6, "--thickness-A", 500, "--snr", 0.3, "--min-distance-A", 150,
        "--defocus-A", 25000, "--quiet", "-o", folder)
    tomograms = read_tomograms(folder / "tomograms.star")
    particles = read_particles(truth_file(folder), tomograms)
    lacks = np.random.default_rng(5).random((len(particles), 3)) < MISSING
    for k, one in enumerate(maps):
        write_mrc(folder / "difference.mrc", -one, VOXEL_A)
        write_particles(folder / "subset.star", particles.select(lacks[:, k]), tomograms)
        run("simulate", "--tomograms", folder / "tomograms.star", "--particles",
            folder / "subset.star", "--density-map", folder / "difference.mrc", "--noise-sd", 0,
            "--quiet", "-o", folder / f"lack{k}")
        add_images(folder, folder / f"lack{k}")
    return folder, lacks


def test_copies_that_lack_the_subunit_are_a_class_of_their_own(project, tmp_path):
    folder, lacks = project
    run("symmetrize", "--tomograms", folder / "tomograms.star", "--particles", truth_file(folder),
        "--symmetry", "C3", "--expand", "--quiet", "-o", tmp_path / "expanded")
    first = subunits()[0].truth_map(BOX, VOXEL_A)
    write_mrc(tmp_path / "focus.mrc", np.clip(first / (0.2 * first.max()), 0, 1).astype(np.float32),
              VOXEL_A)
    run("classify", "--optimisation-set", tmp_path / "expanded/optimisation_set.star", "--box-px",
        BOX, "--classes", 2, "--no-align", "--focus-mask", tmp_path / "focus.mrc", "--noise",
        "flat", "--quiet", "-o", tmp_path / "classes")
    found = read_h5(tmp_path / "classes/classes.h5").arrays["class"].reshape(-1, 3)
    masses = [np.vdot(read_mrc(tmp_path / f"classes/class{k:03d}_merged.mrc").data, first)
              for k in (1, 2)]
    empty = 1 + int(np.argmin(masses))
    # copy k of a particle has its pose R S_k, so that subunit k lies where the mask is
    assert np.mean((found == empty) == lacks) >= 0.95
    assert masses[empty - 1] < 0.3 * max(masses)
