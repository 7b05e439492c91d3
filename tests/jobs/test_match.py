"""`match` finds planted particles, estimates its false alarms, and refuses what makes no sense."""

import json

import numpy as np
import pytest
from noisy_tomogram import errors, noisy_tomogram, template, write_map

from sta_mpi.errors import InputError
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.launch import launch
from sta_mpi.jobs.parameters.match import MatchParameters

pytestmark = pytest.mark.usefixtures("empty_figures")

VOXEL_A = 10.0
SEARCH = {"mask_diameter_A": 160, "lowpass_A": 40, "highpass_A": 320, "quiet": True}


def search(folder, output, volume, **more):
    """Run `match` on a volume; (folder, job record)."""
    path = write_map(folder / "tomo.mrc", volume, VOXEL_A)
    reference = folder / "template.mrc"
    if not reference.exists():
        write_map(reference, template(), VOXEL_A)
    values = {**SEARCH, "tomogram": (path,), "reference": reference, "output": folder / output,
              **more}
    assert launch("match", MatchParameters(**values)) == 0
    return folder / output, json.loads((folder / output / "job.json").read_text())


def picks_of(folder):
    """Particles and tomograms that a job wrote."""
    members = read_optimisation_set(folder / "optimisation_set.star")
    tomograms = read_tomograms(members.tomograms)
    return read_particles(members.particles, tomograms), tomograms


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A search of a tomogram with 25 particles: (folder, record, centres, rotations)."""
    folder = tmp_path_factory.mktemp("match")
    volume, centres, rotations = noisy_tomogram(25, 1.0, 3)
    output, record = search(folder, "found", volume)
    return output, record, centres, rotations


def test_planted_particles_are_found_at_their_place_and_orientation(planted):
    folder, _, centres, rotations = planted
    particles, _ = picks_of(folder)
    recall, false, distance, angle = errors(particles.position_A, particles.R_p2t, centres,
                                            rotations)
    assert recall >= 0.9
    assert false <= 0.1
    # half a voxel of the search (16.7 Å) under noise; a list with steps of 15 degrees
    assert 0 < np.median(distance) < 8
    assert 0 < np.median(angle) < 15


def test_outputs_of_a_search_fit_together(planted):
    folder, record, _, _ = planted
    particles, tomograms = picks_of(folder)
    assert record["results"]["picks"] == len(particles)
    assert tomograms.reconstructed("tomo").exists
    score = np.array(particles.columns["rlnAutopickFigureOfMerit"], float)
    assert (np.diff(score) <= 1e-6).all()
    assert score.min() >= record["results"]["threshold"] - 1e-5
    scores, index = read_mrc(folder / "scores/tomo.mrc"), read_mrc(folder / "rotations/tomo.mrc")
    assert scores.data.shape == index.data.shape
    listed = read_h5(folder / "rotations.h5").arrays["R_p2t"]
    assert index.data.max() < len(listed)
    # the map is high where picks are: voxel of the search nearest to the first pick
    at = tomograms.reconstructed("tomo").index_xyz(particles.position_A[0])[::-1]
    z, y, x = np.rint(at * np.array(scores.data.shape) / (64, 96, 96)).astype(int)
    near = scores.data[z - 1:z + 2, y - 1:y + 2, x - 1:x + 2].max()
    assert near > np.percentile(scores.data, 99.9)


def test_noise_alone_gives_no_picks(tmp_path):
    volume, _, _ = noisy_tomogram(0, 1.0, 11)
    folder, record = search(tmp_path, "noise", volume, healpix_order=1)
    assert record["results"]["picks"] <= 1
    assert (folder / "particles.star").exists() == (record["results"]["picks"] > 0)


def test_bright_tomogram_taken_for_dark_is_told(tmp_path):
    volume, _, _ = noisy_tomogram(25, 0.5, 3)
    _, record = search(tmp_path, "wrong", -volume, healpix_order=1)
    assert any("bright in the tomogram" in text for text in record["warnings"])
    assert record["results"]["picks"] <= 2


def test_search_near_seeds_keeps_to_them_and_to_their_normals(planted, tmp_path):
    folder, _, centres, rotations = planted
    volume = read_mrc(folder.parent / "tomo.mrc").data
    particles, tomograms = picks_of(folder)
    from sta_mpi.formats.relion_particles import write_particles

    seeds = particles.select(np.arange(8))
    nearest = np.linalg.norm(seeds.position_A[:, None] - centres, axis=2).argmin(axis=1)
    seeds.R_p2t[:] = rotations[nearest]      # normals of the truth
    write_particles(tmp_path / "seeds.star", seeds, tomograms)
    output, _ = search(tmp_path, "near", volume, particles=tmp_path / "seeds.star",
                       search_radius_A=35, max_tilt_deg=25, healpix_order=1, threshold=3.0)
    found, _ = picks_of(output)
    away = np.linalg.norm(found.position_A[:, None] - seeds.position_A, axis=2)
    assert (away.min(axis=1) <= 35 + 15).all()     # half a voxel diagonal, 16.7 Å voxels
    tilt = np.degrees(np.arccos(np.clip(np.einsum(
        "ni,ni->n", found.R_p2t[:, :, 2], seeds.R_p2t[away.argmin(axis=1)][:, :, 2]), -1, 1)))
    assert (tilt <= 25.001).all()
    assert errors(found.position_A, found.R_p2t, seeds.position_A, seeds.R_p2t)[0] >= 0.85


def test_finished_folder_is_not_searched_again(planted):
    folder, record, _, _ = planted
    _, again = search(folder.parent, folder.name, read_mrc(folder.parent / "tomo.mrc").data)
    assert again["finished"] == record["finished"]


@pytest.mark.slow
def test_scan_of_the_whole_list_finds_the_same_picks(planted, tmp_path):
    folder, _, _, _ = planted
    volume = read_mrc(folder.parent / "tomo.mrc").data
    full, _ = search(tmp_path, "full", volume, search="full")
    a, b = picks_of(folder)[0], picks_of(full)[0]
    distance = np.linalg.norm(a.position_A[:, None] - b.position_A, axis=2)
    # the same voxel and orientation; a pick near the threshold may be lost
    assert (distance.min(axis=0) < 0.01).mean() >= 0.9
    assert (distance.min(axis=0) < 30).all()


@pytest.mark.parametrize(("change", "words"), [
    ({"invert_reference": True}, "protein is dark"),
    ({"lowpass_A": 15}, "voxels of 10 Å"),
    ({"mask_diameter_A": 500}, "smaller mask or a larger box"),
    ({"tile_px": 20}, "margins"),
    ({"series": ("other",)}, "no such tomogram"),
    ({"edge_A": 400}, "too thin"),
    ({"highpass_A": 20, "lowpass_A": None}, "more than the low-pass"),
], ids=["dark-template", "lowpass", "mask", "tile", "series", "edge", "highpass"])
def test_search_that_makes_no_sense_is_refused(planted, tmp_path, capsys, change, words):
    folder = planted[0].parent
    values = {**SEARCH, "tomogram": (folder / "tomo.mrc",), "reference": folder / "template.mrc",
              "output": tmp_path / "out", **change}
    assert launch("match", MatchParameters(**values)) == InputError.exit_code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "particles.star").exists()


def test_broken_files_are_refused(planted, tmp_path, capsys):
    folder = planted[0].parent
    values = {**SEARCH, "tomogram": (folder / "tomo.mrc",), "reference": folder / "template.mrc"}
    flat = write_map(tmp_path / "flat.mrc", np.zeros((32, 32, 32)), 10.0)
    slab = write_map(tmp_path / "slab.mrc", template()[:12], 10.0)
    volume = read_mrc(folder / "tomo.mrc").data.copy()
    volume[5, 5, 5] = np.nan
    spoilt = write_map(tmp_path / "spoilt.mrc", volume, 10.0)
    for change, words in (({"reference": flat}, "flat"), ({"reference": slab}, "cube"),
                          ({"tomogram": (spoilt,)}, "NaN"),
                          ({"tomogram": (tmp_path / "none.mrc",)}, "none.mrc")):
        parameters = MatchParameters(**{**values, **change}, output=tmp_path / "bad")
        assert launch("match", parameters) == InputError.exit_code
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_estimated_false_alarm_rate_is_that_of_the_truth(tmp_path):
    """Over noise levels and seeds, at thresholds where some picks are false."""
    estimated = true = 0.0
    for seed in range(6):
        volume, centres, _ = noisy_tomogram(25, 2.2, 50 + seed)
        folder, _ = search(tmp_path, f"run{seed}", volume, threshold=-100.0)
        peaks = read_h5(folder / "candidates.h5").arrays
        up = peaks["sign"] > 0
        order = np.argsort(-peaks["score"][up])[:35]
        threshold = peaks["score"][up][order].min()
        estimated += float((peaks["score"][~up] >= threshold).sum())
        distance = np.linalg.norm(peaks["xyz_A"][up][order][:, None] - centres, axis=2)
        true += float((distance.min(axis=1) > 40).sum())
    assert true > 20                       # or the test says nothing
    # decoys may lie where particles are, false picks may not: the estimate is on the safe side
    assert 0.7 < estimated / true < 2
