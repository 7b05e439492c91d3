"""`classify` on a simulated mixture of three states, against the planted ones.

The full test, 1000 particles in noise near the limit: `pytest -m slow tests/jobs/test_classify.py`.
"""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from mixture import (
    BOX,
    SHARES,
    VOXEL_A,
    make_mixture,
    oracle_scores,
    run,
    subunit,
    truth_file,
)

from sta_mpi.align.band_maps import band_of_map, masked_band
from sta_mpi.align.voxel_band import make_voxel_band
from sta_mpi.cli.main import cli
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.geometry.rotations import angular_distance_deg, rotation_from_vector
from sta_mpi.signal.masks import soft_sphere

OUTPUTS = ("class001_half1.mrc", "class003_half2.mrc", "class002_merged.mrc", "classes.h5",
           "particles.star", "poses.h5", "run_model.star")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """80 particles of three states at their true poses, four times above the limit in amplitude."""
    return make_mixture(tmp_path_factory.mktemp("mixture") / "sim", 2, 40, 0.15)


def words(mixture, *more):
    return ["classify", "--optimisation-set", mixture.folder / "optimisation_set.star",
            "--particles", truth_file(mixture.folder), "--box-px", BOX, "--noise", "flat",
            "--quiet", "--oracle-particles", 0, *more]


def references(mixture):
    return [w for k in range(3) for w in ("--reference", mixture.folder / f"true{k}.mrc")]


def job(folder):
    return json.loads((folder / "job.json").read_text())


def accuracy(folder, state):
    """Share of each state in the class that is mostly of it; each class stands for one state."""
    label = read_h5(folder / "classes.h5").arrays["class"] - 1
    table = np.zeros((3, 3))
    np.add.at(table, (state[label >= 0], label[label >= 0]), 1)
    share = table / table.sum(axis=1, keepdims=True)
    of_state = np.argmax(share, axis=1)
    assert sorted(of_state) == [0, 1, 2]
    return share[np.arange(3), of_state]


@pytest.fixture(scope="module")
def found(mixture):
    """Three classes from aligned particles alone, without alignment."""
    folder = mixture.folder.parent / "found"
    run(*words(mixture, "--classes", 3, "--no-align"), "-o", folder)
    return folder


def test_classes_are_found_without_a_reference(mixture, found):
    oracle = np.argmax(oracle_scores(mixture.folder, 20.0), axis=1)
    assert np.mean(oracle == mixture.state) >= 0.97
    assert (accuracy(found, mixture.state) >= [0.95, 0.95, 0.85]).all()
    assert job(found)["results"]["changed_share"] < 0.02
    assert job(found)["results"]["class_sizes"] == pytest.approx(
        [n * len(mixture.state) for n in SHARES], abs=3)


def test_class_maps_are_those_of_the_states(mixture, found):
    """Without the subunit, its place is empty in one class alone."""
    _, own, _ = subunit()
    place = own.truth_map(BOX, VOXEL_A)
    mass = [np.vdot(read_mrc(found / f"class{k + 1:03d}_merged.mrc").data, place)
            for k in range(3)]
    truth = [np.vdot(m, place) for m in mixture.maps]
    assert np.corrcoef(mass, truth)[0, 1] > 0.97
    assert mass[0] > 2 * abs(mass[1])


def test_probabilities_shares_and_classes_agree_in_all_files(mixture, found):
    arrays = read_h5(found / "classes.h5").arrays
    assert np.allclose(arrays["posterior"].sum(axis=1), 1.0)
    assert np.array_equal(np.argmax(arrays["posterior"], axis=1) + 1, arrays["class"])
    particles = read_star(found / "particles.star")["particles"]
    assert np.array_equal(particles.columns["rlnClassNumber"].astype(int), arrays["class"])
    model = read_star(found / "run_model.star")
    shares = model["model_classes"].columns["rlnClassDistribution"].astype(float)
    assert np.allclose(shares, arrays["posterior"].mean(axis=0), atol=1e-5)
    assert [t.name for t in model][2:] == [f"model_class_{k}" for k in (1, 2, 3)]


def test_given_references_are_numbered_as_they_were_given(mixture, tmp_path):
    run(*words(mixture, "--no-align", *references(mixture)), "-o", tmp_path / "given")
    label = read_h5(tmp_path / "given/classes.h5").arrays["class"] - 1
    # same limits as for the states: the classes are not permuted
    for k, least in enumerate((0.95, 0.95, 0.85)):
        assert np.mean(label[mixture.state == k] == k) >= least


def test_principal_components_find_the_subunit(mixture, tmp_path):
    run(*words(mixture, "--classes", 3, "--method", "pca", "--components", 3,
               "--pca-iterations", 6), "-o", tmp_path / "pca")
    # to 32 Å, where components of 80 particles have more signal than noise
    band, mask = make_voxel_band(BOX, 6.0), soft_sphere(BOX, 11.0, 4.0)
    maps = np.array([masked_band(band_of_map(m, band), mask, band) for m in mixture.maps])
    away = (maps - np.array(SHARES) @ maps) * np.sqrt(SHARES)[:, None]
    _, size, true = np.linalg.svd(np.c_[away.real, away.imag], full_matrices=False)
    found = band_of_map(read_mrc(tmp_path / "pca/component01.mrc").data, band)
    found = np.r_[found.real, found.imag]
    assert abs(found @ true[0]) > 0.9 * np.linalg.norm(found)
    power = read_h5(tmp_path / "pca/components.h5").arrays["power"]
    # two planted directions; what is left is noise
    assert power[0] / power[1] == pytest.approx((size[0] / size[1]) ** 2, rel=0.6)
    assert power[1] > 1.5 * power[2]
    assert (accuracy(tmp_path / "pca", mixture.state) >= [0.95, 0.95, 0.85]).all()


def test_a_focus_mask_keeps_the_rest_of_the_classes_alike(mixture, tmp_path):
    """In a focus on the two places of the subunit all states are told apart."""
    _, own, moved = subunit()
    places = sum(p.truth_map(BOX, VOXEL_A) for p in (own, moved))
    focus = np.clip(places / (0.2 * places.max()), 0, 1).astype(np.float32)
    write_mrc(tmp_path / "focus.mrc", focus, VOXEL_A)
    run(*words(mixture, "--no-align", "--classes", 3, "--focus-mask", tmp_path / "focus.mrc"),
        "-o", tmp_path / "focused")
    assert (accuracy(tmp_path / "focused", mixture.state) >= [0.95, 0.95, 0.85]).all()


def test_an_empty_class_takes_half_of_the_largest_and_is_told_of(mixture, tmp_path):
    """A fourth reference that resembles no particle."""
    noise = np.random.default_rng(1).normal(size=(BOX,) * 3).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", noise, VOXEL_A)
    run(*words(mixture, "--no-align", *references(mixture), "--reference",
               tmp_path / "noise.mrc", "--iterations", 3), "-o", tmp_path / "empty")
    done = job(tmp_path / "empty")
    assert any("took a random half of the largest class" in w for w in done["warnings"])
    label = read_h5(tmp_path / "empty/classes.h5").arrays["class"]
    # whatever the fourth class holds now, whole particles do not mix with those that lack it
    assert len(set(label[mixture.state == 1]) & set(label[mixture.state == 0])) == 0


def test_classes_and_poses_are_found_together(mixture, tmp_path):
    """From poses 3 degrees and 5 Å wrong, with references."""
    tomograms = read_tomograms(mixture.folder / "tomograms.star")
    truth = read_particles(truth_file(mixture.folder), tomograms)
    rng = np.random.default_rng(9)
    n = len(truth)
    turns = rotation_from_vector(np.radians(3.0) * unit_vectors(n, rng))
    wrong = truth.with_poses(truth.R_p2t @ turns, truth.offset_A + 5.0 * unit_vectors(n, rng))
    write_particles(tmp_path / "wrong.star", wrong, tomograms)
    run(*words(mixture, *references(mixture), "--particles", tmp_path / "wrong.star",
               "--iterations", 2, "--angle-range-deg", 8), "-o", tmp_path / "aligned")
    assert (accuracy(tmp_path / "aligned", mixture.state) >= [0.95, 0.95, 0.85]).all()
    poses, _ = read_poses(tmp_path / "aligned/poses.h5")
    assert 0.01 < np.median(angular_distance_deg(truth.R_p2t, poses.R_p2t)) < 2.0


def unit_vectors(n, rng):
    vectors = rng.normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.slow
def test_of_random_starts_in_competition_the_one_of_highest_likelihood_goes_on(mixture, tmp_path):
    """All three states are found; of the eight particles of the rarest some are left behind."""
    run(*words(mixture, "--classes", 3, "--no-align", "--start", "random", "--random-starts", 4),
        "-o", tmp_path / "contest")
    assert (accuracy(tmp_path / "contest", mixture.state) >= [0.95, 0.95, 0.5]).all()
    page = (tmp_path / "contest/report.html").read_text()
    assert "Starts in competition" in page
    assert page.count("went on") == 1


@pytest.mark.slow
def test_a_thousand_particles_near_the_limit_are_told_apart_as_by_the_oracle(tmp_path):
    """States 60/30/10 in noise that leaves the oracle, with true poses and states, 98 %."""
    near = make_mixture(tmp_path / "sim", 8, 125, 0.018,
                        **{"image-width-px": 512, "image-height-px": 512})
    oracle = np.argmax(oracle_scores(near.folder, 20.0), axis=1)
    assert np.mean(oracle == near.state) >= 0.97
    run(*words(near, "--classes", 3, "--no-align"), "-o", tmp_path / "found")
    assert (accuracy(tmp_path / "found", near.state) >= [0.95, 0.95, 0.85]).all()


@pytest.mark.mpi
def test_classes_are_the_same_bits_on_one_and_three_ranks(mixture, found, tmp_path, mpirun):
    done = mpirun(3, "-m", "sta_mpi", *map(str, words(mixture, "--classes", 3, "--no-align")),
                  "-o", str(tmp_path / "three"), timeout=240)
    assert done.returncode == 0, done.stderr
    for name in (*OUTPUTS, "component01.mrc", "components.h5"):
        assert (found / name).read_bytes() == (tmp_path / "three" / name).read_bytes(), name


@pytest.mark.parametrize(("more", "told"), [
    ((), "classes is needed"),
    (("--classes", 41), "a half-set has 40 particles"),
    (("--classes", 3, "--lowpass-A", 3), "Nyquist"),
    (("--classes", 3, "--pca-lowpass-A", 150), "--pca-lowpass-A 150"),
    (("--classes", 3, "--search", "global"), "first classes need poses"),
    (("--classes", 3, "--random-starts", 3), "set start to random"),
    (("--method", "pca", "--classes", 3, "--focus-mask", "none.mrc"), "none.mrc"),
])
def test_what_cannot_be_classified_is_refused(mixture, tmp_path, more, told):
    result = CliRunner().invoke(cli, list(map(str, words(mixture, *more, "-o", tmp_path / "no"))))
    assert result.exit_code != 0
    assert told in result.output
    assert "Traceback" not in result.output
