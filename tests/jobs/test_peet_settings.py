"""Settings of a PEET project: what is read, searched, selected and told, without running it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from peet_files import cell, changed, peet_rotation, write_motl, write_project

from sta_mpi.align.observation import BoxSamples
from sta_mpi.cli.main import cli
from sta_mpi.errors import FormatError, InputError, InputWarning, StaMpiError
from sta_mpi.formats.peet_prm import read_prm
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.align import describe
from sta_mpi.jobs.align_search import weighted_samples
from sta_mpi.jobs.align_state import start_state
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.peet_align import _log_keys, prepare
from sta_mpi.jobs.peet_choice import choose_for_average, choose_for_reference, judge_particles
from sta_mpi.jobs.peet_keys import KEYS, reports, unknown_keys, uses_of
from sta_mpi.jobs.peet_rounds import effective_parameters, peet_search, reference_mask
from sta_mpi.jobs.peet_settings import read_peet_run
from sta_mpi.jobs.source_volumes import static_region

BOX, VOXEL_A, N = 28, 6.0, 12


@pytest.fixture(scope="module")
def project(small_set, tmp_path_factory):
    """Folder of a PEET project made from the small set."""
    return write_project(tmp_path_factory.mktemp("settings") / "project", small_set)


def load(project, name="run.prm", **values):
    """A project prepared in this process."""
    path = changed(project, name, **values) if values else project / name
    return prepare(AlignParameters(output=project / "out", prm=path))


def test_coordinates_offsets_and_orientations_are_read_as_peet_means_them(project, small_set):
    loaded, setup, effective = load(project)
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    given = read_particles(small_set.with_name("particles.star"), tomograms)
    particles = loaded.inputs.particles
    assert np.abs(particles.position_A - given.position_A).max() < 1e-3
    assert angular_distance_deg(particles.R_p2t, given.R_p2t).max() < 1e-4
    assert loaded.tomogram.tolist() == [0] * N + [1] * N
    assert setup.sizes.box_px == BOX
    assert effective.score == "ncc"
    assert setup.source.volume_options.wedges["TS_01"].range_deg == (-60, 60)


def test_first_orientations_without_lists_follow_the_axes(project):
    by_axis, _, _ = load(project, "axes.prm", initMOTL="2", yaxisType="1")
    R = by_axis.inputs.particles.R_p2t[:N - 1]
    steps = np.diff(by_axis.inputs.particles.xyz_A[:N], axis=0)
    assert np.allclose(R[:, :, 2], steps / np.linalg.norm(steps, axis=1)[:, None], atol=1e-6)
    zero, _, _ = load(project, "zero.prm", initMOTL="0")
    assert np.allclose(zero.inputs.particles.R_p2t[:, :, 2], [0, 1, 0], atol=1e-6)
    (project / "run_Tom1_RotAxes.csv").write_text("0,0,1\n" * N)
    (project / "run_Tom2_RotAxes.csv").write_text("1,0,0\n" * N)
    filed, _, _ = load(project, "filed.prm", initMOTL="4", yaxisType="3")
    axes = filed.inputs.particles.R_p2t[:, :, 2]
    assert np.allclose(axes[:N], [0, 0, 1], atol=1e-6)
    assert np.allclose(axes[N:], [1, 0, 0], atol=1e-6)
    assert np.ptp(filed.inputs.particles.R_p2t[:N], axis=0).max() > 0.5


def judged_of(project, score, i_round=1, **values):
    loaded, _, _ = load(project, "judged.prm", **values)
    particles = loaded.inputs.particles
    judged = judge_particles(loaded, i_round, particles.R_p2t, particles.position_A / VOXEL_A,
                             score, np.ones(2 * N, bool))
    return loaded, judged


def test_selection_follows_thresholds_classes_and_lists(project):
    score = np.linspace(0.1, 0.9, 2 * N)
    loaded, judged = judged_of(project, score, refThreshold="{0.5, 7}", nWeightGroup="0",
                               excludeList="[24, 23]", flgRemoveDuplicates="0")
    assert choose_for_reference(loaded, 0, judged, 1).sum() == (score[:22] >= 0.5).sum()
    best = choose_for_reference(loaded, 1, judged, 1)
    assert np.flatnonzero(best).tolist() == list(range(15, 22))
    equal = choose_for_average(loaded, 10, judged, 1)
    assert np.bincount(loaded.tomogram[equal]).tolist() == [5, 5]
    loaded, judged = judged_of(project, score, includeList="{[1, 2], [3]}", nWeightGroup="0",
                               flgRandomize="1", refThreshold="{3, 3}")
    assert np.flatnonzero(choose_for_reference(loaded, 0, judged, 1)).tolist() == [0, 1, N + 2]
    with pytest.raises(InputError, match=r"refThreshold 0\.95 leaves no particle: the best"):
        choose_for_reference(*_with(loaded, project, score, "{0.95, 0.95}"), 1)


def _with(loaded, project, score, threshold):
    loaded, judged = judged_of(project, score, refThreshold=threshold, nWeightGroup="0")
    return loaded, 0, judged


def test_classes_select_and_duplicates_are_marked_anew(project, small_set):
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    given = read_particles(small_set.with_name("particles.star"), tomograms)
    rows = np.flatnonzero(given.i_tomo == 0)
    offsets = np.zeros((N, 3))
    classes = np.repeat([11, 12], N // 2)
    write_motl(project / "classes.csv", peet_rotation(given.R_p2t[rows]), offsets, classes)
    write_motl(project / "none.csv", peet_rotation(given.R_p2t[N:]), offsets, np.zeros(N, int))
    score = np.full(2 * N, 0.5)
    lists = cell(["classes.csv", "none.csv"])
    loaded, judged = judged_of(project, score, initMOTL=lists, selectClassID="[12]",
                               flgRemoveDuplicates="0")
    assert np.flatnonzero(judged.may).tolist() == list(range(N // 2, N))
    position = loaded.inputs.particles.position_A / VOXEL_A
    position[1] = position[0] + 1.5    # in a cube of 2 voxels, though 2.6 voxels away
    loaded, _, _ = load(project, "judged.prm", initMOTL=lists, flgRemoveDuplicates="1")
    R = loaded.inputs.particles.R_p2t
    aligned = np.ones(2 * N, bool)
    score[0] = 0.9
    first = judge_particles(loaded, 0, R, position, score, aligned)
    assert not first.is_duplicate.any()    # no tolerance in iteration 1
    second = judge_particles(loaded, 1, R, position, score, aligned)
    assert np.flatnonzero(second.is_duplicate).tolist() == [1]
    assert not second.may[1]
    position[1] += 20
    assert not judge_particles(loaded, 1, R, position, score, aligned).is_duplicate.any()


def searches_of(project, search="auto", **values):
    """The searches of all iterations."""
    path = changed(project, "searched.prm", **values)
    parameters = AlignParameters(output=project / "out", prm=path, search=search)
    loaded, setup, _ = prepare(parameters)
    effective = effective_parameters(parameters, loaded.run)
    state = start_state(setup, np.zeros((2, 1, BOX, BOX, BOX), np.float32))
    given = loaded.inputs.particles
    return [peet_search(i, state, effective, loaded.run, setup, None,
                        (given.R_p2t, given.offset_A)) for i in range(len(loaded.run.iterations))]


def test_shifts_of_a_grid_count_along_the_axes_of_the_motive_list_where_asked_for(project):
    radius = {"searchRadius": "{[0 2 0], [0 2 0]}"}
    plain = searches_of(project, "grid", **radius)[0]
    np.testing.assert_array_equal(plain.shifts_of(3), plain.shifts_px)
    turned = searches_of(project, "grid", flgSearchAlongParticleAxes="1", **radius)[0]
    axis = turned.R_p2t[3][:, 2]       # PEET's y is our z
    far = turned.shifts_of(3)[np.abs(turned.shifts_px[:, 1]) == 2]
    np.testing.assert_allclose(np.abs(far @ axis), 2.0)
    np.testing.assert_allclose(np.linalg.norm(far, axis=1), 2.0)
    assert np.abs(far - plain.shifts_px[np.abs(plain.shifts_px[:, 1]) == 2]).max() > 0.1


@pytest.mark.parametrize(("value", "has_parts"), [("0", False), ("1", True)])
def test_border_of_a_wedge_is_graded_where_the_project_asks_for_it(project, value, has_parts):
    _, setup, _ = load(project, "graded.prm", flgFPWedgeMask=value)
    share = static_region(setup.source.volume_options.wedges["TS_01"], 24).weight()
    assert ((share > 0.01) & (share < 0.99)).any() == has_parts


@pytest.mark.parametrize(("values", "has_wedge"), [
    ({}, True), ({"flgWedgeWeight": "0"}, False), ({"flgWedgeWeight": "1"}, True),
    ({"CCMode": "0", "flgWedgeWeight": "1"}, False)])
def test_searches_know_of_the_wedge_unless_the_project_says_otherwise(project, values, has_wedge):
    search = searches_of(project, **values)[0]
    samples = BoxSamples(np.ones((8, 8, 5), np.complex64),
                         np.random.default_rng(1).random((8, 8, 5)).astype(np.float32), np.eye(3))
    box = replace(search, limits=replace(search.limits, sample_gain=np.ones(5)))
    weight = weighted_samples(box, samples, np.ones(5), 1).weight_rft
    assert (weight == samples.weight_rft).all() == has_wedge
    if not has_wedge:
        assert weight[0, 0, 2] == weight[0, 2, 0] == weight[2, 0, 0] == weight[-2, 0, 0]
        # frequencies (0, 0, +-2) and so on, and those between that round to the same shell
        assert 0.3 < weight[0, 0, 2] < 0.7


def test_ranges_become_limits_of_the_engine_or_the_literal_list(project):
    first, second = searches_of(project)
    assert (first.kind, second.kind) == ("local", "local")
    assert first.max_angle_deg == pytest.approx(9 * 3**0.5)
    assert first.limits.max_tilt_deg == pytest.approx(9 * 2**0.5)
    assert first.max_shift_A == pytest.approx(3 * VOXEL_A)
    assert first.band.r_max > 0.25 * BOX
    assert first.limits.sample_gain[5] == 1
    assert first.limits.sample_gain[-1] < 1e-6
    grid = searches_of(project, "grid")[0]
    assert grid.kind == "grid"
    assert (len(grid.rotations), len(grid.shifts_px)) == (7**3, 7**3)
    wide = searches_of(project, dPhi="{-180:12:168, -4:2:4}")[0]
    assert len(wide.limits.starts) == 30 * 3 * 3
    fixed = searches_of(project, dTheta="{0, 0}", dPsi="{0, 0}")[0]
    assert fixed.limits.max_tilt_deg < 0.1
    folded = searches_of(project, yAxisSymmetry="[1, 5]")[1]
    assert len(folded.limits.starts) == 5
    sphere = searches_of(project, sampleSphere="'half'", sampleInterval="15",
                         dPhi="{-180:15:165, 0}")
    assert (sphere[0].kind, sphere[1].kind) == ("global", "local")
    assert sphere[0].parameters.cone_deg == 90
    literal = searches_of(project, "grid", sampleSphere="'full'", sampleInterval="30",
                          dPhi="{-180:30:150, 0}", searchRadius="{1, 1}")[0]
    assert len(literal.rotations) == 46 * 12
    strict = searches_of(project, flgStrictSearchLimits="1")[1]
    assert strict.limits.centre is not None
    assert strict.max_shift_A == pytest.approx(3 * VOXEL_A)
    on_reference = searches_of(project, flgFilterRefOnly="1")[0]
    assert (on_reference.limits.sample_gain == 1).all()
    assert on_reference.limits.reference_gain[-1] < 1e-3
    with pytest.raises(StaMpiError, match="rotations x 9261 shifts a particle, expected at most"):
        searches_of(project, "grid", searchRadius="{10, 10}")


def test_masks_of_a_run_have_the_axis_of_the_particle(project):
    run = read_peet_run(changed(project, "mask.prm", maskType="'cylinder'", outsideMaskRadius="4",
                                cylinderHeight="20", maskBlurStdDev="NaN"))
    mask = reference_mask(run, BOX)
    assert mask.sum(axis=(1, 2)).astype(bool).sum() == 21    # along our z
    assert mask[14, 14, 18] == mask[14, 18, 14] == 1
    assert mask[14, 14, 19] == 0
    assert reference_mask(read_peet_run(changed(project, "m.prm", maskType="'none'")), BOX) is None
    with pytest.raises(InputError, match="keeps no voxel"):
        reference_mask(read_peet_run(changed(project, "m.prm", insideMaskRadius="60",
                                             outsideMaskRadius="61")), BOX)


BAD = {
    "bad.prm, line 2: dPhi = {-9:3:9, 'x'}, expected numbers": {"dPhi": "{-9:3:9, 'x'}"},
    "expected 2 items, one an iteration as dPhi has": {"dTheta": "{-9:3:9}"},
    "one a tomogram of fnVolume": {"fnModParticle": "{'TS_01.mod'}"},
    "'nowhere.rec' is neither there nor beside": {"fnVolume": "{'nowhere.rec', 'TS_02.rec'}"},
    "[x y z], whole numbers": {"szVol": "[28, 28]"},
    "a file or [tomogram particle], tomograms 1 to 2": {"reference": "[3, 1]"},
    "reference is missing": {"reference": None},
    "[min max] in degrees": {"tiltRange": "{[60, -60], [0, 1]}"},
    "expected 0 to 3": {"yaxisType": "4"},
    "expected 0 or 1": {"flgRemoveDuplicates": "2"},
    "expected 0 to 4": {"initMOTL": "7"},
    "yaxisType is 3, but there is neither": {"initMOTL": "2", "yaxisType": "3",
                                             "fnOutput": "'other'"},
    "a step of up to 90 degrees": {"sampleSphere": "'full'"},
    "a radius in voxels for the mask": {"outsideMaskRadius": "NaN"},
    "less than outsideMaskRadius": {"insideMaskRadius": "20"},
    "less than hiCutoff": {"lowCutoff": "{[0.3, 0.05], [0, 0.05]}"},
    "numbers of particles, from 1": {"lstThresholds": "[0.5]"},
    "a name without folders": {"fnOutput": "'a/b'"},
    "1 to 12 levels of 2^k particles": {"reference": "13", "flgFairReference": "1"},
    "expressions are not evaluated": {"szVol": "28 * 2"},
}


@pytest.mark.parametrize("message", BAD)
def test_errors_of_a_parameter_file_are_told_with_their_place(project, message):
    values = dict(BAD[message])
    text = [line for line in (project / "run.prm").read_text().splitlines()
            if line.split("=")[0].strip() not in values]
    added = [f"{key} = {value}" for key, value in values.items() if value is not None]
    path = project / "bad.prm"
    path.write_text("\n".join([text[0], *added, *text[1:]]) + "\n")
    with pytest.raises((InputError, FormatError, StaMpiError)) as refused:
        prepare(AlignParameters(output=project / "out", prm=path))
    assert message in str(refused.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"box_px": 32}, "--box-px does not go with a PEET parameter file"),
    ({"reference": ("a.mrc",)}, "--reference does not go"),
    ({"angle_range_deg": 3.0}, "--angle-range-deg does not go"),
    ({"search": "global"}, "its ranges and sampleSphere say"),
    ({"source": "tilt-series"}, "are cut from its tomograms"),
])
def test_options_that_the_file_says_are_refused(project, options, message):
    with pytest.raises(StaMpiError, match=message):
        describe(AlignParameters(output=project / "out", prm=project / "run.prm", **options))


def test_command_takes_the_file_as_it_stands(project, monkeypatch):
    seen = []
    monkeypatch.setattr("sta_mpi.jobs.launch.launch",
                        lambda command, parameters: seen.append((command, parameters)) or 0)
    result = CliRunner().invoke(cli, ["align", str(project / "run.prm"), "--score", "fsc"])
    assert result.exit_code == 0, result.output
    command, parameters = seen[0]
    assert (command, parameters.prm, parameters.score) == ("align", project / "run.prm", "fsc")
    assert parameters.output == project / "run_align"


def test_dry_run_says_what_a_project_would_do(project):
    numbers = describe(AlignParameters(output=project / "out", prm=project / "run.prm"))
    assert (numbers["kind"], numbers["rounds"]) == ("local", 2)


def test_every_key_of_the_real_project_is_known_and_told(data_dir):
    path = data_dir / "imod_fiducial_alignment_midzone2" / "pi" / "pi.prm"
    if not path.exists():
        pytest.skip(f"real PEET project not found at {path}")
    prm = read_prm(path)
    assert unknown_keys(prm) == []
    rows = uses_of(prm)
    assert [row[0] for row in rows] == list(prm)
    assert all(row[2] in ("honoured", "otherwise", "ignored") for row in rows)
    told = " ".join(reports(prm))
    assert "relativeOrient" in told
    assert "flgWedgeWeight" not in told    # its 0 is honoured
    assert "debugLevel" not in told    # asks for nothing


def test_unknown_and_unhonoured_keys_are_never_dropped_in_silence(project, caplog):
    run = read_peet_run(changed(project, "odd.prm", flgAbsValue="1", noSuchKey="3",
                                flgUseExtractedParticles="1"))
    with caplog.at_level("INFO"), pytest.warns(InputWarning, match="unknown keys noSuchKey"):
        _log_keys(run)
    assert any(line.startswith("flgUseExtractedParticles = 1") for line in reports(run.prm))
    assert any(line.startswith("flgAbsValue = 1") for line in reports(run.prm))


def test_table_of_keys_covers_the_documented_ones():
    page = (Path(__file__).resolve().parents[2] / "docs" / "commands" / "align.md").read_text()
    missing = [key for key in KEYS if f"`{key}`" not in page]
    assert missing == []
