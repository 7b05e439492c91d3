"""`tomogram` gives the same bytes on any number of ranks, and after a kill."""

import json

import numpy as np
import pytest
from test_tomogram import write_series

pytestmark = pytest.mark.mpi

TILTS = np.arange(-60, 61, 12.0)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The command on two series, 16 units; the output folder is to be added."""
    from dataclasses import replace

    import blob_series

    from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms

    folder = tmp_path_factory.mktemp("two")
    series = []
    for name, size in (("A", (96, 80, 48)), ("B", (64, 96, 32))):
        made = replace(blob_series.make_series(TILTS, size_px=size, image_px=(96, 90)), name=name)
        (folder / name).mkdir()
        series.append(read_tomograms(write_series(folder / name, made)).tilt_series(name))
    TomogramSet.from_tilt_series(series).write(folder / "tomograms.star", folder)
    return ["tomogram", "--tomograms", str(folder / "tomograms.star"), "--binning", "1.5",
            "--halves", "tilts", "--mode", "float16", "--unit-planes", "4", "--quiet"]


def volumes(folder):
    """Bytes of all volumes."""
    found = {p.name: p.read_bytes() for p in (folder / "tomograms").glob("*.mrc")}
    assert len(found) == 6
    return found


@pytest.fixture(scope="module")
def truth(command, words, tmp_path_factory):
    """Volumes of one rank."""
    out = tmp_path_factory.mktemp("one") / "out"
    done = command(1, *words, "-o", out)
    assert done.returncode == 0, done.stderr
    return volumes(out)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow), 4])
def test_volumes_are_the_same_bytes_on_any_number_of_ranks(
        command, words, truth, tmp_path, ranks):
    done = command(ranks, *words, "-o", tmp_path / "out", plant={"shuffle_seed": ranks})
    assert done.returncode == 0, done.stderr
    assert volumes(tmp_path / "out") == truth


def test_killed_run_goes_on_to_the_same_bytes(command, words, truth, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    often = ["--checkpoint-minutes", "0.003"]
    killed = command(2, *words, *often, "-o", out, plant={
        "fail": "kill", "rank": 1, "checkpoints": 1, "units": 1, "sleep_s": 0.1, "log": str(log)})
    assert killed.returncode != 0
    assert not (out / "tomograms.star").exists()
    done = command(2, *words, "-o", out)
    assert done.returncode == 0, done.stderr
    assert volumes(out) == truth
    results = json.loads((out / "job.json").read_text())["results"]
    assert 0 < results["units_resumed"] < results["units"]
