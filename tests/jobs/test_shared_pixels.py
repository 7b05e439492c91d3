"""Noise that particles of both half-sets share passes for signal; clusters as half-sets end that.

The tilt images hold noise alone, and the picks lie on lattices on two spheres, nearer to each
other than half a box. The larger study: benchmarks/accuracy/shared_pixels.py.
"""

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.signal.fsc import fsc

pytestmark = pytest.mark.usefixtures("empty_figures")

BOX, PIXEL_A, PICKS = 24, 8.0, 3


def run(*words):
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def lattice(tmp_path_factory):
    """Two series of noise, 40 sites of a lattice of 75 Å in each, every one picked three times."""
    folder = tmp_path_factory.mktemp("lattice") / "sim"
    run("simulate", "--phantom", "C6", "--placement", "spheres", "--sphere-radius-A", 300,
        "--lattice-spacing-A", 75, "--phantom-radius-A", 40, "--phantom-detail-A", 10,
        "--n-series", 2, "--n-particles", 40, "--pixel-A", PIXEL_A, "--image-width-px", 144,
        "--image-height-px", 144, "--thickness-A", 800, "--tilt-step-deg", 10, "--snr", 1e-8,
        "--quiet", "-o", folder)
    tomograms = read_tomograms(folder / "tomograms.star")
    sites = read_particles(folder / "particles.star", tomograms)
    picks = sites.select(np.repeat(np.arange(len(sites)), PICKS))
    picks.names[:] = [f"{name}/{i % PICKS}" for i, name in enumerate(picks.names)]
    write_particles(folder / "picks.star", picks, tomograms)
    return folder


def common_noise(lattice, out, particles, halves):
    """Mean FSC over the finer half of the shells, and its standard error for independent noise."""
    run("average", "--tomograms", lattice / "tomograms.star", "--particles", lattice / particles,
        "--box-px", BOX, "--halves", halves, "--noise", "flat", "--no-ctf", "--quiet", "-o", out)
    half1, half2 = (read_mrc(out / f"half{h}.mrc").data for h in (1, 2))
    shells = np.arange(BOX // 4, BOX // 2)
    curve = fsc(half1, half2)[shells]
    # 2 pi r^2 independent samples in shell r
    return curve.mean(), np.sqrt(np.sum(1 / (2 * np.pi * shells**2))) / len(shells)


def test_sites_picked_three_times_correlate_in_random_halves_as_counting_says(lattice, tmp_path):
    """(m - 1) / (m + 1) = 0.5: the share of pairs of picks of one site that the split parts."""
    found, error = common_noise(lattice, tmp_path / "random", "picks.star", "random")
    # counts of 80 sites scatter by a tenth
    assert found == pytest.approx(0.5, abs=0.05 + 3 * error)


@pytest.mark.parametrize("particles", ["picks.star", "particles.star"])
def test_halves_of_clusters_have_no_noise_in_common(lattice, tmp_path, particles):
    found, error = common_noise(lattice, tmp_path / "clusters", particles, "clusters")
    assert abs(found) < 4 * error < 0.1


def test_neighbours_at_lattice_sites_share_noise_at_other_places_of_the_box(lattice, tmp_path):
    """One pick a site: boxes overlap, but a common pixel is elsewhere in each of them."""
    found, error = common_noise(lattice, tmp_path / "one", "particles.star", "random")
    assert abs(found) < 4 * error
