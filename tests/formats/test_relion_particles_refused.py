"""Particle sets: what is refused, and what the message says."""

from dataclasses import replace

import numpy as np
import pytest
from particle_sets import (
    CENTRED,
    optics_table,
    particle_rows,
    save,
)

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.relion_particles import (
    read_particles,
    renumber,
    write_particles,
)
from sta_mpi.formats.star_table import StarTable
from sta_mpi.formats.visible_frames import parse_visible


def test_unknown_tomogram_is_named_with_its_row_and_the_known_ones(tomograms, tmp_path):
    table = particle_rows(4, rlnTomoName=["TS_01", "TS_01", "TS_9", "TS_01"])
    with pytest.raises(InputError, match=r"row 3: rlnTomoName 'TS_9' is not in .*2 names: TS_01, "):
        read_particles(save(tmp_path / "p.star", table), tomograms)


def test_joined_sets_with_repeated_names_are_refused_or_renumbered(tomograms, tmp_path):
    one = particle_rows(4)
    joined = one.select([0, 1, 2, 3, 0, 1])
    path = save(tmp_path / "p.star", joined)
    with pytest.raises(InputError, match=r"2 particle names occur more .* \(TS_01/1, TS_02/2"):
        read_particles(path, tomograms)
    particles = read_particles(path, tomograms, renumber_repeats=True)
    assert len(set(particles.names)) == 6
    assert particles.names.tolist()[:3] == ["TS_01/1", "TS_02/1", "TS_01/2"]
    write_particles(tmp_path / "q.star", particles, tomograms)
    assert read_particles(tmp_path / "q.star", tomograms).names.tolist() == particles.names.tolist()
    repeated = replace(particles, names=np.array(["x"] * 6, object))
    with pytest.raises(InputError, match="renumber"):
        write_particles(tmp_path / "r.star", repeated, tomograms)
    assert len(set(renumber(repeated).names)) == 6


@pytest.mark.parametrize(("label", "value", "good"), [
    ("rlnTomoTiltSeriesPixelSize", 2.0009, True), ("rlnTomoTiltSeriesPixelSize", 2.002, False),
    ("rlnVoltage", 200.0, False), ("rlnSphericalAberration", 2.6, False),
    ("rlnAmplitudeContrast", 0.07, False)])
def test_optics_must_agree_with_the_tomograms(tomograms, tmp_path, label, value, good):
    path = save(tmp_path / "p.star", optics_table(**{label: [value]}), particle_rows(2))
    if good:
        assert len(read_particles(path, tomograms)) == 2
        return
    with pytest.raises(InputError, match=f"optics group 1: {label} is .* tomogram TS_01 has"):
        read_particles(path, tomograms)


def test_optics_group_that_is_not_in_the_table_is_named(tomograms, tmp_path):
    path = save(tmp_path / "p.star", optics_table(), particle_rows(2, rlnOpticsGroup=[1, 5]))
    with pytest.raises(InputError, match="TS_02 are in optics group 5, the table has 1"):
        read_particles(path, tomograms)


def test_wrong_number_of_visible_tilts_names_the_particle(tomograms, tmp_path):
    table = particle_rows(2, rlnTomoVisibleFrames=["[1,1,0]", "[1,1,1]"])
    with pytest.raises(InputError, match=r"row 2: particle TS_02/2 has .* of 3 tilts, .* has 4"):
        read_particles(save(tmp_path / "p.star", optics_table(), table), tomograms)


@pytest.mark.parametrize(("label", "value", "message"), [
    ("rlnAngleRot", "nan", "row 2: rlnAngleRot is nan"),
    (CENTRED[1], "inf", "row 2: .* is inf"),
    ("rlnOriginXAngst", "x", "row 2: rlnOriginXAngst is 'x'")])
def test_values_that_are_no_numbers_are_named(tomograms, tmp_path, label, value, message):
    table = particle_rows(3, **{label: ["1.0", value, "2.0"]})
    with pytest.raises(InputError, match=message):
        read_particles(save(tmp_path / "p.star", optics_table(), table), tomograms)


def test_wrong_half_and_missing_columns_are_refused(tomograms, tmp_path):
    with pytest.raises(InputError, match="rlnRandomSubset is 3"):
        read_particles(save(tmp_path / "p.star", particle_rows(1, rlnRandomSubset=[3])), tomograms)
    table = particle_rows(1)
    table.drop(CENTRED[0])
    with pytest.raises(InputError, match="no positions"):
        read_particles(save(tmp_path / "p.star", table), tomograms)
    with pytest.raises(InputError, match="RELION 3"):
        read_particles(save(tmp_path / "p.star", StarTable("", {"rlnMicrographName": ["a"]})),
                       tomograms)


def test_nan_poses_are_not_written(tomograms, tmp_path):
    particles = read_particles(save(tmp_path / "p.star", particle_rows(2)), tomograms)
    bad = particles.offset_A.copy()
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match="particle TS_02/2: offset_A holds NaN"):
        write_particles(tmp_path / "q.star", particles.with_poses(particles.R_p2t, bad), tomograms)


@pytest.mark.parametrize("text", ["", "[]", "[2]", "[1,]", "1,0", "[1 0]", "[1,0", "[11,0]", "[,1]",
                                  "[1,1]x"])
def test_wrong_visible_vectors_are_refused_with_their_row(text):
    column = np.array([b"[1,0]", text.encode(), b"[1]"])
    with pytest.raises(FormatError, match="t, row 2: rlnTomoVisibleFrames"):
        parse_visible(column, "t")
