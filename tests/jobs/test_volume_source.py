"""Particles cut from tomograms: the same averages as from the tilt images, and the same bits.

The tomograms are made by plain code of the tests (`plain_tomogram`), so that nothing of what
cuts and weighs their boxes is its own judge. Slow tests are a minute on one core.
"""

import shutil

import numpy as np
import pytest
from plain_tomogram import back_project, write_volume
from pydantic import ValidationError

from sta_mpi.errors import StaMpiError
from sta_mpi.formats.mrc import read_image, read_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.average import prepare_setup
from sta_mpi.jobs.parameters.average import AverageParameters
from sta_mpi.jobs.source_volumes import MadeAs
from sta_mpi.jobs.volume_setup import contrast_warnings, made_as, volumes_of
from sta_mpi.signal.fft import FftPlans

BOX, VOXEL_A = 28, 6.0


def shell_correlation(a, b):
    """FSC of two maps within a soft sphere, by numpy alone."""
    n = len(a)
    axis = np.arange(n) - n // 2
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(axis, axis, axis, indexing="ij")))
    mask = np.clip((0.42 * n - radius) / 4, 0, 1)
    A, B = (np.fft.fftshift(np.fft.fftn(m * mask)) for m in (a, b))
    shells = np.rint(radius).astype(int)
    top, pa, pb = (np.bincount(shells.ravel(), v.ravel()) for v in (
        (A * B.conj()).real, np.abs(A) ** 2, np.abs(B) ** 2))
    return (top / np.sqrt(pa * pb))[: n // 2]


@pytest.fixture(scope="module")
def tomograms(small_set, tmp_path_factory):
    """A table of the small set that names a volume of each series, made here."""
    folder = tmp_path_factory.mktemp("volumes") / "project"
    shutil.copytree(small_set.parent, folder, ignore=shutil.ignore_patterns(
        "job.*", "report.html", "*.log", "*.h5"))
    table = read_tomograms(folder / "tomograms.star", folder)
    for name in table.names:
        ts = table.tilt_series(name)
        images = np.stack([read_image(image) for image in ts.image_names])
        volume = back_project(images, ts.P, ts.pixel_A, ts.tomogram_size_px, ts.pixel_A)
        write_volume(folder / f"{name}_rec.mrc", volume, ts.pixel_A)
    path = folder / "with_volumes.star"
    table.with_volumes({name: (f"{name}_rec.mrc",) for name in table.names}, 1.0).write(
        path, folder)
    return path


def words(tomograms, *more):
    """Options that cut the small set's particles from the volumes."""
    return ["--particles", tomograms.with_name("particles.star"), "--tomograms", tomograms,
            "--source", "tomograms", "--box-px", BOX, "--quiet", *more]


@pytest.fixture(scope="module")
def averages(command, tomograms, average_words, tmp_path_factory):
    """Averages of the true-ish poses from tilt images and from volumes, and an alignment."""
    folder = tmp_path_factory.mktemp("averages")
    tilts = [*average_words]
    tilts[tilts.index("--box-px") + 1] = str(BOX)
    run = command(
        1, *tilts, "-o", folder / "tilts",
        "++", "average", *words(tomograms), "-o", folder / "volumes",
        "++", "average", *words(tomograms, "--wedge", "binary"), "-o", folder / "binary",
        "++", "align", *words(
            tomograms, "--lowpass-A", "25", "--angle-range-deg", "10", "--shift-range-A", "16",
            "--reference", tomograms.with_name("truth28.mrc"), "--iterations", "2",
            "--oracle-particles", "1"),
        "-o", folder / "align")
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module", autouse=True)
def truth_map(tomograms):
    """The truth in the box of the jobs, beside the tables."""
    truth = read_mrc(tomograms.with_name("truth.mrc"))
    n = len(truth.data)
    start = n // 2 - BOX // 2
    own = slice(start, start + BOX) if n >= BOX else None
    data = truth.data[own, own, own] if own else np.pad(truth.data, BOX // 2 - n // 2)
    write_volume(tomograms.with_name("truth28.mrc"), data, truth.voxel_A)


@pytest.mark.mpi
def test_average_from_tomograms_is_that_from_the_tilt_images(averages):
    tilts, volumes, binary = (read_mrc(averages / name / "merged.mrc").data
                              for name in ("tilts", "volumes", "binary"))
    fsc = shell_correlation(tilts, volumes)
    # 13 tilts, 24 particles; linear interpolation in the plain volumes and in 3D slices
    assert fsc[1:6].min() > 0.97, fsc
    assert 1 - fsc[1:6].min() > 1e-5
    # without CTF and dose the binary wedge is further off
    assert fsc[1:6].mean() > shell_correlation(tilts, binary)[1:6].mean()
    assert read_mrc(averages / "volumes" / "merged.mrc").voxel_A == pytest.approx(VOXEL_A)


@pytest.mark.mpi
def test_alignment_from_tomograms_finds_the_planted_poses(averages, small_set, tomograms):
    truth = read_particles(small_set.with_name("particles_truth.star"), read_tomograms(tomograms))
    found = read_particles(averages / "align" / "particles.star", read_tomograms(tomograms))
    given = read_particles(tomograms.with_name("particles.star"), read_tomograms(tomograms))
    before, after = (np.median(angular_distance_deg(p.R_p2t, truth.R_p2t))
                     for p in (given, found))
    moved = np.median(np.linalg.norm(found.position_A - truth.position_A, axis=1))
    assert before > 3
    assert 0 < after < 0.5 * before
    assert 0 < moved < 4


@pytest.mark.mpi
def test_inverted_averages_are_told(averages):
    right = read_mrc(averages / "volumes" / "merged.mrc").data
    assert contrast_warnings("tomograms", right) == []
    assert contrast_warnings("tilt-series", -right) == []
    [line] = contrast_warnings("tomograms", -right)
    assert "--tomogram-contrast" in line
    assert contrast_warnings("tomograms", np.zeros((8, 8, 8), np.float32)) == []


@pytest.mark.mpi
def test_results_from_tomograms_do_not_depend_on_ranks(command, bits, tomograms, tmp_path):
    runs = [command(n, "average", *words(tomograms, "--unit-particles", "2"),
                    "-o", tmp_path / f"r{n}") for n in (1, 3)]
    assert all(run.returncode == 0 for run in runs), runs
    assert bits(tmp_path / "r1") == bits(tmp_path / "r3")


@pytest.mark.parametrize(("spacing", "is_clear"), [(34, True), (16, False)])
def test_half_two_leaves_every_bit_of_half_one_alone(tmp_path, spacing, is_clear):
    rng = np.random.default_rng(1)
    box, n = 16, 4
    grid = 8.0 + spacing * np.stack(np.meshgrid(range(n), range(n), indexing="ij"), -1).reshape(
        -1, 2)
    size = np.array([int(grid.max()) + 8] * 2 + [16 if not is_clear else 40])
    places = np.column_stack([grid, np.full(len(grid), size[2] // 2)])
    half = np.arange(len(grid)) % 2 + 1
    volume = rng.standard_normal(size[::-1]).astype(np.float32)
    rows = "\n".join(f"plain {x * 5:.3f} {y * 5:.3f} {z * 5:.3f} {h}" for (x, y, z), h in zip(
        places - size / 2, half, strict=True))
    (tmp_path / "p.star").write_text(
        "data_particles\n\nloop_\n_rlnTomoName #1\n_rlnCenteredCoordinateXAngst #2\n"
        "_rlnCenteredCoordinateYAngst #3\n_rlnCenteredCoordinateZAngst #4\n"
        f"_rlnRandomSubset #5\n{rows}\n")
    observed = []
    for marker in (0.0, 50.0):
        for x, y, z in places[half == 2].astype(int):
            volume[z - 2 : z + 2, y - 2 : y + 2, x - 2 : x + 2] += marker
        write_volume(tmp_path / "plain.mrc", volume, 5.0)
        source = prepare_setup(AverageParameters(
            output=tmp_path / "out", tomogram=(tmp_path / "plain.mrc",), box_px=box,
            particles=tmp_path / "p.star")).source
        source.prepare(None, FftPlans(effort="estimate"))
        observed.append([source.observe(i, np.zeros(3)).merged for i in range(len(places))])
    noise_places = source._noise_places(1, 0)
    assert (len(noise_places) != (half == 1).sum()) == is_clear
    for h, plain, marked in zip(half, *observed, strict=True):
        assert np.array_equal(plain.weight_rft, marked.weight_rft)
        assert np.array_equal(plain.data_rft, marked.data_rft) == (h == 1)


def test_how_a_tomogram_was_made_is_read_from_its_job(tomograms, tmp_path):
    inputs = prepare_setup(AverageParameters(
        output=tmp_path / "out", particles=tomograms.with_name("particles.star"),
        tomograms=tomograms, source="tomograms", box_px=BOX)).inputs
    volumes = volumes_of(inputs)
    parameters = AverageParameters(output="out")
    assert made_as(volumes, parameters)["TS_01"] == MadeAs(True, "none", False, False)
    folder = tomograms.parent
    (folder / "job.toml").write_text('command = "tomogram"\ninvert = true\nctf = "flip"\n'
                                     'dose_weighting = true\ntilt_weights = "scale"\n')
    try:
        assert made_as(volumes, parameters)["TS_01"] == MadeAs(False, "flip", True, True)
        said = AverageParameters(output="out", tomogram_contrast="dark", tomogram_ctf="none",
                                 tomogram_dose="plain")
        assert made_as(volumes, said)["TS_01"] == MadeAs(True, "none", False, True)
    finally:
        (folder / "job.toml").unlink()


BAD = {
    "names no reconstructed volume": {"tomograms": "tomograms.star"},
    "--box-px is needed": {"box_px": None},
    "is 27, expected an even number": {"box_px": 27},
    "tomograms are used at their own voxel": {"binning": 2},
    "expected 28 x 28 x 28": {"wedge": "file", "wedge_mask": "small_mask.mrc"},
    "is not in": {"tomograms": None, "tomogram": "TS_01_rec.mrc"},
    "without a tomogram table": {"tomogram": "TS_01_rec.mrc"},
    "no volume": {"tomograms": "missing_volumes.star"},
    "cannot take tilts out of a tomogram": {"max_dose_e_per_A2": 20.0},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_tomograms_are_refused_with_the_reason(tomograms, tmp_path, message):
    folder = tomograms.parent
    write_volume(folder / "small_mask.mrc", np.full((8, 8, 8), 1.0), 1.0)
    table = read_tomograms(tomograms, folder)
    table.with_volumes(dict.fromkeys(table.names, ("nowhere.mrc",)), 1.0).write(
        folder / "missing_volumes.star", folder)
    values = {"particles": "particles.star", "tomograms": "with_volumes.star",
              "source": "tomograms", "box_px": BOX, **BAD[message]}
    for name in ("particles", "tomograms", "wedge_mask", "tomogram"):
        if values.get(name):
            values[name] = folder / values[name]
    if "tomogram" in values:
        values["tomogram"] = (values["tomogram"],)
    def observe():
        setup = prepare_setup(AverageParameters(output=tmp_path / "out", **values))
        setup.source.prepare(None, FftPlans(effort="estimate"))
        setup.source.observe(0, np.zeros(3))

    with pytest.raises(StaMpiError) as refused:
        observe()
    assert message in " ".join(str(refused.value).split())


@pytest.mark.parametrize(("values", "message"), [
    ({"wedge": "file"}, "go together"),
    ({"tilt_min_deg": 70.0}, "is not below"),
    ({"wedge": "tilts", "tomogram": ("a.mrc",)}, "which --tomogram has none of"),
])
def test_options_of_tomograms_that_contradict_each_other_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        AverageParameters(output="out", **values)
