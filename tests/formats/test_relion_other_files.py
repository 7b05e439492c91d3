"""Optimisation sets, trajectories and FSC tables."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import relion_cases as cases

from sta_mpi.data import Particles
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.relion_fsc import (
    FSC_LABELS,
    GUINIER_LABELS,
    Postprocess,
    read_fsc,
    read_postprocess,
    write_fsc,
    write_postprocess,
)
from sta_mpi.formats.relion_motion import read_motion, write_motion
from sta_mpi.formats.relion_sets import (
    OptimisationSet,
    read_optimisation_set,
    write_optimisation_set,
)
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable

MEMBERS = {"rlnTomoParticlesFile": "Refine3D/job005/run_data.star",
           "rlnTomoTomogramsFile": "Tomograms/job002/tomograms.star",
           "rlnTomoTrajectoriesFile": "", "rlnTomoReferenceMaskFile": "None"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with two members, in a current folder elsewhere."""
    folder = tmp_path / "project"
    for name in MEMBERS.values():
        if "/" in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


@pytest.mark.parametrize(("name", "is_loop"), [("", False), ("", True), ("optimisation_set", True),
                                               ("optimisation_set", False)])
def test_set_of_any_form_is_found_from_its_own_folders(project, name, is_loop):
    path = project / "Refine3D/job005/run_optimisation_set.star"
    write_star(path, [StarTable(name, {k: [v] for k, v in MEMBERS.items()}, is_loop)])
    found = read_optimisation_set(path)
    assert found.particles is not None
    assert found.particles.samefile(project / MEMBERS["rlnTomoParticlesFile"])
    assert found.tomograms is not None
    assert found.tomograms.samefile(project / MEMBERS["rlnTomoTomogramsFile"])
    assert found.trajectories is None
    assert found.mask is None
    with pytest.raises(InputError, match="names no trajectories"):
        found.require("particles", "trajectories")


def test_name_that_means_another_file_here_than_beside_the_set_is_refused(project):
    path = project / "set.star"
    write_star(path, [StarTable("", {"rlnTomoParticlesFile": ["a.star"]}, False)])
    (project / "a.star").touch()
    other = project.parent / "elsewhere/a.star"
    assert read_optimisation_set(path).particles == project / "a.star"
    other.touch()
    assert read_optimisation_set(path).particles is not None    # copies may be mixed up
    other.write_text("data_other")
    with pytest.raises(InputError, match=r"names a\.star, which may be .*elsewhere/a\.star"):
        read_optimisation_set(path)
    found = read_optimisation_set(path, project.parent / "elsewhere").particles
    assert found is not None
    assert found.samefile(other)
    (project / "a.star").unlink()
    assert read_optimisation_set(path).particles is not None


def test_moved_project_opens_with_relative_and_absolute_names(project, tmp_path):
    write_optimisation_set(project / "Refine3D/job005/set.star", OptimisationSet(
        particles=project / MEMBERS["rlnTomoParticlesFile"],
        tomograms=project / MEMBERS["rlnTomoTomogramsFile"]), project_dir=tmp_path / "nowhere")
    assert read_star(project / "Refine3D/job005/set.star").first.value(
        "rlnTomoParticlesFile").startswith("/")
    moved = tmp_path / "archive" / "copy"
    shutil.move(project, moved)
    with pytest.warns(InputWarning, match="is gone"):
        found = read_optimisation_set(moved / "Refine3D/job005/set.star")
    assert found.particles is not None
    assert found.particles.samefile(moved / MEMBERS["rlnTomoParticlesFile"])


def test_written_set_is_relions_list_with_relative_names(project, monkeypatch):
    monkeypatch.chdir(project)
    members = OptimisationSet(particles=project / MEMBERS["rlnTomoParticlesFile"],
                              tomograms=project / MEMBERS["rlnTomoTomogramsFile"])
    write_optimisation_set("set.star", members)
    assert (project / "set.star").read_text() == (
        "\n# version 50001\n\ndata_\n\n"
        "_rlnTomoParticlesFile            Refine3D/job005/run_data.star\n"
        "_rlnTomoTomogramsFile            Tomograms/job002/tomograms.star\n \n")
    again = read_optimisation_set("set.star")
    assert again.particles is not None
    assert again.particles.samefile(project / MEMBERS["rlnTomoParticlesFile"])


def test_wrong_sets_are_refused(project):
    path = project / "set.star"
    write_star(path, [StarTable("", {"rlnTomoParticlesFile": ["none.star"]}, False)])
    with pytest.raises(InputError, match=r"rlnTomoParticlesFile 'none\.star' not found .looked in"):
        read_optimisation_set(path)
    write_star(path, [StarTable("", {"rlnTomoParticlesFile": ["a", "b"]})])
    with pytest.raises(InputError, match="2 rows, expected one"):
        read_optimisation_set(path)
    write_star(path, [StarTable("", {"rlnVoltage": [300.0]})])
    with pytest.raises(InputError, match="not an optimisation set"):
        read_optimisation_set(path)


def test_real_sets_name_their_members(data_dir, monkeypatch):
    folder = data_dir / "relion5_empiar10164_hiv"
    found = read_optimisation_set(folder / "Refine3D/job023/run_optimisation_set.star")
    assert found.particles is not None
    assert found.particles.samefile(folder / "Refine3D/job023/run_data.star")
    assert found.tomograms is not None
    assert found.tomograms.samefile(folder / "Denoise/job008/tomograms.star")
    with pytest.raises(InputError, match=r"'Picks/job009/particles.star' not found"):
        read_optimisation_set(folder / "Picks/job009/optimisation_set.star")  # not in the data set
    warp = next((data_dir / "particles_empiar10499_warp_70S").glob("*optimisation_set.star"))
    members = read_optimisation_set(warp)
    assert members.particles is not None
    assert members.particles.parent.samefile(warp.parent)


@pytest.fixture
def moving(tmp_path):
    """Three particles of two series of 3 and 4 tilts."""
    tomograms = read_tomograms(cases.write_project(
        tmp_path, cases.global_table(["TS_01", "TS_02"]),
        [cases.tilt_table("TS_01", 3), cases.tilt_table("TS_02", 4)]))
    particles = Particles(
        tomo_names=["TS_01", "TS_02"], i_tomo=np.array([0, 1, 0], np.int32),
        names=np.array(["TS_01/1", "TS_02/1", "TS_01/2"], object), xyz_A=np.zeros((3, 3)),
        offset_A=np.zeros((3, 3)), R_p2t=np.tile(np.eye(3), (3, 1, 1)),
        R_box2t=np.tile(np.eye(3), (3, 1, 1)), half=np.zeros(3, np.int8),
        optics_group=np.ones(3, np.int32))
    motion = np.random.default_rng(0).normal(size=(3, 4, 3)).round(5)
    motion[particles.i_tomo == 0, 3] = np.nan
    return tomograms, particles, motion


def test_trajectories_round_trip_as_text(moving, tmp_path):
    tomograms, particles, motion = moving
    write_motion(tmp_path / "motion.star", motion, particles, tomograms)
    star = read_star(tmp_path / "motion.star")
    assert star.names == ["general", "TS_01/1", "TS_02/1", "TS_01/2"]
    assert star["general"].number("rlnParticleNumber") == 3
    assert star["TS_02/1"].labels == ["rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"]
    again = read_motion(tmp_path / "motion.star", particles, tomograms)
    np.testing.assert_allclose(again, motion, atol=5.1e-6)  # negative numbers carry 5 decimals
    picked = read_motion(tmp_path / "motion.star", particles.select(np.array([2])), tomograms)
    np.testing.assert_array_equal(picked[0], again[2, :3])


def test_trajectory_with_another_number_of_tilts_names_the_particle(moving, tmp_path):
    tomograms, particles, motion = moving
    path = tmp_path / "motion.star"
    write_motion(path, motion, particles, tomograms)
    star = read_star(path)
    star.tables[2] = star["TS_02/1"].select([0, 1, 2])
    write_star(path, star)
    with pytest.raises(InputError, match=r"trajectory of particle TS_02/1 has 3 rows, .* 4 tilts"):
        read_motion(path, particles, tomograms)
    del star.tables[2]
    write_star(path, star)
    with pytest.raises(InputError, match="rlnParticleNumber is 3, the file has 2"):
        read_motion(path, particles, tomograms)
    write_star(path, star.tables[1:])
    with pytest.raises(InputError, match="no trajectory of particle TS_02/1"):
        read_motion(path, particles, tomograms)


def test_unknown_trajectories_are_not_written(moving, tmp_path):
    tomograms, particles, motion = moving
    motion[1, 3, 0] = np.nan
    with pytest.raises(InputError, match="trajectory of particle TS_02/1 holds NaN"):
        write_motion(tmp_path / "motion.star", motion, particles, tomograms)
    with pytest.raises(ValueError, match="trajectories of shape"):
        write_motion(tmp_path / "motion.star", motion[:, :3], particles, tomograms)


@pytest.mark.parametrize(("job", "resolution_A", "b_factor_A2"), [
    ("job022", 5.08, 0.0), ("job026", 3.99, 0.0), ("job029", 3.87, 0.0),
    ("job079", 3.32, -82.70203)])
def test_real_postprocess_is_read_and_written_back_to_the_value(
        data_dir, tmp_path, job, resolution_A, b_factor_A2):
    path = data_dir / "relion5_empiar10164_hiv/PostProcess" / job / "postprocess.star"
    result = read_postprocess(path)
    table = read_star(path)
    assert result.general["final_resolution_A"] == pytest.approx(resolution_A, abs=0.005)
    assert result.general["b_factor_A2"] == b_factor_A2
    # The last shell before the final curve falls below 0.143 is the resolution that RELION names.
    below = int(np.argmax(result.curves["corrected"] < 0.143))
    assert 1 / result.s_per_A[below - 1] == pytest.approx(
        result.general["final_resolution_A"], rel=2e-3)
    write_postprocess(tmp_path / "p.star", result)
    new = read_star(tmp_path / "p.star")
    assert new.names == table.names
    for old in table:
        assert new[old.name].labels == old.labels
        for label in old.labels:
            if label in ("rlnUnfilteredMapHalf1", "rlnUnfilteredMapHalf2", "rlnPostprocessedMap",
                         "rlnMaskName", "rlnPostprocessedMapMasked"):
                assert new[old.name].value(label) == old.value(label)
                continue
            # 6 decimals; Å of a shell are recomputed from 1/Å of 6 decimals.
            rtol = 2e-3 if label == "rlnAngstromResolution" else 0
            np.testing.assert_allclose(new[old.name].floats(label), old.floats(label), rtol=rtol,
                                       atol=1e-6)
    np.testing.assert_array_equal(read_fsc(path), result.curves["corrected"])


def test_fsc_file_needs_two_columns_and_shells_in_order(tmp_path):
    curve = np.array([1.0, 0.9, 0.5, 0.1])
    write_fsc(tmp_path / "fsc.star", curve)
    table = read_star(tmp_path / "fsc.star").first
    assert table.labels == ["rlnSpectralIndex", "rlnFourierShellCorrelationCorrected"]
    np.testing.assert_allclose(read_fsc(tmp_path / "fsc.star"), curve)
    write_fsc(tmp_path / "fsc.star", curve, s_per_A=np.arange(4) / 100.0)
    assert read_star(tmp_path / "fsc.star").first.floats("rlnAngstromResolution").tolist() == [
        999.0, 100.0, 50.0, pytest.approx(100 / 3, abs=1e-6)]
    write_star(tmp_path / "bad.star", [table.select([0, 2, 1, 3])])
    with pytest.raises(InputError, match="not 0, 1, 2"):
        read_fsc(tmp_path / "bad.star")
    table.drop("rlnSpectralIndex")
    write_star(tmp_path / "bad.star", [table])
    with pytest.raises(InputError, match="no table with rlnSpectralIndex"):
        read_fsc(tmp_path / "bad.star")


def test_gold_standard_curve_of_a_real_model_file_is_found(data_dir):
    path = data_dir / "relion5_empiar10164_hiv/Refine3D/job023/run_model.star"
    curve = read_fsc(path)
    assert len(curve) == 97
    assert curve[0] == 1
    assert (curve[:5] > 0.98).all()


def test_every_curve_of_relion_has_its_label(tmp_path):
    n = 3
    full = Postprocess(
        s_per_A=np.arange(n) / 50.0,
        curves={key: np.full(n, 0.1 * i) for i, key in enumerate(FSC_LABELS)},
        general={"final_resolution_A": 4.0, "half1": "h1.mrc"},
        guinier_s2_per_A2=np.arange(n) / 100.0,
        guinier={key: np.full(n, -1.0 * i) for i, key in enumerate(GUINIER_LABELS)})
    write_postprocess(tmp_path / "p.star", full)
    again = read_postprocess(tmp_path / "p.star")
    assert again.general == full.general
    np.testing.assert_allclose(again.s_per_A, full.s_per_A, atol=1e-6)
    for key, curve in {**full.curves, **full.guinier}.items():
        found = {**again.curves, **again.guinier}[key]
        np.testing.assert_allclose(found, curve, atol=1e-6)
    with pytest.raises(ValueError, match="unknown keys"):
        write_postprocess(tmp_path / "p.star", replace(full, curves={"wrong": np.zeros(n)}))
