"""The 40 real ribosome particles: average against the reconstruction that came with them, refine.

What is known of the set (WarpTools 2D export, RELION reconstruction, see SOURCES.md):

* Warp's 2D exports of that time carry projection matrices that are consistent with the
  images but mirrored in z (GitHub warpem/warp, issue 227), so a map from them is the
  z-mirror of one from 3D subtomograms. Of all 48 signed axis permutations, both directions
  of the particle rotation, both of the tilt rotation and three tilt orders, the table read
  as it stands together with the z-mirrored map fits best.
* The supplied map is smoother than 40 particles can give: our half maps predict, through
  C = sqrt(2 F / (1 + F)), just the correlation that is found with it, which holds for a
  map whose noise is independent of these particles. So the correlation is limited by the
  noise of the 40 particles and not by the averaging.
"""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

NAME = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"


@pytest.fixture(scope="module")
def averaged(data_dir, tmp_path_factory):
    """Half maps, merged map, supplied map and mask."""
    folder = tmp_path_factory.mktemp("ribosomes")
    source = data_dir / "particles_empiar10499_warp_70S"
    result = CliRunner().invoke(cli, [
        "average", "--optimisation-set", str(source / f"{NAME}_optimisation_set.star"),
        "--coordinate-pixel-A", "12", "--quiet", "-o", str(folder / "average")])
    assert result.exit_code == 0, result.output
    maps = {name: read_mrc(folder / "average" / f"{name}.mrc").data
            for name in ("half1", "half2", "merged")}
    supplied = read_mrc(source / "warptools_test_box-32_angpix-12_reconstruct.mrc").data
    yield maps, supplied, soft_sphere(32, 12, 3)
    shutil.rmtree(folder)


def mirrored(map_):
    """Mirror in z about the centre voxel n // 2."""
    return np.roll(map_[::-1], 1, axis=0)


@pytest.mark.data
def test_real_average_agrees_with_the_mirrored_reconstruction_up_to_its_own_noise(averaged):
    maps, supplied, mask = averaged
    both = 0.5 * (maps["half1"] + maps["half2"])
    half = np.clip(fsc(maps["half1"] * mask, maps["half2"] * mask), 0, 1)
    predicted = np.sqrt(2 * half / (1 + half))
    found = fsc(both * mask, mirrored(supplied) * mask)
    assert found[1:5].min() > 0.85
    # shells hold few independent Fourier terms, and the two maps differ in magnification
    assert np.abs(found - predicted)[1:12].mean() < 0.08
    assert (found - predicted)[1:12].min() > -0.15


@pytest.mark.data
def test_real_average_does_not_agree_with_the_other_hand(averaged):
    maps, supplied, mask = averaged
    right = fsc(maps["merged"] * mask, mirrored(supplied) * mask)[3:11].mean()
    wrong = fsc(maps["merged"] * mask, supplied * mask)[3:11].mean()
    assert right > 0.6
    assert wrong < 0.35


@pytest.mark.data
def test_real_average_is_bright(averaged):
    maps, supplied, mask = averaged
    assert np.vdot(maps["merged"] * mask, mirrored(supplied)) > 0


@pytest.mark.data
def test_refinement_from_60_A_is_no_worse_than_the_given_poses_and_shows_both(data_dir, tmp_path):
    source = data_dir / "particles_empiar10499_warp_70S"
    result = CliRunner().invoke(cli, [
        "refine", "--optimisation-set", str(source / f"{NAME}_optimisation_set.star"),
        "--lowpass-A", "60", "--search", "local", "--oracle-particles", "0", "--quiet",
        "-o", str(tmp_path / "refine")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "refine/job.json").read_text())["results"]
    span_A = found["box_px"] * found["voxel_A"]
    given, reached = (span_A / found[name] for name in (
        "resolution_of_given_poses_A", "resolution_A"))
    assert 8 < given < 16
    assert reached > given - 1.01    # the FSC of 40 particles dips by a shell
    page = (tmp_path / "refine/report.html").read_text()
    assert "given poses" in page
    assert "round 1" in page
