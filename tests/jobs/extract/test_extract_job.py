"""What `extract` writes: opened by RELION's rules, and averaged to the same map as tilt series."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.reference import prepare_reference
from sta_mpi.formats.mrc import open_stack, read_header, read_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.kernels.gather import gather_slices
from sta_mpi.signal.ctf import CtfParameters, ctf_images
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

BOX, PIXEL_A, N_TILTS = 40, 6.0, 16
PLANS = FftPlans(effort="estimate")

WRITTEN = {   # what extraction itself puts into a particle file, and how it is read
    "rlnTomoName": "text", "rlnTomoParticleName": "text", "rlnTomoVisibleFrames": "vector",
    "rlnImageName": "text", "rlnOpticsGroup": "integer", "rlnRandomSubset": "integer",
    "rlnCenteredCoordinateXAngst": "float", "rlnCenteredCoordinateYAngst": "float",
    "rlnCenteredCoordinateZAngst": "float", "rlnAngleRot": "float", "rlnAngleTilt": "float",
    "rlnAnglePsi": "float"}
OPTICS = {
    "rlnOpticsGroup": "integer", "rlnOpticsGroupName": "text", "rlnVoltage": "float",
    "rlnSphericalAberration": "float", "rlnAmplitudeContrast": "float",
    "rlnTomoTiltSeriesPixelSize": "float", "rlnCtfDataAreCtfPremultiplied": "integer",
    "rlnImageDimensionality": "integer", "rlnTomoSubtomogramBinning": "float",
    "rlnImagePixelSize": "float", "rlnImageSize": "integer"}


def test_average_of_extracted_stacks_is_that_of_the_tilt_series(averaged, project):
    with_tilts, with_truth, scale = averaged(project[1]())
    assert with_tilts[:8].min() > 0.998
    assert with_tilts.min() > 0.95    # two soft circles instead of one
    assert with_truth[1:8].min() > 0.97
    assert 0.95 < scale < 1.05        # grey scale of the images


def test_average_of_extracted_boxes_is_that_of_the_tilt_series(averaged, project):
    with_tilts, with_truth, scale = averaged(project[1]("--form", "boxes"))
    assert with_tilts[:8].min() > 0.98
    assert with_truth[1:8].min() > 0.97
    assert 0.85 < scale < 1.05        # trilinear merging dims what is far from the centre


def test_average_of_raw_stacks_is_that_of_the_tilt_series(averaged, project):
    """The CTF is multiplied after a narrow box was cut, so high frequencies lose a little."""
    with_tilts, with_truth, _ = averaged(project[1]("--form", "raw"))
    assert with_tilts[:8].min() > 0.995
    assert with_truth[1:8].min() > 0.97


def test_one_file_a_series_holds_the_same_images(averaged, project):
    alone, series = project[1](), project[1]("--layout", "series")
    tomograms = read_tomograms(project[0] / "sim/tomograms.star")
    a, b = (read_particles(f / "particles.star", tomograms) for f in (alone, series))
    assert len(list((series / "Subtomograms").iterdir())) == 2
    for row in (0, 7, len(a) - 1):
        number, _, path = b.image_names[row].partition("@")
        images = open_stack(a.image_names[row])[:]
        first = int(number) - 1
        assert np.array_equal(images, open_stack(path)[first:first + len(images)])
    one, two = averaged(alone), averaged(series)
    assert np.array_equal(one[1], two[1])
    header = read_header(series / "Subtomograms/TS_01_stack2d.mrcs")
    assert header.pixel_xyz_A[0] == pytest.approx(PIXEL_A)


def column_problem(table, label, kind):
    """What is wrong with a column, or None."""
    if label not in table:
        return f"{label} is missing"
    if kind == "vector":
        table.vectors(label)
    elif kind == "integer":
        table.integers(label)
    elif kind == "float":
        table.finite(label)
    elif not all(table.strings(label).tolist()):
        return f"{label} has empty cells"
    return None


def structure_problems(star, without=()):
    """What RELION 5 would miss in a set of 2D stacks, by the tables of its file formats."""
    found = [name for name in ("general", "optics", "particles") if name not in star]
    if found:
        return found
    if star["general"].is_loop or not star["optics"].is_loop or not star["particles"].is_loop:
        found.append("loop and list tables are mixed up")
    found += [column_problem(star["optics"], label, kind) for label, kind in OPTICS.items()]
    found += [column_problem(star["particles"], label, kind) for label, kind in WRITTEN.items()
              if label not in without]
    return [problem for problem in found if problem]


def test_stack_set_has_what_relion_needs(project):
    folder = project[1]()
    star = read_star(folder / "particles.star")
    assert structure_problems(star) == []
    assert star["general"].integers("rlnTomoSubTomosAre2DStacks").tolist() == [1]
    optics, particles = star["optics"], star["particles"]
    assert optics.integers("rlnCtfDataAreCtfPremultiplied").tolist() == [1]
    assert optics.integers("rlnImageDimensionality").tolist() == [2]
    assert optics.integers("rlnImageSize").tolist() == [BOX]
    visible = particles.vectors("rlnTomoVisibleFrames")
    names = particles.strings("rlnImageName")
    for row in (0, 5, len(names) - 1):
        header = read_header(names[row])
        assert header.shape_zyx == (visible[row].sum(), BOX, BOX)
        assert len(visible[row]) == N_TILTS
        assert not header.is_volume
    # origins went into the coordinates
    assert np.abs(np.stack([particles.floats(f"rlnOrigin{a}Angst") for a in "XYZ"])).max() == 0
    truth = read_star(project[0] / "sim/particles.star")["particles"]
    for axis in "XYZ":
        label = f"rlnCenteredCoordinate{axis}Angst"
        assert np.allclose(particles.floats(label), truth.floats(label), atol=1e-5)
    members = read_optimisation_set(folder / "optimisation_set.star")
    assert members.particles == folder / "particles.star"
    assert members.tomograms == project[0] / "sim/tomograms.star"


def test_box_set_has_what_relion_needs(project):
    folder = project[1]("--form", "boxes")
    star = read_star(folder / "particles.star")
    assert structure_problems(star, without=("rlnTomoVisibleFrames",)) == []
    assert star["general"].integers("rlnTomoSubTomosAre2DStacks").tolist() == [0]
    assert star["optics"].integers("rlnImageDimensionality").tolist() == [3]
    assert "rlnTomoVisibleFrames" not in star["particles"]
    data = read_mrc(star["particles"].strings("rlnImageName")[0]).data
    weights = read_mrc(star["particles"].strings("rlnCtfImage")[0]).data
    assert data.shape == (BOX,) * 3
    assert weights.shape == (2 * BOX, BOX, BOX // 2 + 1)
    ctf2, multiplicity = weights[:BOX], weights[BOX:]
    # the origin of the weights is at index 0; every voxel saw CTF^2 times dose <= 1 a sample
    assert (ctf2 <= multiplicity + 1e-4).all()
    assert multiplicity[0, 0, 0] > 5
    assert multiplicity[BOX // 2, BOX // 2, 0] == 0


@pytest.mark.data
def test_columns_are_those_of_relions_own_extracted_sets(project, data_dir):
    """RELION's files pass the check that ours pass, and ours have RELION's columns."""
    real = read_star(data_dir / "relion5_empiar10164_hiv/Refine3D/job023/run_data.star")
    assert structure_problems(real) == []
    ours = read_star(project[1]() / "particles.star")
    assert [t.name for t in ours] == [t.name for t in real]
    assert set(real["optics"].labels) <= set(ours["optics"].labels)
    refined = {"rlnGroupNumber", "rlnClassNumber", "rlnNormCorrection",
               "rlnMaxValueProbDistribution", "rlnLogLikeliContribution",
               "rlnNrOfSignificantSamples", "rlnAngleTiltPrior",
               "rlnAnglePsiPrior", "rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt",
               "rlnTomoSubtomogramPsi"}
    assert set(real["particles"].labels) - refined <= set(ours["particles"].labels)


def test_raw_images_agree_with_projections_of_the_truth_at_their_poses(project):
    """Every number of tilt_images.star is used as another program would use it."""
    folder = project[1]("--form", "raw")
    table = read_star(folder / "tilt_images.star").first
    assert len(table) == 28 * N_TILTS
    truth = read_mrc(project[0] / "sim/truth.mrc").data
    reference = prepare_reference(truth, None, 9.0, PLANS)
    rows = np.arange(0, len(table), 37)
    angles = np.stack([table.floats(f"rlnAngle{a}") for a in ("Rot", "Tilt", "Psi")], axis=1)
    A = Rotation.from_euler("ZYZ", angles[rows], degrees=True).inv().as_matrix()
    optics = read_tomograms(project[0] / "sim/tomograms.star").tilt_series("TS_01").optics
    ctf = ctf_images(CtfParameters(
        *(table.floats(label)[rows] for label in (
            "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift")), optics),
        BOX, PIXEL_A)
    expected = PLANS.irfft2(gather_slices(
        reference.volume, np.ascontiguousarray(A[:, :2]), BOX, 9.0) * ctf)
    right, wrong = [], []
    for i, row in enumerate(rows):
        number, _, path = table.strings("rlnImageName")[row].partition("@")
        image = open_stack(path)[int(number) - 1]
        right.append(np.corrcoef(image.ravel(), expected[i].ravel())[0, 1])
        wrong.append(np.corrcoef(image.ravel(), expected[i - 1].ravel())[0, 1])
    assert np.mean(right) > 0.25    # noise has the power of the signal within its disc
    assert np.mean(right) > 2.5 * np.mean(wrong)
    # what cryoDRGN-ET and tomoDRGN read of such a table
    for label in ("rlnOriginX", "rlnOriginY", "rlnVoltage", "rlnSphericalAberration", "rlnTiltName",
                  "rlnAmplitudeContrast", "rlnDetectorPixelSize", "rlnMagnification"):
        assert label in table
    assert np.ptp(table.floats("rlnCtfScalefactor")) > 0.3
    dose = table.floats("rlnMicrographPreExposure")
    assert np.allclose(table.floats("rlnCtfBfactor"), -4 * dose, atol=1e-4)
    names = table.strings("rlnGroupName")
    assert len(set(names)) == 28
    assert (names[:N_TILTS] == names[0]).all()
    premultiplied = read_star(folder / "particles.star")["optics"]
    assert premultiplied.integers("rlnCtfDataAreCtfPremultiplied").tolist() == [0]


def test_options_do_what_they_say(averaged, project):
    tomograms = read_tomograms(project[0] / "sim/tomograms.star")
    ts = tomograms.tilt_series("TS_01")
    half = project[1]("--image-type", "float16", "--max-dose-e-per-A2", 30)
    limited = read_particles(half / "particles.star", tomograms)
    allowed = ts.pre_dose_e_per_A2 <= 30
    assert 3 < allowed.sum() < N_TILTS
    assert (limited.visible == allowed).all()
    name = limited.image_names[0]
    assert read_header(name).mode == 12
    full = open_stack(read_particles(project[1]() / "particles.star", tomograms).image_names[0])
    assert np.allclose(open_stack(name)[:], full[:][allowed], atol=2e-3 * np.abs(full[:]).max())

    kept = project[1]("--no-apply-offsets", "--apply-orientations")
    given = read_particles(project[0] / "particles.star", tomograms)
    same = read_particles(kept / "particles.star", tomograms)
    assert np.allclose(same.xyz_A, given.xyz_A, atol=1e-5)
    assert np.allclose(same.offset_A, given.offset_A, atol=1e-5)
    assert np.allclose(same.R_p2t, given.R_p2t, atol=1e-7)
    assert np.allclose(same.R_box2t, given.R_p2t, atol=1e-7)
    assert averaged(kept)[1][1:8].min() > 0.97


@pytest.mark.slow
def test_patches_follow_the_trajectories_of_their_particles(run, tmp_path):
    """Particles that move between tilts are sharp only where extraction knows of it."""
    run("simulate", "--n-series", 1, "--n-particles", 14, "--pixel-A", PIXEL_A,
        "--image-width-px", 224, "--image-height-px", 224, "--tilt-step-deg", 8,
        "--thickness-A", 500, "--phantom-radius-A", 60, "--phantom-detail-A", 5, "--snr", 2,
        "--truth-box-px", BOX, "--motion-A", 3, "--motion-correlation-A", 50, "-o",
        tmp_path / "sim")
    mask = soft_sphere(BOX, 12, 4)
    truth = read_mrc(tmp_path / "sim/truth.mrc").data * mask
    found = {}
    for name, words in (("still", []),
                        ("moving", ["--trajectories", tmp_path / "sim/motion_truth.star"])):
        run("extract", "--optimisation-set", tmp_path / "sim/optimisation_set.star", *words,
            "--box-px", BOX, "-o", tmp_path / name)
        run("average", "--optimisation-set", tmp_path / name / "optimisation_set.star", "--noise",
            "flat", "-o", tmp_path / f"average_{name}")
        found[name] = fsc(read_mrc(tmp_path / f"average_{name}/half1.mrc").data * mask, truth)
    assert found["moving"][1:7].min() > 0.95
    assert found["moving"][3:8].mean() > found["still"][3:8].mean() + 0.1


def test_binned_stacks_average_to_the_binned_map(run, project):
    folder = project[0]
    run("extract", "--tomograms", folder / "sim/tomograms.star", "--particles",
        folder / "particles.star", "--box-px", 24, "--binning", 2, "-o", folder / "bin2")
    run("average", "--optimisation-set", folder / "bin2/optimisation_set.star", "-o",
        folder / "average_bin2")
    run("average", "--tomograms", folder / "sim/tomograms.star", "--particles",
        folder / "particles.star", "--box-px", 24, "--binning", 2, "-o", folder / "tilts_bin2")
    mask = soft_sphere(24, 8, 3)
    a, b = (read_mrc(folder / f"{n}/merged.mrc").data * mask for n in (
        "average_bin2", "tilts_bin2"))
    assert fsc(a, b)[:9].min() > 0.98
    optics = read_star(folder / "bin2/particles.star")["optics"]
    assert optics.floats("rlnTomoSubtomogramBinning").tolist() == [2.0]


@pytest.mark.slow
def test_wiener_divided_boxes_are_written_beside_the_sums(project):
    folder = project[1]("--form", "boxes", "--snr", 5)
    star = read_star(folder / "particles_filtered.star")
    assert star["optics"].integers("rlnCtfDataAreCtfCorrected").tolist() == [1]
    assert star["optics"].integers("rlnCtfDataAreCtfPremultiplied").tolist() == [0]
    table = star["particles"]
    # turned into the frame of the particle, their mean is the particle
    tomograms = read_tomograms(project[0] / "sim/tomograms.star")
    particles = read_particles(folder / "particles.star", tomograms)
    truth = read_mrc(project[0] / "sim/truth.mrc").data
    mask = soft_sphere(BOX, 12, 4)
    from sta_mpi.kernels.gather import gather_box, prepare_gather
    total = np.zeros((BOX, BOX, BOX // 2 + 1), np.complex64)
    for row in range(len(table)):
        data = read_mrc(table.strings("rlnImageName")[row]).data
        volume = prepare_gather(PLANS.rfft3(data), PLANS, 2.0, BOX // 2 - 1)
        total += gather_box(volume, particles.R_p2t[row], BOX, BOX // 2 - 1)
    mean = PLANS.irfft3(total / len(table))
    assert fsc(mean * mask, truth * mask)[1:7].min() > 0.9


def test_whitened_stacks_have_flat_noise(project):
    """Corner pixels of whitened images without CTF are noise of variance 1."""
    folder = project[1]("--whiten", "--no-ctf", "--no-dose-weighting", "--no-tilt-scale",
                        "--no-circle")
    tomograms = read_tomograms(project[0] / "sim/tomograms.star")
    particles = read_particles(folder / "particles.star", tomograms)
    power = np.mean([np.abs(PLANS.rfft2(open_stack(name)[:])[:, 14:20, 14:20]) ** 2
                     for name in particles.image_names[:10]])
    # signal of SNR 1 is left at low frequencies only
    assert power == pytest.approx(1.0, abs=0.1)


def test_report_shows_particles(run, project, monkeypatch, tmp_path):
    monkeypatch.undo()
    from sta_mpi.jobs.job_page import write_job_page

    monkeypatch.setattr("sta_mpi.jobs.launch.write_job_page", write_job_page)
    run("extract", "--tomograms", project[0] / "sim/tomograms.star", "--particles",
        project[0] / "particles.star", "--box-px", 24, "-o", tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    for text in ("Gallery", "Tilts", "TS_01", "<img"):
        assert text in page
    results = json.loads((tmp_path / "out/job.json").read_text())["results"]
    assert results["images"] == 28 * N_TILTS


def test_files_open_in_the_public_readers_of_their_formats(project):
    """starfile and mrcfile know nothing of this program."""
    import mrcfile
    import starfile

    folder = project[1]()
    tables = starfile.read(folder / "particles.star", always_dict=True)
    assert list(tables) == ["general", "optics", "particles"]
    particles = tables["particles"]
    assert len(particles) == 28
    with mrcfile.open(particles["rlnImageName"][3]) as stack:
        assert stack.is_image_stack()
        assert stack.data.shape == (N_TILTS, BOX, BOX)
        assert stack.voxel_size.x == pytest.approx(PIXEL_A)
        assert stack.header.dmean == pytest.approx(stack.data.mean(), abs=1e-4)
    boxes = project[1]("--form", "boxes")
    assert mrcfile.validate(str(boxes / "Subtomograms/TS_01/1_data.mrc"))
    assert mrcfile.validate(str(boxes / "Subtomograms/TS_01/1_weights.mrc"))
    raw = starfile.read(project[1]("--form", "raw") / "tilt_images.star")
    assert len(raw) == 28 * N_TILTS


@pytest.mark.slow
@pytest.mark.data
def test_twin_of_the_real_project_is_extracted_with_all_its_columns(run, data_dir, tmp_path):
    """Geometry, boxes turned by A_sub, priors and half-sets of the real set; images simulated."""
    folder = data_dir / "relion5_empiar10164_hiv"
    run("simulate", "--like", folder / "Refine3D/job023/run_optimisation_set.star", "--series",
        "TS_03", "--n-particles", 6, "--binning", 8, "--phantom", "C6", "--phantom-radius-A", 80,
        "--phantom-detail-A", 20, "-o", tmp_path / "twin")
    real = read_star(folder / "Refine3D/job023/run_data.star")["particles"]
    # the real rows, with the particles' own names, against the twin's tomograms
    names = read_star(tmp_path / "twin/particles.star")["particles"].strings(
        "rlnTomoParticleName")
    rows = np.flatnonzero(real.strings("rlnTomoName") == "TS_03")[:len(names)]
    star = read_star(folder / "Refine3D/job023/run_data.star")
    optics, table = star["optics"], real.select(rows)
    optics["rlnTomoTiltSeriesPixelSize"] = [8 * 1.35]
    write_star(tmp_path / "real_rows.star", [star["general"], optics, table])
    run("extract", "--particles", tmp_path / "real_rows.star", "--tomograms",
        tmp_path / "twin/tomograms.star", "--box-px", 32, "--max-dose-e-per-A2", 50,
        "-o", tmp_path / "out")
    ours = read_star(tmp_path / "out/particles.star")
    assert structure_problems(ours) == []
    assert ours["particles"].labels == real.labels
    for label in ("rlnAngleRot", "rlnTomoSubtomogramTilt", "rlnAngleTiltPrior", "rlnRandomSubset",
                  "rlnLogLikeliContribution"):
        assert ours["particles"].strings(label).tolist() == table.strings(label).tolist()
    # what RELION found visible within 50 electrons at full size is what we find
    same = [np.array_equal(a, b) for a, b in zip(
        ours["particles"].vectors("rlnTomoVisibleFrames"),
        table.vectors("rlnTomoVisibleFrames"), strict=True)]
    assert np.mean(same) > 0.8
