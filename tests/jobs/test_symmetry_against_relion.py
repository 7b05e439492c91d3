"""Symmetry settings against RELION's own programs, if they are there."""

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.align.expand import expand_poses, helical_turns
from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.filters import b_factor_map
from sta_mpi.signal.masks import soft_sphere

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
POSE_DEG, ORIGIN_A = (37.0, 61.0, -112.0), (1.5, 2.5, -3.5)


def write_one(path):
    """A set of one particle."""
    write_star(path, [
        StarTable("optics", {
            "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnImagePixelSize": [1.0],
            "rlnImageSize": [32], "rlnImageDimensionality": [3], "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1]}),
        StarTable("particles", {
            "rlnImageName": ["a.mrc"], "rlnOpticsGroup": [1],
            **{label: [angle] for label, angle in zip(ANGLES, POSE_DEG, strict=True)},
            **{label: [origin] for label, origin in zip(ORIGINS, ORIGIN_A, strict=True)}})])


def poses_of(path):
    """(orientations, origins [Å]) of a set."""
    table = read_star(path)["particles"]
    angles, origins = (np.stack([table.floats(x) for x in labels], axis=1)
                       for labels in (ANGLES, ORIGINS))
    return matrix_from_relion_angles(angles), origins


@pytest.mark.parametrize("name", [
    "C2", "C6", "C13", "D2", "D3", "D7", "T", "O", "I", "I1", "I2", "I3", "I4"])
def test_equivalent_poses_are_those_that_relion_expands_to(relion, name, tmp_path):
    write_one(tmp_path / "one.star")
    relion("relion_particle_symmetry_expand", tmp_path, "--i", "one.star", "--o", "all.star",
           "--sym", name)
    theirs, _ = poses_of(tmp_path / "all.star")
    group = symmetry_matrices(name)
    pose = matrix_from_relion_angles(POSE_DEG)
    apart = np.abs(theirs[:, None] - (pose @ group)[None]).max(axis=(2, 3))
    assert apart.shape == (len(group), len(group))
    assert apart.min(axis=0).max() < 1e-5
    assert apart.min(axis=1).max() < 1e-5
    # the test can fail: operators on the other side give other poses
    other = np.abs(theirs[:, None] - (group @ pose)[None]).max(axis=(2, 3))
    assert other.min(axis=1).max() > 0.1


def test_twist_and_rise_go_the_way_that_relion_expands_a_helix(relion, tmp_path):
    """RELION 3.1 moves particles along x and y alone, as images need it; z is not compared."""
    write_one(tmp_path / "one.star")
    relion("relion_particle_symmetry_expand", tmp_path, "--i", "one.star", "--o", "all.star",
           "--helix", "--twist", 25, "--rise", 10, "--angpix", 1, "--asu", 5, "--frac_range", 2)
    theirs, origins_A = poses_of(tmp_path / "all.star")
    _, ours, offsets_A = expand_poses(
        matrix_from_relion_angles(POSE_DEG)[None], -np.array([ORIGIN_A]), np.eye(3)[None],
        *helical_turns(5, 25.0, 10.0))
    apart = np.abs(theirs[:, None] - ours[None]).max(axis=(2, 3))
    same = apart.argmin(axis=1)
    assert sorted(same) == [0, 1, 2, 3, 4]
    assert apart.min(axis=1).max() < 1e-5
    # RELION's origins are subtracted from positions
    assert np.abs(origins_A + offsets_A[same])[:, :2].max() < 1e-4
    assert np.ptp(origins_A[:, 1]) > 20


@pytest.mark.parametrize("name", ["C3", "D2", "T", "I1", "I3"])
def test_symmetrised_map_is_relions(relion, name, tmp_path):
    n, voxel_A = 48, 2.0
    rng = np.random.default_rng(2)
    detail = b_factor_map(rng.standard_normal((n, n, n)).astype(np.float32), voxel_A, 400.0)
    write_mrc(tmp_path / "map.mrc", detail * soft_sphere(n, 16, 4), voxel_A)
    relion("relion_image_handler", tmp_path, "--i", "map.mrc", "--o", "theirs.mrc",
           "--sym", name)
    done = CliRunner().invoke(cli, [
        "symmetrize", "--reference", str(tmp_path / "map.mrc"), "--symmetry", name, "--quiet",
        "-o", str(tmp_path / "ours")])
    assert done.exit_code == 0, done.output
    theirs, ours = (read_mrc(tmp_path / f).data for f in ("theirs.mrc", "ours/reference.mrc"))
    inside = soft_sphere(n, 16, 0) > 0.5
    # they turn voxels, this program the transform
    assert np.corrcoef(theirs[inside], ours[inside])[0, 1] > 0.98
    assert np.corrcoef(theirs[inside], read_mrc(tmp_path / "map.mrc").data[inside])[0, 1] < 0.8
