"""`align` of a PEET project as it stands: poses, files and their names, ranks and resume.

The slow tests (ranks and resume; first references) take two minutes on two cores:
`pytest -q -m slow tests/jobs/test_peet_project.py`.
"""

import numpy as np
import pytest
from peet_files import changed, peet_rotation, read_motl, to_peet, write_project
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg

VOXEL_A, N = 6.0, 12

@pytest.fixture(scope="module")
def project(small_set, tmp_path_factory):
    """Folder of a PEET project made from the small set."""
    return write_project(tmp_path_factory.mktemp("peet") / "project", small_set)


@pytest.fixture(scope="module")
def aligned(project, command, small_set, tmp_path_factory):
    """The project run as it stands, and with its tilt series; on two ranks."""
    folder = tmp_path_factory.mktemp("aligned")
    run = command(2, "align", project / "run.prm", "--quiet", "--oracle-particles", "0",
                  "-o", folder / "plain",
                  "++", "align", project / "run.prm", "--quiet", "--unit-particles", "4",
                  "--oracle-particles", "0",
                  "--tomograms", small_set.with_name("tomograms.star"), "-o", folder / "exact")
    assert run.returncode == 0, run.stderr
    return folder


def errors_after(folder, small_set, iteration):
    """Angle [degrees] and position [Å] errors of motive lists, read as text."""
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    given, truth = (read_particles(small_set.with_name(name), tomograms)
                    for name in ("particles.star", "particles_truth.star"))
    angles, moves = [], []
    for k, name in enumerate(tomograms.names):
        rows = np.flatnonzero(truth.i_tomo == k)
        motl = read_motl(folder / f"run_MOTL_Tom{k + 1}_Iter{iteration}.csv")
        R = Rotation.from_euler("ZXZ", motl[:, [17, 18, 16]], degrees=True).as_matrix()
        half = np.array(tomograms.size_px(name)) / 2
        point = np.rint(given.xyz_A[rows] / VOXEL_A + half)
        position = (point + motl[:, 10:13] - half) * VOXEL_A
        angles.append(angular_distance_deg(R, peet_rotation(truth.R_p2t[rows])))
        moves.append(np.linalg.norm(position - truth.position_A[rows], axis=1))
    return np.median(np.concatenate(angles)), np.median(np.concatenate(moves))


@pytest.mark.mpi
def test_poses_of_a_peet_project_are_recovered(aligned, small_set):
    first = errors_after(aligned / "plain", small_set, 1)
    plain, exact = (errors_after(aligned / name, small_set, 2) for name in ("plain", "exact"))
    assert first[0] > 3
    assert first[1] > 4
    assert 0 < plain[1] < 0.35 * first[1]
    # tilts with their CTF and dose say more than a binary wedge
    assert 0 < exact[0] < plain[0] < first[0]
    assert 0 < exact[1] < 0.3 * first[1]


@pytest.mark.mpi
def test_files_have_peets_names_sizes_and_contrast(aligned, project):
    folder = aligned / "plain"
    expected = {f"run_MOTL_Tom{k}_Iter{m}.csv" for k in (1, 2) for m in (1, 2, 3)}
    expected |= {f"{u}run_Ref{m}.mrc" for u in ("", "unMasked") for m in (1, 2, 3)}
    expected |= {f"run_AvgVol_3P{n:04d}.mrc" for n in (8, 16, 24)}    # 30 are asked for, 24 are
    assert {p.name for p in folder.glob("*run_*") if "_run" not in p.name} >= expected
    given = read_mrc(project / "reference.mrc").data
    first = read_mrc(folder / "unMaskedrun_Ref1.mrc")
    assert first.data.shape == (28, 26, 28)
    assert first.voxel_A == pytest.approx(VOXEL_A)
    assert np.corrcoef(first.data.ravel(), given[:, 1:27].ravel())[0, 1] > 0.999
    for name in ("unMaskedrun_Ref2.mrc", "run_AvgVol_3P0024.mrc"):
        found = read_mrc(folder / name).data
        assert np.corrcoef(found.ravel(), given[:, 1:27].ravel())[0, 1] > 0.7, name
    outside = read_mrc(folder / "run_Ref2.mrc").data[:3]
    assert np.abs(outside).max() < 0.05 * np.abs(read_mrc(folder / "run_Ref2.mrc").data).max()
    ours = read_mrc(folder / "merged.mrc").data
    average = read_mrc(folder / "unMaskedrun_Ref3.mrc").data
    assert np.corrcoef(to_peet(ours)[:, 1:27].ravel(), average.ravel())[0, 1] < -0.8
    motl = read_motl(folder / "run_MOTL_Tom1_Iter3.csv")
    assert (motl[:, 0] > 0.05).all()
    assert not np.allclose(motl[:, 0], motl[:, 5])
    assert np.array_equal(motl[:, 3], np.arange(1, N + 1))


@pytest.mark.mpi
def test_set_of_a_peet_run_opens_and_agrees_with_its_motive_lists(aligned, project):
    members = read_optimisation_set(aligned / "plain" / "optimisation_set.star")
    tomograms = read_tomograms(members.tomograms)
    particles = read_particles(members.particles, tomograms)
    motl = read_motl(aligned / "plain" / "run_MOTL_Tom2_Iter3.csv")
    R = Rotation.from_euler("ZXZ", motl[:, [17, 18, 16]], degrees=True).as_matrix()
    rows = np.flatnonzero(particles.i_tomo == 1)
    apart = angular_distance_deg(R, peet_rotation(particles.R_p2t[rows]))
    assert apart.max() < 1e-3
    assert np.abs(particles.offset_A[rows] / VOXEL_A - motl[:, 10:13]).max() < 1e-4
    volume = tomograms.reconstructed(particles.tomo_names[1])
    assert volume is not None
    assert volume.require()[0].samefile(project / f"{particles.tomo_names[1]}.rec")


@pytest.mark.slow
@pytest.mark.mpi
def test_results_of_a_peet_run_do_not_depend_on_ranks_and_survive_a_kill(
        aligned, project, small_set, command, tmp_path):
    words = ["align", project / "run.prm", "--quiet", "--unit-particles", "4",
             "--oracle-particles", "0", "--tomograms",
             small_set.with_name("tomograms.star"), "-o", tmp_path / "again"]
    killed = command(1, *words, plant={"fail": "kill", "rank": 0, "after": "reference 2",
                                       "stage": "round 2", "units": 1})
    assert killed.returncode != 0
    run = command(3, *words)
    assert run.returncode == 0, run.stderr
    names = [p.name for p in (aligned / "exact").iterdir()
             if p.suffix in (".mrc", ".csv")]
    assert len(names) > 20
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (
            aligned / "exact" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.mpi
def test_first_references_of_one_particle_and_of_the_tree_resemble_the_truth(
        project, small_set, command, tmp_path):
    still = {"dPhi": "{0}", "dTheta": "{0}", "dPsi": "{0}", "searchRadius": "{2}",
             "hiCutoff": "{[0.15, 0.05]}", "lowCutoff": "{0}", "refThreshold": "{24}",
             "duplicateShiftTolerance": "{0}", "lstThresholds": "[]",
             "alignedBaseName": "'single'"}
    one = changed(project, "one.prm", **still, reference="[2, 3]")
    tree = changed(project, "tree.prm", **still, reference="3", flgFairReference="1")
    series = ["--tomograms", small_set.with_name("tomograms.star"), "--quiet"]
    run = command(2, "align", one, *series, "-o", tmp_path / "one",
                  "++", "align", tree, *series, "-o", tmp_path / "tree")
    assert run.returncode == 0, run.stderr
    given = read_mrc(project / "reference.mrc").data[:, 1:27].ravel()
    alike = [np.corrcoef(read_mrc(tmp_path / name / "run_Ref1.mrc").data.ravel(), given)[0, 1]
             for name in ("one", "tree")]
    assert alike[0] > 0.4
    assert alike[1] > max(0.7, alike[0])
    files = sorted((tmp_path / "tree").glob("single_Tom*_P*.mrc"))
    assert [f.name for f in files][::N] == ["single_Tom1_P0001.mrc", "single_Tom2_P0001.mrc"]
    assert len(files) == 2 * N
    mean, average = (gaussian_filter(data, 1.5) for data in (
        np.mean([read_mrc(f).data for f in files], axis=0),
        read_mrc(tmp_path / "tree" / "unMaskedrun_Ref2.mrc").data))
    assert np.corrcoef(mean.ravel(), average.ravel())[0, 1] > 0.7
    many = changed(project, "many.prm", **still, reference="5", flgFairReference="1")
    refused = command(1, "align", many, *series, "-o", tmp_path / "many")
    assert refused.returncode != 0
    assert "asks for a tree of 32 particles" in " ".join(refused.stderr.split())


@pytest.mark.mpi
@pytest.mark.parametrize(("values", "words", "told"), [
    ({"sampleSphere": "'full'", "sampleInterval": "30", "lowCutoff": "{[0.3, 0.01], [0, 0.05]}",
      "hiCutoff": "{[0.4, 0.05], [0.4, 0.05]}"}, [], "iteration 1: lowCutoff leaves a search"),
    ({"dPhi": "{-8:4:8, -40:0.2:40}", "dTheta": "{-4:4:4, -40:1:40}"},
     ["--search", "grid"], "iteration 2:")], ids=["band", "grid"])
def test_an_iteration_that_cannot_be_searched_is_refused_before_the_first(
        project, command, tmp_path, values, words, told):
    path = changed(project, f"refused_{len(words)}.prm", **values)
    for last in (["--dry-run"], []):
        run = command(1, "align", path, *words, "--quiet", "-o", tmp_path / "out", *last)
        assert run.returncode == 2
        assert told in " ".join(run.stderr.split())
    assert not list(tmp_path.glob("out/*.mrc"))


@pytest.mark.mpi
def test_literal_grid_finds_the_nearest_poses_of_its_list(project, small_set, command, tmp_path):
    path = changed(project, "grid.prm", dPhi="{-8:4:8}", dTheta="{-4:4:4}", dPsi="{-4:4:4}",
                   searchRadius="{[2]}", hiCutoff="{[0.2, 0.05]}", lowCutoff="{[0]}",
                   refThreshold="{[20]}", duplicateShiftTolerance="{0}", lstThresholds="[]")
    run = command(1, "align", path, "--search", "grid", "--quiet", "-o", tmp_path / "grid")
    assert run.returncode == 0, run.stderr
    before, after = (errors_after(tmp_path / "grid", small_set, m) for m in (1, 2))
    assert after[1] < 0.7 * before[1]
    first, second = (read_motl(tmp_path / "grid" / f"run_MOTL_Tom1_Iter{m}.csv") for m in (1, 2))
    moved = second[:, 10:13] - first[:, 10:13]
    assert np.abs(moved - np.rint(moved)).max() < 1e-4    # whole voxels
    assert np.abs(moved).max() <= 2
