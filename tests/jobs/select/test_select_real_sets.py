"""`select` on real particle sets: RELION's counts, halves, lattices, Warp's tables."""

import json

import numpy as np
import pytest
from scipy.spatial import cKDTree
from select_sets import run

from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.pick.duplicates import DuplicateRule, remove_duplicates
from sta_mpi.pick.lattice import LatticeRule, fill_holes, find_lattice
from sta_mpi.pick.poses import pose_distance_deg


@pytest.fixture(scope="module")
def real(data_dir):
    """Words for the first bin-1 refinement of the real project, and its table."""
    folder = data_dir / "relion5_empiar10164_hiv"
    words = ["--particles", folder / "Refine3D/job023/run_data.star",
             "--tomograms", folder / "Denoise/job008/tomograms.star"]
    return words, read_star(folder / "Refine3D/job023/run_data.star")["particles"]


def relion_rule_by_brute_force(table, distance_A):
    """Rows kept by the rule as it is described, pair by pair."""
    x = np.stack([table.floats(f"rlnCenteredCoordinate{a}Angst")
                  - table.floats(f"rlnOrigin{a}Angst") for a in "XYZ"], axis=1)
    keep = np.ones(len(x), bool)
    tomograms = table.strings("rlnTomoName")
    for name in set(tomograms):
        rows = np.flatnonzero(tomograms == name)
        for i, row in enumerate(rows[:-1]):
            keep[row] = not (((x[rows[i + 1:]] - x[row]) ** 2).sum(axis=1) <= distance_A**2).any()
    return keep


@pytest.mark.data
@pytest.mark.parametrize("distance_A", [30, 50])
def test_real_set_keeps_the_rows_that_relions_rule_keeps(real, tmp_path, distance_A):
    words, table = real
    expected = relion_rule_by_brute_force(table, distance_A)
    run(*words, "--min-distance-A", distance_A, "--relion-compatible", "-o", tmp_path / "out")
    kept = read_star(tmp_path / "out/particles.star")["particles"]
    names = table.strings("rlnTomoParticleName")
    assert kept.strings("rlnTomoParticleName").tolist() == names[expected].tolist()
    if distance_A == 50:    # the tutorial's second removal
        assert (len(table), int(expected.sum())) == (9442, 9053)


@pytest.mark.data
@pytest.mark.parametrize(("distance_A", "n_kept"), [(20, 9109), (50, 9053), (75, 2763)])
def test_relion_star_handler_keeps_the_same_rows(relion, real, tmp_path, distance_A, n_kept):
    """RELION 3.1 knows no centred coordinates: rows are told by their number."""
    words, table = real
    pixel_A, n = 1.35, len(table)
    particles = StarTable("particles", {
        "rlnMicrographName": table.strings("rlnTomoName"), "rlnOpticsGroup": np.ones(n, int),
        "rlnImageName": text_column(f"{i + 1}@a.mrcs" for i in range(n)),
        **{f"rlnCoordinate{a}": table.floats(f"rlnCenteredCoordinate{a}Angst") / pixel_A
           for a in "XYZ"},
        **{f"rlnOrigin{a}Angst": table.floats(f"rlnOrigin{a}Angst") for a in "XYZ"}})
    optics = StarTable("optics", {
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnImagePixelSize": [pixel_A],
        "rlnImageSize": [192], "rlnImageDimensionality": [3], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1]})
    write_star(tmp_path / "in.star", [optics, particles])
    relion("relion_star_handler", tmp_path, "--i", "in.star", "--o", "theirs.star",
           "--remove_duplicates", distance_A, "--image_angpix", pixel_A)
    theirs = read_star(tmp_path / "theirs.star")["particles"]
    run(*words, "--min-distance-A", distance_A, "--relion-compatible", "-o", tmp_path / "out")
    ours = read_star(tmp_path / "out/particles.star")["particles"]
    rows = [int(name.split("@")[0]) - 1 for name in theirs.strings("rlnImageName")]
    names = table.strings("rlnTomoParticleName")[rows]
    assert len(rows) == n_kept
    assert ours.strings("rlnTomoParticleName").tolist() == names.tolist()


@pytest.mark.data
def test_real_set_has_no_place_of_both_halves_after_our_rule(real, tmp_path):
    words, _ = real
    run(*words, "--min-distance-A", 50, "--symmetry", "C6", "-o", tmp_path / "out")
    with open(tmp_path / "out/job.json") as file:
        results = json.load(file)["results"]
    assert results["particles"] == 9065
    assert results["duplicates: places in both half-sets"] > 100
    folder = words[3]
    particles = read_particles(tmp_path / "out/particles.star", read_tomograms(folder))
    for i in range(5):
        tree = cKDTree(particles.position_A[particles.i_tomo == i])
        assert len(tree.query_pairs(50.0)) == 0


@pytest.mark.data
def test_real_lattice_has_a_spacing_of_75_A_and_few_outliers(real, tmp_path, page):
    """Immature HIV-1 Gag: hexagons about 75 Å apart (the tutorial's own number)."""
    words, _ = real
    run(*words, "--min-distance-A", 50, "--symmetry", "C6", "--lattice-spacing-A", 75,
        "--min-neighbours", 1, "-o", tmp_path / "out")
    with open(tmp_path / "out/job.json") as file:
        results = json.load(file)["results"]
    assert results["mean_neighbours"] > 3
    assert results["particles"] > 8000


@pytest.mark.data
def test_real_warp_set_is_selected_from_and_joined(data_dir, tmp_path):
    """RELION 4 matrices, corner coordinates in binned pixels, four optics groups, no images."""
    folder = data_dir / "particles_empiar10499_warp_70S"
    base = folder / "warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    common = ["--optimisation-set", base, "--coordinate-pixel-A", 12]
    run(*common, "--tomogram-name", "Unt_083.tomostar", "--halves", "random", "-o",
        tmp_path / "one")
    star = read_star(tmp_path / "one/particles.star")
    assert len(star["particles"]) == 10
    assert [t.version for t in star] == [50001] * 3
    run(*common, "--join", tmp_path / "one/optimisation_set.star", "--min-distance-A", 5, "-o",
        tmp_path / "both")
    record = json.loads((tmp_path / "both/job.json").read_text())
    assert record["results"]["particles_in"] == 50
    assert record["results"]["particles"] == 40
    assert record["results"]["tomograms"] == 4


@pytest.mark.data
def test_real_particles_that_are_taken_out_come_back_as_holes(real):
    """300 particles with 5 or 6 neighbours, none next to another, filled from the others."""
    words, _ = real
    particles = read_particles(words[1], read_tomograms(words[3]))
    c6 = symmetry_matrices("C6")
    keep = remove_duplicates(
        particles.position_A, particles.i_tomo, np.zeros(len(particles)), DuplicateRule(50.0),
        particles.R_p2t, c6, np.zeros(len(particles), np.int8)).keep
    particles = particles.select(keep)
    rule = LatticeRule(73.0)
    full = find_lattice(particles.position_A, particles.R_p2t, particles.i_tomo, rule, c6)
    gone, blocked = [], set()
    for row in np.random.default_rng(0).permutation(np.flatnonzero(full.count >= 5)):
        if row not in blocked and len(gone) < 300:
            gone.append(row)
            blocked |= {row, *full.pairs[full.pairs[:, 0] == row, 1]}
    lost, left = particles.select(np.array(gone)), particles.select(
        np.setdiff1d(np.arange(len(particles)), gone))
    lattice = find_lattice(left.position_A, left.R_p2t, left.i_tomo, rule, c6)
    where, R, parent = fill_holes(left.position_A, left.R_p2t, left.i_tomo, lattice, rule, c6, 4)
    i_tomo = left.i_tomo[parent]
    distance, angle = [], []
    for k in range(len(lost)):
        own = np.flatnonzero(i_tomo == lost.i_tomo[k])
        d = np.linalg.norm(where[own] - lost.position_A[k], axis=1)
        distance.append(d.min())
        angle.append(pose_distance_deg(R[own[d.argmin()]][None], lost.R_p2t[k][None], c6)[0])
    assert np.mean(np.array(distance) < 15.0) > 0.98
    # RELION refined these poses from the images: neighbours know them to 2 Å and 1 degree
    assert 0.1 < np.median(distance) < 3.0
    assert 0.1 < np.median(angle) < 1.5
