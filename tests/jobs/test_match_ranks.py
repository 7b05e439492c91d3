"""A search has the same bits on 1 to 4 ranks, and after it was killed in either stage."""

import numpy as np
import pytest
from noisy_tomogram import noisy_tomogram, template, write_map

pytestmark = pytest.mark.mpi

NAMES = ("particles.star", "candidates.h5", "scores/first.mrc", "rotations/first.mrc",
         "scores/second.mrc")
OFTEN = ["--checkpoint-minutes", "0.005"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Two small tomograms; a low threshold, so that there are picks."""
    folder = tmp_path_factory.mktemp("two")
    reference = write_map(folder / "template.mrc", template(), 10.0)
    options = []
    for seed, name in enumerate(("first", "second")):
        volume, _, _ = noisy_tomogram(6, 0.8, seed, (48, 64, 64))
        options += ["--tomogram", write_map(folder / f"{name}.mrc", volume, 10.0)]
    return ["match", *options, "--reference", reference, "--mask-diameter-A", "160",
            "--lowpass-A", "50", "--highpass-A", "320", "--healpix-order", "1",
            "--threshold", "3.0", "--quiet"]


@pytest.fixture(scope="module")
def whole(command, words, tmp_path_factory):
    """Bytes of a run without a break on one rank."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run = command(1, *words, "-o", out)
    assert run.returncode == 0, run.stderr
    return {name: (out / name).read_bytes() for name in NAMES}


@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.slow),
                               pytest.param(4, marks=pytest.mark.slow)])
def test_picks_and_maps_have_the_same_bits_on_n_ranks(command, words, whole, tmp_path, n):
    run = command(n, *words, "-o", tmp_path / "out", plant={"shuffle_seed": n})
    assert run.returncode == 0, run.stderr
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == whole[name], name


@pytest.mark.parametrize("plant", [
    pytest.param({"fail": "kill", "rank": 1, "stage": "match: scan of second",
                  "sleep_s": 0.1}, id="in the scan of the second tomogram"),
    pytest.param({"fail": "kill", "rank": 0, "stage": "match: candidates of first",
                  "sleep_s": 0.05}, id="among the candidates of the first",
                 marks=pytest.mark.slow)])
def test_killed_search_goes_on_to_the_same_bits(command, words, whole, tmp_path, plant):
    out = tmp_path / "out"
    killed = command(2, *words, *OFTEN, "-o", out, plant=plant)
    assert killed.returncode != 0
    assert not (out / "particles.star").exists()
    run = command(3, *words, *OFTEN, "-o", out)
    assert run.returncode == 0, run.stderr
    for name in NAMES:
        assert (out / name).read_bytes() == whole[name], name


def test_two_tomograms_differ(whole):
    assert whole["scores/first.mrc"] != whole["scores/second.mrc"]
    assert np.frombuffer(whole["scores/first.mrc"][1024:], "<f4").std() > 0
