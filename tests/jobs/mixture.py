"""A simulated mixture of three states in the same tilt images: whole, without a subunit, moved.

Images are linear in the particles: differences of the states are simulated without noise at
the particles that have them, and added to the images of whole particles in noise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.average import prepare_setup
from sta_mpi.jobs.parameters.average import AverageParameters
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.phantom import GaussianPhantom

RADIUS_A, DETAIL_A, VOXEL_A, BOX = 60.0, 4.0, 6.0, 32
SUBUNIT = np.r_[70:100, 131]
"""Blobs of the chiral phantom's second domain."""

SHARES = (0.6, 0.3, 0.1)


@dataclass
class Mixture:
    """Where the project is, the state of each particle, and the maps of the states."""

    folder: Path
    state: np.ndarray
    maps: list


def run(*words):
    """One command of the program."""
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result


def subunit():
    """The subunit where it belongs, and moved to the other side."""
    whole = chiral_phantom(RADIUS_A, DETAIL_A)
    own = GaussianPhantom(whole.centre_A[SUBUNIT], whole.sigma_A[SUBUNIT], whole.mass[SUBUNIT])
    moved = GaussianPhantom(own.centre_A * [-1.0, 0.2, -1.6], own.sigma_A, own.mass)
    return whole, own, moved


def make_mixture(folder, n_series, n_particles, snr, **more):
    """Simulate; positions and orientations in particles.star are the true ones unless perturbed."""
    words = {"n-series": n_series, "n-particles": n_particles, "pixel-A": VOXEL_A,
             "image-width-px": 256, "image-height-px": 256, "tilt-step-deg": 6,
             "thickness-A": 500, "snr": snr, "phantom-radius-A": RADIUS_A,
             "phantom-detail-A": DETAIL_A, "min-distance-A": 150, "defocus-A": 25000,
             "truth-box-px": BOX, **more}
    run("simulate", *[w for k, v in words.items() for w in (f"--{k}", v)], "--quiet",
        "-o", folder)
    whole, own, moved = (p.truth_map(BOX, VOXEL_A) for p in subunit())
    tomograms = read_tomograms(folder / "tomograms.star")
    particles = read_particles(truth_file(folder), tomograms)
    n = len(particles)
    state = np.repeat([0, 1, 2], [n - round(0.3 * n) - round(0.1 * n), round(0.3 * n),
                                  round(0.1 * n)])
    np.random.default_rng(7).shuffle(state)
    for k, difference in ((1, -own), (2, moved - own)):
        write_mrc(folder / "difference.mrc", difference, VOXEL_A)
        write_particles(folder / "subset.star", particles.select(state == k), tomograms)
        run("simulate", "--tomograms", folder / "tomograms.star", "--particles",
            folder / "subset.star", "--density-map", folder / "difference.mrc", "--noise-sd", 0,
            "--quiet", "-o", folder / f"state{k}")
        add_images(folder, folder / f"state{k}")
    maps = [whole, whole - own, whole - own + moved]
    for k, data in enumerate(maps):
        write_mrc(folder / f"true{k}.mrc", data, VOXEL_A)
    np.save(folder / "state.npy", state)
    return Mixture(folder, state, maps)


def add_images(folder, other):
    """Add the tilt images of a project to those of another, in place."""
    for path in sorted(other.rglob("*.mrc*")):
        target = folder / path.relative_to(other)
        if target.name.startswith("truth") or not target.exists():
            continue
        write_mrc(target, open_stack(target)[:] + open_stack(path)[:], VOXEL_A)


def oracle_scores(folder, lowpass_A):
    """Log-likelihood (n, 3) of the states, with true poses, transforms by formula, true shares.

    One grey scale for all particles, that of the whole state; what the classes of the program
    cannot better.
    """
    setup = prepare_setup(AverageParameters(
        optimisation_set=folder / "optimisation_set.star", box_px=BOX, noise="flat",
        particles=truth_file(folder), output=folder / "none"))
    setup.source.prepare(Runtime(), FftPlans(effort="estimate"))
    whole, own, moved = subunit()
    particles = setup.inputs.particles
    inside = half_plane(BOX, BOX * VOXEL_A / lowpass_A)
    cross, power = np.zeros((2, len(particles), 3))
    for row in range(len(particles)):
        seen = setup.source.observe(row, particles.offset_A[row])
        samples = seen.samples(BOX)
        M = samples.rotation @ particles.R_p2t[row]
        w, o, m = (p.views_rft(M, BOX, VOXEL_A)[:, inside] for p in (whole, own, moved))
        data, weight = samples.data_rft[:, inside], samples.weight_rft[:, inside]
        for k, V in enumerate((w, w - o, w - o + m)):
            cross[row, k] = (V.conj() * data).real.sum()
            power[row, k] = (weight * abs(V) ** 2).sum()
    scale = cross[:, 0].sum() / power[:, 0].sum()
    return 2 * scale * cross - scale**2 * power + np.log(SHARES)


def half_plane(n, r_max):
    """Independent pixels (n, n//2+1) of a disc, without the origin."""
    ky, kx = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
    return (np.hypot(ky, kx) <= r_max) & ((kx > 0) | (ky > 0))


def truth_file(folder):
    """Particles with their true poses."""
    truth = folder / "particles_truth.star"
    return truth if truth.exists() else folder / "particles.star"
