"""Helical symmetry on Fourier sums and in `average`, against blobs written down along a helix."""

import json

import numpy as np
import pytest
from blobs import blob_map, random_points
from click.testing import CliRunner

from sta_mpi.align.symmetrise import Helix, symmetrise_sums
from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

PLANS = FftPlans(effort="estimate")
N = 40
RISE, TWIST = 5.0, 40.0


def mates(points, steps, rise=RISE, twist=TWIST):
    """Points of all subunits."""
    out = []
    for j in steps:
        a = np.radians(twist * j)
        R = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        out.append(points @ R.T + [0, 0, rise * j])
    return np.concatenate(out)


def sums_of(data):
    """Sums of a map that was seen once at every frequency."""
    spectrum = PLANS.rfft3(data)
    return np.stack([spectrum.real, spectrum.imag, np.ones(spectrum.shape),
                     np.ones(spectrum.shape)], axis=-1).astype(np.float64)


def test_sums_are_averaged_over_the_steps_of_a_helix():
    points = random_points(5, 5.0, 3)
    padded = blob_map(2 * N, points)
    found = symmetrise_sums(sums_of(padded), "C1", helix=Helix(3, RISE, TWIST))
    volume = PLANS.irfft3((found[..., 0] + 1j * found[..., 1]).astype(np.complex64))
    truth = blob_map(2 * N, mates(points, (-1, 0, 1))) / 3
    # trilinear interpolation of a twofold padded transform dims by its window
    inner = slice(N // 2, 3 * N // 2)
    mended = correct_gridding(volume)[inner, inner, inner]
    assert 0 < np.abs(mended - truth[inner, inner, inner]).max() < 0.03
    other = blob_map(2 * N, mates(points, (-1, 0, 1), twist=-TWIST)) / 3
    assert np.abs(mended - other[inner, inner, inner]).max() > 0.2
    assert found[5, 5, 5, 2] == pytest.approx(1.0, abs=1e-5)


def test_planes_of_a_helix_are_those_of_the_whole():
    sums = sums_of(blob_map(24, random_points(5, 5.0, 4)))
    helix = Helix(4, 2.5, 33.0)
    whole = symmetrise_sums(sums, "C2", helix=helix)
    assert np.array_equal(symmetrise_sums(sums, "C2", slice(5, 13), helix), whole[5:13])


@pytest.fixture(scope="module")
def filament(tmp_path_factory):
    """A simulated set of helical particles: the middle of a filament of 9 subunits."""
    folder = tmp_path_factory.mktemp("helix")
    subunit = random_points(4, 3.0, 5) + [5.0, 0, 0]
    write_mrc(folder / "helix.mrc", blob_map(N, mates(subunit, range(-4, 5))), 6.0)
    run("simulate", "--density-map", folder / "helix.mrc", "--n-series", 1, "--n-particles", 12,
        "--pixel-A", 6, "--image-width-px", 224, "--image-height-px", 224, "--tilt-step-deg", 10,
        "--thickness-A", 500, "--snr", 0.3, "--truth-box-px", N, "-o", folder / "sim")
    return folder


def run(*words, code=0):
    result = CliRunner().invoke(cli, [*map(str, words), "--quiet"])
    assert result.exit_code == code, result.output
    return result


def test_helical_average_is_nearer_to_the_truth_and_as_the_expanded_set(filament):
    given = ["--optimisation-set", filament / "sim/optimisation_set.star"]
    helix = ["--helical-rise-A", RISE * 6.0, "--helical-twist-deg", TWIST]
    sizes = ["--box-px", N, "--noise", "flat"]
    run("average", *given, *sizes, "-o", filament / "plain")
    run("average", *given, *sizes, *helix, "--helical-units", 3, "-o", filament / "helical")
    run("symmetrize", *given, *helix, "--helical-units", 3, "--expand", "-o", filament / "more")
    run("average", "--optimisation-set", filament / "more/optimisation_set.star", *sizes, "-o",
        filament / "expanded")
    mask = soft_sphere(N, 9, 3)
    truth = read_mrc(filament / "sim/truth.mrc").data * mask
    plain, helical, expanded = (fsc(read_mrc(filament / f"{name}/half1.mrc").data * mask, truth)
                                for name in ("plain", "helical", "expanded"))
    band = slice(4, 11)
    assert helical[band].mean() > plain[band].mean() + 0.05
    assert abs(helical[band].mean() - expanded[band].mean()) < 0.05
    count = json.loads((filament / "more/job.json").read_text())["results"]
    assert count["particles"] == 36


def test_wrong_twist_makes_it_worse(filament):
    run("average", "--optimisation-set", filament / "sim/optimisation_set.star", "--box-px", N,
        "--noise", "flat", "--helical-rise-A", RISE * 6.0, "--helical-twist-deg", -TWIST,
        "--helical-units", 3, "-o", filament / "wrong")
    mask = soft_sphere(N, 9, 3)
    truth = read_mrc(filament / "sim/truth.mrc").data * mask
    wrong, plain = (fsc(read_mrc(filament / f"{name}/half1.mrc").data * mask, truth)
                    for name in ("wrong", "plain"))
    assert wrong[4:9].mean() < plain[4:9].mean()


@pytest.mark.parametrize("words", [["--helical-rise-A", 30], ["--helical-units", 3]])
def test_half_a_helix_is_refused(filament, words):
    result = run("average", "--optimisation-set", filament / "sim/optimisation_set.star",
                 "--box-px", N, *words, "-o", filament / "refused", code=2)
    assert "go together" in result.output
