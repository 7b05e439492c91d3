"""`extract` meets wrong options, damaged images, hostile names, and the end of a process."""

import json
import shutil

import numpy as np
import pytest

from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star, write_star

N_TILTS = 16


def test_particles_on_a_damaged_image_are_left_out_and_told(run, project, tmp_path):
    """A NaN pixel takes out the particles whose patch holds it; the others keep their places."""
    shutil.copytree(project[0] / "sim", tmp_path / "sim")
    tomograms = read_tomograms(tmp_path / "sim/tomograms.star")
    particles = read_particles(tmp_path / "sim/particles.star", tomograms)
    ts = tomograms.tilt_series("TS_01")
    x, y = np.rint(ts.position_px(particles.position_A[2])[4]).astype(int)
    width, height = ts.image_size_px
    path = tmp_path / "sim/tilt_images/TS_01.mrcs"
    raw = bytearray(path.read_bytes())
    place = len(raw) - 4 * (ts.n_tilts - 4) * width * height + 4 * (y * width + x)
    raw[place:place + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(raw)
    run("extract", "--optimisation-set", tmp_path / "sim/optimisation_set.star", "--box-px", 24,
        "--unit-particles", 5, "--max-bad-share", 0.5, "--layout", "series", "-o",
        tmp_path / "out")
    kept = read_particles(tmp_path / "out/particles.star", tomograms)
    assert particles.names[2] not in kept.names.tolist()
    assert 20 < len(kept) < 28
    record = json.loads((tmp_path / "out/job.json").read_text())
    assert record["results"]["particles_quarantined"] == 28 - len(kept)
    assert any("left out" in text for text in record["warnings"])
    # images of the last particle are still its own
    number, _, stack = kept.image_names[-1].partition("@")
    run("extract", "--optimisation-set", project[0] / "sim/optimisation_set.star", "--box-px", 24,
        "-o", tmp_path / "good")
    good = read_particles(tmp_path / "good/particles.star", tomograms)
    first = int(number) - 1
    assert np.array_equal(open_stack(stack)[first:first + N_TILTS],
                          open_stack(good.image_names[-1])[:])
    stopped = run("extract", "--optimisation-set", tmp_path / "sim/optimisation_set.star",
                  "--box-px", 24, "--unit-particles", 1, "--max-bad-share", 0.01,
                  "-o", tmp_path / "strict", code=5)
    assert "NaN" in stopped.output


@pytest.mark.parametrize(("words", "code", "says"), [
    (["--box-px", 41], 2, "box_px must be even"),
    (["--box-px", 40, "--window-px", 30], 2, "at least the box of 40 px"),
    (["--box-px", 40, "--snr", 5], 2, "snr goes with boxes"),
    (["--box-px", 40, "--form", "raw", "--whiten"], 2, "whiten changes raw images"),
    (["--box-px", 40, "--form", "boxes", "--layout", "series"], 2, "one file a particle"),
    (["--box-px", 400], 3, "Use a smaller --box-px"),
    (["--box-px", 40, "--min-tilts", 17], 3, "seen on 17 tilt images"),
])
def test_wrong_options_end_in_one_line(run, project, tmp_path, words, code, says):
    result = run("extract", "--tomograms", project[0] / "sim/tomograms.star", "--particles",
                 project[0] / "particles.star", *words, "-o", tmp_path / "out", code=code)
    assert says in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out/particles.star").exists()


@pytest.mark.parametrize("name", ["../../outside", "/outside", "TS_01/..", "3@TS_01"])
def test_particle_names_cannot_lead_out_of_the_folder(run, project, tmp_path, name):
    star = read_star(project[0] / "particles.star")
    names = star["particles"].strings("rlnTomoParticleName")
    names[3] = name
    star["particles"]["rlnTomoParticleName"] = names
    write_star(tmp_path / "particles.star", star.tables)
    result = run("extract", "--tomograms", project[0] / "sim/tomograms.star", "--particles",
                 tmp_path / "particles.star", "--box-px", 24, "-o", tmp_path / "a/b/out", code=3)
    assert "cannot be the name of a file" in result.output
    assert not list(tmp_path.rglob("*.mrcs"))


@pytest.mark.data
def test_real_set_without_its_images_is_refused_in_one_line(run, data_dir, tmp_path):
    folder = data_dir / "relion5_empiar10164_hiv"
    result = run("extract", "--particles", folder / "Refine3D/job023/run_data.star",
                 "--tomograms", folder / "Denoise/job008/tomograms.star", "--box-px", 96,
                 "--binning", 6, "-o", tmp_path / "out", code=3)
    assert "its images cannot be read" in result.output


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*.mrc*"))}


@pytest.mark.mpi
@pytest.mark.parametrize("layout", [
    "particle", pytest.param("series", marks=pytest.mark.slow)])
def test_killed_extraction_goes_on_to_the_same_files_on_other_ranks(
        command, project, tmp_path, layout):
    words = ["extract", "--tomograms", project[0] / "sim/tomograms.star", "--particles",
             project[0] / "particles.star", "--box-px", 24, "--layout", layout, "--quiet",
             "--unit-particles", 2, "--checkpoint-minutes", 1e-4]
    whole = command(1, *words, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = command(2, *words, "-o", tmp_path / "out", plant={
        "fail": "kill", "rank": 1, "units": 4})
    assert killed.returncode != 0
    assert not (tmp_path / "out/particles.star").exists()
    again = command(3, *words, "-o", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert len(files_of(tmp_path / "out")) == (28 if layout == "particle" else 2)
    assert not list((tmp_path / "out").rglob("*.partial"))
    assert not list((tmp_path / "out").rglob(".*.tmp"))
