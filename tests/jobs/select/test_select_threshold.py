"""`select --false-share`: planted good and false particles are parted, tomogram by tomogram."""

import json

import numpy as np
import pytest
from select_sets import run, save_project

from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.jobs.select_threshold import automatic_thresholds, threshold_section

WORDS = ["--particles", "particles.star", "--tomograms", "tomograms.star"]


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """600 particles in two tomograms whose scores lie at different levels; which are good."""
    monkeypatch.chdir(tmp_path)
    table = save_project(tmp_path, n=600)
    rng = np.random.default_rng(5)
    is_good = rng.random(600) < 0.4
    level = np.where(np.arange(600) % 2 == 0, 0.0, 40.0)
    scores = level + np.where(is_good, 25.0, 10.0) + rng.normal(0, 2.5, 600)
    columns = {label: table.strings(label) for label in table.labels}
    columns |= {"rlnLogLikeliContribution": scores, "rlnAccuracyRotations": rng.normal(5, 1, 600)}
    write_star(tmp_path / "particles.star", [StarTable("particles", columns)])
    return is_good


def kept(out):
    names = read_star(f"{out}/particles.star")["particles"].strings("rlnTomoParticleName")
    return np.isin(read_star("particles.star").first.strings("rlnTomoParticleName"), names)


def test_each_tomogram_gets_its_own_threshold(planted):
    run(*WORDS, "--score-column", "rlnLogLikeliContribution", "--false-share", 0.02, "-o", "out")
    keep = kept("out")
    assert (~planted[keep]).mean() < 0.05
    assert keep[planted].mean() > 0.95
    with open("out/job.json") as file:
        assert json.load(file)["results"]["particles"] == keep.sum()


def test_report_draws_the_histogram_of_each_tomogram(planted):
    particles = read_particles("particles.star", read_tomograms("tomograms.star"))
    scores = np.array(particles.columns["rlnLogLikeliContribution"], float)
    _, thresholds = automatic_thresholds(particles, scores, 0.02)
    section = threshold_section(thresholds, "loglik", 0.02)
    assert [row[0] for row in section.tables[0].rows] == ["TS_1", "TS_2"]
    assert section.tables[0].rows[1][2] - section.tables[0].rows[0][2] == pytest.approx(40, abs=3)
    assert all(figure.png.startswith(b"\x89PNG") for figure in section.figures)


def test_low_scores_may_be_the_good_ones(planted):
    run(*WORDS, "--multiply-column", "rlnLogLikeliContribution=-1", "--score-low-is-good",
        "--score-column", "rlnLogLikeliContribution", "--false-share", 0.02, "-o", "out")
    assert kept("out")[planted].mean() > 0.95


def test_scores_of_one_kind_are_refused(planted):
    result = run(*WORDS, "--score-column", "rlnAccuracyRotations", "--false-share", 0.1,
                 "-o", "out", code=3)
    assert "do not part into two kinds" in result.output
    assert "--min-score" in result.output


def test_share_of_the_upper_quartile_keeps_occupied_places_of_each_tomogram(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = save_project(tmp_path, n=400)
    rng = np.random.default_rng(3)
    is_good = rng.random(400) < 0.5
    level = np.where(np.arange(400) % 2 == 0, 1.0, 3.0)
    scores = level * np.where(is_good, 1.0, 0.1) * rng.lognormal(0.0, 0.12, 400)
    columns = {label: table.strings(label) for label in table.labels}
    columns |= {"staGreyScale": scores, "rlnAccuracyRotations": -scores}
    write_star(tmp_path / "particles.star", [StarTable("particles", columns)])
    run(*WORDS, "--score-column", "staGreyScale", "--quartile-share", 0.6, "-o", "out")
    assert np.array_equal(kept("out"), is_good)
    result = run(*WORDS, "--score-column", "rlnAccuracyRotations", "--quartile-share", 0.6,
                 "-o", "bad", code=3)
    assert "above 0" in result.output
    assert "--min-score" in result.output
