"""The command `select` on small sets whose right answer is known, and on the real HIV set."""

import json

import numpy as np
import pytest
from select_sets import run, save_project

from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.geometry.euler import matrix_from_relion_angles


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path, save_project(tmp_path)


def select(*words, out="out"):
    """Particles of `out` and the results of the job."""
    run("--particles", "particles.star", "--tomograms", "tomograms.star", "-o", out, *words)
    with open(f"{out}/job.json") as file:
        record = json.load(file)
    particles = read_particles(f"{out}/particles.star", read_tomograms("tomograms.star"))
    return particles, record["results"]


def test_without_options_the_file_comes_back_as_it_was(project):
    _, table = project
    particles, results = select()
    assert len(particles) == 40
    written = read_star("out/particles.star")["particles"]
    for label in table.labels:
        assert written.strings(label).tolist() == read_star("particles.star").first.strings(
            label).tolist()
    assert results["removed"] == 0


def test_filters_work_together_and_what_is_removed_is_kept_aside(project):
    _, table = project
    particles, results = select("--classes", 1, "--classes", 2, "--half", 1, "--min-score", 0.3,
                                "--keep-range", "rlnAngleTilt:20:", "--tomogram-name", "TS_1")
    score = table.floats("rlnMaxValueProbDistribution")
    expected = (np.isin(table.integers("rlnClassNumber"), [1, 2])
                & (table.integers("rlnRandomSubset") == 1) & (score >= 0.3)
                & (table.floats("rlnAngleTilt") >= 20) & (table.strings("rlnTomoName") == "TS_1"))
    assert 0 < expected.sum() < 10
    assert particles.names.tolist() == table.strings("rlnTomoParticleName")[expected].tolist()
    removed = read_star("out/removed.star")["particles"].strings("rlnTomoParticleName")
    assert removed.tolist() == table.strings("rlnTomoParticleName")[~expected].tolist()
    assert results["removed"] == len(removed)


def test_poses_are_written_with_full_precision(project):
    particles, _ = select("--best-count", 7)
    poses, _ = read_poses("out/poses.h5")
    angles = np.stack([particles.columns[c].astype(float) for c in (
        "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")], axis=1)
    assert np.abs(poses.R_p2t - matrix_from_relion_angles(angles)).max() < 1e-12


def test_best_and_random_choose_by_score_and_by_seed(project):
    _, table = project
    best, _ = select("--best-share", 0.25, out="best")
    score = table.floats("rlnMaxValueProbDistribution")
    assert set(best.names) == set(table.strings("rlnTomoParticleName")[np.argsort(-score)[:10]])
    one, _ = select("--random-count", 10, out="one")
    same, _ = select("--random-count", 10, out="same")
    other, _ = select("--random-count", 10, "--seed", 2, out="other")
    assert one.names.tolist() == same.names.tolist()
    assert one.names.tolist() != other.names.tolist()


def test_tomogram_limits_drop_and_cut(project):
    particles, _ = select("--max-per-tomogram", 5)
    assert np.bincount(particles.i_tomo).tolist() == [5, 5]
    run("--particles", "particles.star", "--tomograms", "tomograms.star", "-o", "none",
        "--min-per-tomogram", 21, code=3)


def test_columns_are_edited_before_anything_else(project):
    _, table = project
    particles, _ = select("--set-column", "rlnClassNumber=7", "--multiply-column",
                          "rlnMaxValueProbDistribution=2", "--add-to-column",
                          "rlnCenteredCoordinateZAngst=10", "--min-score", "1.0", "--set-column",
                          "rlnTomoManifoldIndex=3", "--remove-column", "rlnRandomSubset")
    keep = 2 * table.floats("rlnMaxValueProbDistribution") >= 1.0
    written = read_star("out/particles.star")["particles"]
    assert written.integers("rlnClassNumber").tolist() == [7] * keep.sum()
    assert written.integers("rlnTomoManifoldIndex").tolist() == [3] * keep.sum()
    assert "rlnRandomSubset" not in written
    assert np.allclose(particles.xyz_A[:, 2],
                       table.floats("rlnCenteredCoordinateZAngst")[keep] + 10, atol=1e-6)


def test_joined_sets_get_new_names_where_names_are_repeated(project):
    folder, _ = project
    save_project(folder / "second", n=10, seed=5, names=("TS_2", "TS_9"))
    write_star(folder / "second/set.star", [StarTable("", {
        "rlnTomoParticlesFile": ["second/particles.star"],
        "rlnTomoTomogramsFile": ["second/tomograms.star"]}, is_loop=False)])
    run("--particles", "particles.star", "--tomograms", "tomograms.star",
        "--join", "second/set.star", "-o", "out")
    tomograms = read_tomograms("out/tomograms.star")
    assert tomograms.names == ["TS_1", "TS_2", "TS_9"]
    particles = read_particles("out/particles.star", tomograms)
    assert len(particles) == 50
    assert len(set(particles.names)) == 50
    assert np.bincount(particles.i_tomo).tolist() == [20, 25, 5]
    second = read_particles("second/particles.star", read_tomograms("second/tomograms.star"))
    assert np.allclose(particles.xyz_A[40:], second.xyz_A, atol=1e-6)
    assert np.allclose(particles.R_p2t[40:], second.R_p2t, atol=1e-6)
    assert tomograms.tilt_series("TS_9").n_tilts == 3


def test_repeated_names_are_refused_where_renumbering_is_forbidden(project):
    result = run("--particles", "particles.star", "--tomograms", "tomograms.star", "--join",
                 "particles.star", "--renumber", "never", "-o", "out", code=3)
    assert "occur in several of the joined files" in result.output


def test_set_joined_with_itself_loses_its_duplicates(project):
    particles, results = select("--join", "particles.star", "--min-distance-A", "0.01")
    assert results["particles_in"] == 80
    assert len(particles) == 40


def test_duplicates_use_origins_in_the_frame_of_the_box(tmp_path, monkeypatch):
    """Two particles 60 Å apart whose refined positions meet only through A_sub."""
    monkeypatch.chdir(tmp_path)
    save_project(tmp_path, n=2, names=("TS_1",))
    table = read_star("particles.star").first
    for axis, values in zip("XYZ", ((0, 0), (0, 0), (-30, 30)), strict=True):
        table[f"rlnCenteredCoordinate{axis}Angst"] = np.array(values, float)
    # a box on its side: its x axis lies along z of the tomogram, or against it
    table["rlnTomoSubtomogramRot"] = [0.0, 0.0]
    table["rlnTomoSubtomogramTilt"] = [90.0, 90.0]
    table["rlnTomoSubtomogramPsi"] = [0.0, 0.0]
    for axis, values in zip("XYZ", ((-28.0, 28.0), (0, 0), (0, 0)), strict=True):
        table[f"rlnOrigin{axis}Angst"] = np.array(values, float)
    write_star("particles.star", [table])
    particles, results = select("--min-distance-A", 10, out="ours")
    assert len(particles) == 1
    assert results["duplicates: RELION's rule"] == 2
    assert results["duplicates: RELION's rule, origins in the frame of the box"] == 1
    theirs, _ = select("--min-distance-A", 10, "--relion-compatible", out="theirs")
    assert len(theirs) == 2


def test_regions_by_box_and_by_mask_agree(project):
    mask = np.zeros((100, 200, 200), np.float32)
    mask[50:, :, :100] = 1    # z >= 0, x < 0 at voxel 4 Å
    write_mrc("mask_TS_1.mrc", mask, 4.0)
    write_mrc("mask_TS_2.mrc", mask, 4.0)
    by_mask, _ = select("--region-mask", "mask_{tomo}.mrc", out="mask")
    words = ["--region-low-A", -1e4, "--region-low-A", -1e4, "--region-low-A", -2,
             "--region-high-A", -2, "--region-high-A", 1e4, "--region-high-A", 1e4]
    by_box, _ = select(*words, out="box")
    assert by_mask.names.tolist() == by_box.names.tolist()
    outside, _ = select("--region-mask", "mask_{tomo}.mrc", "--region-invert", out="outside")
    assert len(outside) + len(by_mask) == 40


def test_parts_and_comparison_are_written_and_shown(project, page):
    select("--classes", 1, out="first")
    particles, results = select("--split-size", 15, "--random-order", "--compare",
                                "first/particles.star", "--histogram", "rlnClassNumber")
    parts = [read_star(f"out/particles_split{i:03d}.star")["particles"].strings(
        "rlnTomoParticleName").tolist() for i in (1, 2, 3)]
    assert [len(p) for p in parts] == [15, 15, 10]
    assert sorted(name for part in parts for name in part) == sorted(particles.names)
    assert results["compared_common"] == 10
    assert results["compared_only_here"] == 30
    assert len(read_star("out/only_here.star")["particles"]) == 30
    with open("out/report.html") as file:
        text = file.read()
    for heading in ("What was done", "Where particles are", "rlnClassNumber", "Compared with"):
        assert heading in text


def test_filled_holes_are_new_particles_at_the_empty_sites(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_project(tmp_path, n=2, names=("TS_1",))
    sites = np.array([(30.0 * (i + 0.5 * j), 30.0 * np.sqrt(0.75) * j, 0.0)
                      for i in range(-3, 4) for j in range(-3, 4) if abs(i + j) <= 3])
    hole = int(np.argmin(np.linalg.norm(sites, axis=1)))
    left = np.delete(sites, hole, axis=0)
    n = len(left)
    write_star("particles.star", [StarTable("particles", {
        "rlnTomoName": ["TS_1"] * n, "rlnCenteredCoordinateXAngst": left[:, 0],
        "rlnCenteredCoordinateYAngst": left[:, 1], "rlnCenteredCoordinateZAngst": left[:, 2]})])
    particles, results = select("--lattice-spacing-A", 30, "--symmetry", "C6", "--fill-holes",
                                "--hole-votes", 4)
    assert results["added"] == 1
    assert len(particles) == n + 1
    assert np.abs(particles.position_A[-1] - sites[hole]).max() < 0.01
    assert len(set(particles.names)) == n + 1


def test_new_half_sets_hold_whole_clusters(project):
    particles, _ = select("--halves", "clusters", "--cluster-distance-A", 70)
    d = np.linalg.norm(particles.position_A[:, None] - particles.position_A[None], axis=-1)
    near = (d < 70) & (particles.i_tomo[:, None] == particles.i_tomo[None]) & (d > 0)
    assert near.sum() > 10
    together = (particles.half[:, None] == particles.half[None])[near]
    # chains of more than a tenth of all particles are cut
    assert together.mean() > 0.8
    assert np.bincount(particles.half)[1:].tolist() == [20, 20]


def test_half_sets_of_some_particles_alone_are_told(project):
    folder, table = project
    table = table.copy()
    table.drop("rlnRandomSubset")
    write_star(folder / "without.star", [table])
    select("--join", "without.star")
    record = json.loads((folder / "out/job.json").read_text())
    assert any("have no half-set while others have" in text for text in record["warnings"])


def test_trajectories_follow_their_particles(project):
    folder, table = project
    names = table.strings("rlnTomoParticleName")
    rng = np.random.default_rng(3)
    motion = [StarTable(name, {f"rlnOrigin{a}Angst": np.round(rng.normal(size=3), 4)
                               for a in "XYZ"}) for name in names]
    write_star(folder / "motion.star", [
        StarTable("general", {"rlnParticleNumber": [len(names)]}, is_loop=False), *motion])
    particles, _ = select("--trajectories", "motion.star", "--best-count", 5, "--renumber",
                          "always")
    written = read_star("out/motion.star")
    assert written["general"].integers("rlnParticleNumber").tolist() == [5]
    score = table.floats("rlnMaxValueProbDistribution")
    rows = np.sort(np.argsort(-score)[:5])
    for name, row in zip(particles.names, rows, strict=True):
        assert np.allclose(written[name].floats("rlnOriginXAngst"),
                           motion[row].floats("rlnOriginXAngst"), atol=1e-5)
    members = read_star("out/optimisation_set.star").first
    assert members.value("rlnTomoTrajectoriesFile") == "out/motion.star"


def test_a_set_of_one_particle_and_one_without_scores_pass(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_project(tmp_path, n=1, names=("TS_1",))
    table = read_star("particles.star").first
    table.drop("rlnMaxValueProbDistribution", "rlnRandomSubset")
    write_star("particles.star", [table])
    particles, results = select("--min-distance-A", 10)
    assert len(particles) == 1
    assert results["half1"] == 0


def test_scores_that_are_not_numbers_lose(project):
    table = read_star("particles.star").first
    score = table.floats("rlnMaxValueProbDistribution")
    score[:5] = np.nan
    table["rlnMaxValueProbDistribution"] = score
    write_star("particles.star", [table])
    particles, _ = select("--best-count", 35)
    assert particles.names.tolist() == table.strings("rlnTomoParticleName")[5:].tolist()


@pytest.mark.parametrize(("words", "code", "says"), [
    (["--keep-range", "rlnNothing:1:2"], 3, "no column rlnNothing"),
    (["--keep-range", "rlnAngleTilt:1"], 2, "LABEL:LOW:HIGH"),
    (["--keep-range", "rlnAngleTilt:a:b"], 2, "'a' is not a number"),
    (["--set-column", "rlnClassNumber"], 2, "LABEL=VALUE"),
    (["--multiply-column", "rlnClassNumber=two"], 2, "not a number"),
    (["--multiply-column", "rlnTomoName=2"], 3, "expected a number"),
    (["--remove-column", "rlnNothing"], 3, "no column rlnNothing to remove"),
    (["--tomogram-name", "TS_7"], 2, "no such tomogram"),
    (["--symmetry", "C6v"], 2, "--symmetry"),
    (["--min-score", "0.9", "--max-score", "0.1"], 2, "min_score is above max_score"),
    (["--relion-compatible"], 2, "needs min_distance_A"),
    (["--region-low-A", "1"], 2, "needs x, y and z"),
    (["--region-mask", "nothing.mrc"], 3, "nothing.mrc"),
    (["--min-tilts", "3"], 3, "rlnTomoVisibleFrames"),
    (["--join", "nothing.star"], 3, "no such file"),
    (["--compare", "nothing.star"], 3, "nothing.star"),
    (["--score-column", "rlnNothing", "--best-count", "3"], 3, "no column rlnNothing"),
    (["--classes", "9"], 3, "no particle is left"),
    (["--fill-holes"], 2, "needs lattice_spacing_A"),
])
def test_wrong_options_end_in_one_line_and_leave_no_particles(project, words, code, says):
    result = run("--particles", "particles.star", "--tomograms", "tomograms.star", "-o", "out",
                 *words, code=code)
    folder, _ = project
    assert says in result.output
    assert "Traceback" not in result.output
    assert not (folder / "out/particles.star").exists()


def test_mask_of_another_size_is_refused(project):
    write_mrc("mask.mrc", np.ones((50, 50, 50), np.float32), 4.0)
    result = run("--particles", "particles.star", "--tomograms", "tomograms.star", "-o", "out",
                 "--region-mask", "mask.mrc", code=3)
    assert "200 x 200 x 200 Å, tomogram TS_1 has 800 x 800 x 400 Å" in result.output
