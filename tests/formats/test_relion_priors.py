"""Priors on tilt and psi say where the particle's Z axis is expected, and nothing of rot."""

import numpy as np
import pytest
import relion_cases as cases
from particle_sets import BOX, PART, particle_rows, save

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_priors import prior_orientations

TILTS, PSIS = [80.0, 91.5, 0.0, 175.0], [-140.0, 12.25, 33.0, 90.0]


def read(path, tomograms, **columns):
    return read_particles(save(path / "p.star", particle_rows(4, **columns)), tomograms)


def test_without_both_columns_the_pose_itself_is_the_prior(tomograms, tmp_path):
    plain = read(tmp_path, tomograms)
    assert np.array_equal(prior_orientations(plain), plain.R_p2t)
    tilt_alone = read(tmp_path, tomograms, rlnAngleTiltPrior=TILTS)
    assert np.array_equal(prior_orientations(tilt_alone), tilt_alone.R_p2t)


def test_prior_replaces_tilt_and_psi_and_keeps_rot(tomograms, tmp_path):
    particles = read(tmp_path, tomograms, rlnAngleTiltPrior=TILTS, rlnAnglePsiPrior=PSIS)
    table = particle_rows(4)
    for row, found in enumerate(prior_orientations(particles)):
        A_sub = cases.relion_matrix(*(table.floats(label)[row] for label, _ in BOX))
        rot = table.floats(PART[0][0])[row]
        expected = A_sub @ cases.relion_matrix(rot, TILTS[row], PSIS[row])
        # angles of the pose are taken out of a float64 matrix and put back
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_normal_of_the_prior_does_not_depend_on_the_pose(tomograms, tmp_path):
    columns = {"rlnAngleTiltPrior": TILTS, "rlnAnglePsiPrior": PSIS}
    one = read(tmp_path, tomograms, **columns)
    angles = {label: np.linspace(5, 140, 4) for label, _ in PART}
    other = read(tmp_path, tomograms, **columns, **angles)
    assert not np.allclose(one.R_p2t, other.R_p2t, atol=0.1)
    np.testing.assert_allclose(prior_orientations(one)[:, :, 2],
                               prior_orientations(other)[:, :, 2], atol=1e-9)


@pytest.mark.parametrize("bad", ["abc", "nan", "inf", "None"])
def test_prior_that_is_no_number_names_the_particle_and_the_column(tomograms, tmp_path, bad):
    particles = read(tmp_path, tomograms, rlnAngleTiltPrior=["1", "2", bad, "4"],
                     rlnAnglePsiPrior=PSIS)
    with pytest.raises(InputError, match=rf"row 3 \(TS_01/3\).*rlnAngleTiltPrior.*'{bad}'"):
        prior_orientations(particles)
