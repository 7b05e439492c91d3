"""A real tilt series (EMPIAR-10499, 00254) becomes a tomogram with sharp beads and dark ribosomes.

    python -m pytest tests/jobs/test_tomogram_real.py -m slow
"""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.projection import angles_from_projection, projection_from_angles

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.usefixtures("empty_figures")]

VOXEL_A = 20.0


@pytest.fixture(scope="module")
def project(data_dir, tmp_path_factory):
    """The imported series."""
    folder = data_dir / "tiltseries_empiar10499_00254"
    out = tmp_path_factory.mktemp("real") / "project"
    done = CliRunner().invoke(cli, [
        "import", "--input", str(folder / "00254.xml"), "--stack",
        str(folder / "00254.stack_x16.mrc.gz"), "--copy-stacks", "--thickness-A", "3000",
        "--mirror-z", "--exclude-tilts", "40-41", "--quiet", "-o", str(out)])
    assert done.exit_code == 0, done.output
    return out


def reconstruct(tables, out):
    """The volume at 20 A, in standard deviations."""
    done = CliRunner().invoke(cli, ["tomogram", "--tomograms", str(tables), "--voxel-A",
                                    str(VOXEL_A), "--quiet", "-o", str(out)])
    assert done.exit_code == 0, done.output
    data = read_mrc(out / "tomograms/rec_00254.mrc").data
    return data / data.std()


def kurtosis(data):
    """4th moment over the square of the 2nd; 3 for noise, more where few voxels are extreme."""
    values = (data - data.mean()).astype(float)
    return (values**4).mean() / (values**2).mean() ** 2


def test_beads_are_sharp_and_a_wrong_axis_sign_smears_them(project, tmp_path):
    right = reconstruct(project / "tomograms.star", tmp_path / "right")
    tomograms = read_tomograms(project / "tomograms.star")
    ts = tomograms.tilt_series("00254")
    x, y, z, shift_A, _ = angles_from_projection(ts.P, ts.tomogram_size_px, ts.pixel_A)
    P = projection_from_angles(x, y, -z, shift_A, ts.tomogram_size_px, ts.pixel_A)
    tables = project / "wrong" / "tomograms.star"
    tomograms.with_tilt_series([replace(ts, P=P)]).write(tables, project)
    wrong = reconstruct(tables, tmp_path / "wrong")
    assert right.min() < -25     # gold is dark: 34 standard deviations when this was written
    assert kurtosis(right) > 2 * kurtosis(wrong)     # 19 and 5.4


def test_ribosomes_are_dark_dots_inside_the_cell_and_not_outside(project, tmp_path):
    """Discs of ribosome size less their surroundings: dark ones are many in the cell alone."""
    data = reconstruct(project / "tomograms.star", tmp_path / "out")[55:95]
    data = np.clip(data, -5, 5)
    # a ball of some 200 A less the shell around it, as a difference of Gaussians
    spots = scipy.ndimage.gaussian_filter(data, 3.0) - scipy.ndimage.gaussian_filter(data, 6.0)
    is_least = spots == scipy.ndimage.minimum_filter(spots, 9)
    _, y, x = np.indices(data.shape, sparse=True)
    # a part of the cell, and the empty ice to the left of it
    inside = (x > 110) & (x < 220) & (y > 60) & (y < 260)
    outside = (x < 45) & (y > 190) & (y < 290)
    level = 4.0 * spots[np.broadcast_to(outside, spots.shape)].std()
    found = is_least & (spots < -level)
    per_voxel = [found[np.broadcast_to(part, found.shape)].mean() for part in (inside, outside)]
    # 108 in the cell and 2 in a fifth of its volume outside when this was written
    assert found[np.broadcast_to(inside, found.shape)].sum() > 80
    assert per_voxel[0] > 5 * per_voxel[1]
