"""Maps, FSC and poses have the same bits whatever the ranks, the order and the breaks."""

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize(("ranks", "plant", "options"), [
    (2, {"shuffle_seed": 5}, []),
    (3, {"shuffle_seed": 6}, ["--dedicated-master"]),
    pytest.param(4, {}, [], marks=pytest.mark.slow),
    pytest.param(2, {}, [], marks=pytest.mark.slow),
    pytest.param(3, {}, [], marks=pytest.mark.slow),
    pytest.param(4, {"shuffle_seed": 7}, ["--dedicated-master"], marks=pytest.mark.slow),
])
def test_bits_are_those_of_one_rank(command, bits, truth_bits, average_words, align_words,
                                    tmp_path, ranks, plant, options):
    run = command(ranks, *average_words, *options, "-o", tmp_path / "average",
                  "++", *align_words, *options, "-o", tmp_path / "align", plant=plant)
    assert run.returncode == 0, run.stderr
    for name, expected in truth_bits.items():
        found = bits(tmp_path / name)
        assert [file for file in expected if found[file] != expected[file]] == []


def test_bits_that_are_compared_are_those_of_a_real_result(truth_bits, small_set, tmp_path):
    for name, files in truth_bits.items():
        maps = []
        for file in ("half1.mrc", "half2.mrc", "merged.mrc"):
            (tmp_path / file).write_bytes(files[file])
            maps.append(read_mrc(tmp_path / file).data)
        agreement = np.corrcoef([m.ravel() for m in maps])
        # independent noise on one object: alike, but not the same
        assert 0.1 < agreement[0, 1] < 0.99, name
        assert 0.1 < agreement[0, 2] < 0.99, name
    (tmp_path / "poses.h5").write_bytes(truth_bits["align"]["poses.h5"])
    found, _ = read_poses(tmp_path / "poses.h5")
    before = read_particles(small_set.with_name("particles.star"),
                            read_tomograms(small_set.with_name("tomograms.star")))
    turned = np.abs(found.R_p2t - before.R_p2t).max(axis=(1, 2))
    assert np.mean(turned > 1e-3) > 0.5


def test_align_killed_in_its_second_round_and_resumed_has_the_same_bits(
        command, bits, truth_bits, align_words, tmp_path):
    words = [*align_words, "--checkpoint-minutes", "0.003", "-o", tmp_path / "out"]
    killed = command(2, *words, plant={
        "fail": "kill", "rank": 1, "stage": "round 2", "units": 3, "sleep_s": 0.15})
    assert killed.returncode != 0
    assert not (tmp_path / "out/poses.h5").exists()
    run = command(3, *words, plant={"log": str(tmp_path / "log")})
    assert run.returncode == 0, run.stderr
    # the first round is not done again, nor all of the second
    assert len((tmp_path / "log").read_text().splitlines()) < 12
    assert bits(tmp_path / "out") == truth_bits["align"]
