"""Particle sets: signs against an independent calculation, text that survives."""

from dataclasses import replace

import numpy as np
import pytest
import relion_cases as cases
from particle_sets import (
    BOX,
    CENTRED,
    ORIGIN,
    PART,
    PIXEL_A,
    SIZE,
    optics_table,
    particle_rows,
    save,
)
from scipy.spatial.transform import Rotation

from sta_mpi.data import Particles
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.relion_particles import (
    RelionParticles,
    read_particles,
    tilt_series_with_aberrations,
    write_particles,
)
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.formats.star_table import StarTable, make_list
from sta_mpi.formats.visible_frames import format_visible, parse_visible


def test_origin_moves_the_particle_as_relion_does(tomograms, tmp_path):
    corner_px = np.array([120.0, 200.0, 60.0])
    row = StarTable("particles", {
        "rlnTomoName": ["TS_01"], **{label: [v] for label, v in zip(
            ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"), corner_px, strict=True)},
        **{label: [v] for label, v in (*BOX, *PART, *ORIGIN)}})
    particles = read_particles(save(tmp_path / "p.star", row), tomograms)
    A_sub = cases.relion_matrix(*(v for _, v in BOX))
    origin_A = np.array([v for _, v in ORIGIN])
    p_true = corner_px - A_sub @ origin_A / PIXEL_A
    found = particles.position_A[0] / PIXEL_A + np.array(SIZE) / 2.0
    # 6-decimal text; the wrong sign or the missing A_sub would be off by pixels.
    np.testing.assert_allclose(found, p_true, atol=1e-5)
    np.testing.assert_allclose(particles.R_box2t[0], A_sub, atol=1e-7)


def test_orientation_is_box_times_particle_rotation(tomograms, tmp_path):
    table = particle_rows(6)
    particles = read_particles(save(tmp_path / "p.star", table), tomograms)
    again = read_star(tmp_path / "p.star")["particles"]

    def matrices(labels):  # RELION's A is the inverse of the intrinsic ZYZ rotation
        return Rotation.from_euler("ZYZ", np.stack(
            [again.floats(label) for label, _ in labels], axis=1), degrees=True).inv()

    expected = (matrices(BOX) * matrices(PART)).as_matrix()
    np.testing.assert_allclose(particles.R_p2t, expected, atol=1e-12)


def test_refined_poses_are_written_so_that_relions_formula_gives_them_back(tomograms, tmp_path):
    particles = read_particles(save(tmp_path / "p.star", particle_rows(5)), tomograms)
    rng = np.random.default_rng(7)
    R_new = Rotation.random(5, rng=rng).as_matrix()
    offset_A = rng.uniform(-20, 20, (5, 3))
    write_particles(tmp_path / "q.star", particles.with_poses(R_new, offset_A), tomograms)
    table = read_star(tmp_path / "q.star")["particles"]
    for i in range(5):
        A_sub = cases.relion_matrix(*(table.floats(label)[i] for label, _ in BOX))
        A_part = cases.relion_matrix(*(table.floats(label)[i] for label, _ in PART))
        origin_A = np.array([table.floats(label)[i] for label, _ in ORIGIN])
        np.testing.assert_allclose(A_sub @ A_part, R_new[i], atol=3e-7)
        np.testing.assert_allclose(-A_sub @ origin_A, offset_A[i], atol=2e-5)
    for label in (*CENTRED, *(label for label, _ in BOX)):
        assert (table.strings(label) == read_star(tmp_path / "p.star")["particles"].strings(
            label)).all()


def test_unchanged_rows_keep_their_numbers_and_unknown_columns(tomograms, tmp_path):
    table = particle_rows(4, rlnMyScore=["0.123456789012", "1", "abc", "two words"],
                          rlnAngleRot=["12.3456789", "0", "181.5", "-3e1"])
    extra = make_list("mine", {"a": 1})
    path = save(tmp_path / "p.star", make_list("general", {"rlnTomoSubTomosAre2DStacks": 1,
                                                           "rlnOther": "x"}),
                optics_table(rlnMyOptics=["kept"]), table, extra)
    particles = read_particles(path, tomograms)
    R = particles.R_p2t.copy()
    R[1] = Rotation.from_rotvec([0.1, 0, 0]).as_matrix() @ R[1]
    write_particles(tmp_path / "q.star", particles.with_poses(R, particles.offset_A), tomograms)
    star, old = read_star(tmp_path / "q.star"), read_star(path)
    new = star["particles"]
    assert new.labels == old["particles"].labels
    for label in new.labels:
        same = new.strings(label) == old["particles"].strings(label)
        assert same[[0, 2, 3]].all(), label
        assert same[1] == (label not in dict(PART)), label
    assert star["optics"].value("rlnMyOptics") == "kept"
    assert star["general"].value("rlnOther") == "x"
    assert star["mine"].value("a") == "1"


def test_set_that_was_not_touched_is_written_back_to_the_byte(data_dir, tmp_path):
    folder = data_dir / "relion5_empiar10164_hiv"
    tomograms = read_tomograms(folder / "Denoise/job008/tomograms.star")
    path = folder / "Refine3D/job023/run_data.star"
    particles = read_particles(path, tomograms)
    assert len(particles) == 9442
    assert np.bincount(particles.half).tolist() == [0, 4731, 4711]
    assert (particles.image_pixel_A, particles.image_size_px) == (1.35, 192)
    assert particles.is_2d_stack
    assert particles.is_premultiplied
    assert particles.visible is not None
    assert particles.visible.shape == (9442, 41)
    assert (particles.visible[particles.i_tomo == 0, 40] == -1).all()
    write_particles(tmp_path / "q.star", particles, tomograms)
    assert (tmp_path / "q.star").read_bytes() == path.read_bytes()


def test_real_lattice_normals_fan_out_only_with_relions_composition(data_dir):
    """HIV CA-SP1 particles lie on spheres, particle z along the radius: normals of neighbours
    diverge with distance. A wrong order or a transpose of the two rotations scatters them."""
    folder = data_dir / "relion5_empiar10164_hiv"
    tomograms = read_tomograms(folder / "Denoise/job008/tomograms.star")
    particles = read_particles(folder / "Refine3D/job023/run_data.star", tomograms)
    here = np.flatnonzero(particles.i_tomo == 0)[:800]
    xyz = particles.position_A[here]
    apart = xyz[None] - xyz[:, None]
    distance = np.linalg.norm(apart, axis=2)
    near = (distance > 0) & (distance < 300)

    def agreement(R):
        z = R[here][:, :, 2]
        return abs(np.sign(np.einsum("ijk,ijk->ij", apart, z[None] - z[:, None])[near]).mean())

    box2t = particles.R_box2t
    part = box2t.transpose(0, 2, 1) @ particles.R_p2t
    assert agreement(particles.R_p2t) > 0.9
    assert agreement(part @ box2t) < 0.5
    assert agreement(particles.R_p2t.transpose(0, 2, 1)) < 0.5


def test_corner_coordinates_become_centred_ones(tomograms, tmp_path):
    table = particle_rows(3)
    table.drop(*CENTRED)
    for k, label in enumerate(("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")):
        table[label] = [100.0 + k, 200.0 - k, 0.5]
    particles = read_particles(save(tmp_path / "p.star", table), tomograms)
    first_px = np.array([100.0, 101.0, 102.0])
    np.testing.assert_allclose(particles.xyz_A[0], (first_px - [200, 150, 100]) * PIXEL_A)
    write_particles(tmp_path / "q.star", particles, tomograms)
    new = read_star(tmp_path / "q.star")["particles"]
    assert "rlnCoordinateX" not in new
    np.testing.assert_allclose(new.floats(CENTRED[0]), particles.xyz_A[:, 0], atol=1e-5)
    binned = read_particles(tmp_path / "p.star", tomograms, coordinate_pixel_A=1.0)
    np.testing.assert_allclose(binned.xyz_A[0], first_px * 1.0 - np.array(SIZE) * PIXEL_A / 2)


@pytest.mark.parametrize("form", ["centred", "corner"])
def test_odd_tomogram_sizes_do_not_move_particles_in_ten_cycles(tmp_path, form):
    size = (401, 301, 201)
    table = cases.global_table(["TS_01", "TS_02"], size, PIXEL_A)
    tomograms = read_tomograms(cases.write_project(
        tmp_path, table, [cases.tilt_table("TS_01"), cases.tilt_table("TS_02")]))
    rows = particle_rows(6)
    rows.drop("rlnOpticsGroup")
    corner_px = np.random.default_rng(0).uniform(20, 180, (6, 3)).round(3)
    rows.drop(*CENTRED)
    if form == "corner":
        for k, label in enumerate(("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")):
            rows[label] = corner_px[:, k]
    else:
        for k, label in enumerate(CENTRED):
            rows[label] = (corner_px[:, k] - size[k] / 2.0) * PIXEL_A
    path = save(tmp_path / "0.star", rows)
    for i in range(10):
        particles = read_particles(path, tomograms)
        path = tmp_path / f"{i + 1}.star"
        R = Rotation.from_rotvec([0, 0, 0.1]).as_matrix() @ particles.R_p2t
        write_particles(path, particles.with_poses(R, particles.offset_A), tomograms)
    found = read_particles(path, tomograms)
    # Text of 5 or 6 decimals once, not once a cycle.
    np.testing.assert_allclose(found.xyz_A / PIXEL_A + np.array(size) / 2, corner_px, atol=5e-6)
    np.testing.assert_allclose(found.offset_A, read_particles(
        tmp_path / "0.star", tomograms).offset_A, atol=1e-6)


def test_coordinates_alone_get_names_optics_and_identity(tomograms, tmp_path):
    table = StarTable("", {"rlnTomoName": ["TS_02", "TS_01", "TS_02"],
                           **{label: [1.0, 2.0, 3.0] for label in CENTRED}})
    particles = read_particles(save(tmp_path / "p.star", table), tomograms)
    assert particles.names.tolist() == ["TS_02/1", "TS_01/1", "TS_02/2"]
    assert particles.optics_group.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(particles.R_p2t, np.tile(np.eye(3), (3, 1, 1)))
    np.testing.assert_array_equal(particles.offset_A, np.zeros((3, 3)))
    assert particles.image_names is None
    assert particles.half.tolist() == [0, 0, 0]
    write_particles(tmp_path / "q.star", particles, tomograms)
    star = read_star(tmp_path / "q.star")
    assert star.names == ["general", "optics", "particles"]
    assert star["optics"].value("rlnOpticsGroupName") == "optics1"
    assert star["particles"].strings("rlnTomoParticleName").tolist() == particles.names.tolist()
    assert "rlnAngleRot" not in star["particles"]


def test_particles_made_by_the_program_are_written_and_read_back(tomograms, tmp_path):
    rng = np.random.default_rng(1)
    n = 7
    made = Particles(
        tomo_names=["TS_02", "TS_01"], i_tomo=np.array([0, 1, 1, 0, 0, 1, 0], np.int32),
        names=np.array([f"p{i}" for i in range(n)], object), xyz_A=rng.uniform(-90, 90, (n, 3)),
        offset_A=rng.uniform(-9, 9, (n, 3)), R_p2t=Rotation.random(n, rng=rng).as_matrix(),
        R_box2t=Rotation.random(n, rng=rng).as_matrix(),
        half=np.array([1, 2, 1, 2, 1, 2, 1], np.int8), optics_group=np.ones(n, np.int32),
        image_names=np.array([f"s/{i}.mrcs" for i in range(n)], object), image_pixel_A=8.0,
        image_size_px=32, columns={"rlnScore": rng.normal(size=n)})
    made.visible = np.ones((n, 4), np.int8)
    made.visible[made.i_tomo == 1, 3] = -1
    made.visible[2, 1] = 0
    write_particles(tmp_path / "q.star", made, tomograms)
    again = read_particles(tmp_path / "q.star", tomograms)
    assert [again.tomo_names[i] for i in again.i_tomo] == [made.tomo_names[i] for i in made.i_tomo]
    np.testing.assert_allclose(again.position_A, made.position_A, atol=4e-5)
    np.testing.assert_allclose(again.R_p2t, made.R_p2t, atol=4e-7)
    np.testing.assert_array_equal(again.half, made.half)
    np.testing.assert_array_equal(again.visible, made.visible)
    assert (again.image_pixel_A, again.image_size_px, again.is_2d_stack) == (8.0, 32, True)
    assert again.image_names.tolist() == made.image_names.tolist()
    assert read_star(tmp_path / "q.star")["optics"].number("rlnTomoSubtomogramBinning") == 4.0


def test_pseudo_subtomograms_keep_their_weights(tomograms, tmp_path):
    n = 4
    table = particle_rows(n, rlnImageName=[f"sub/{i}_data.mrc" for i in range(n)],
                          rlnCtfImage=[f"sub/{i}_weights.mrc" for i in range(n)])
    path = save(tmp_path / "deep" / "p.star", optics_table(
        rlnImageDimensionality=[3], rlnImagePixelSize=[4.0], rlnImageSize=[48],
        rlnCtfDataAreCtfPremultiplied=[1]), table)
    (tmp_path / "deep" / "sub").mkdir()
    (tmp_path / "deep" / "sub" / "0_data.mrc").touch()
    particles = read_particles(path, tomograms)
    assert not particles.is_2d_stack
    assert particles.is_premultiplied
    assert particles.visible is None
    # Names are made openable from where the program runs, and stay relative where they hold.
    assert particles.image_names[3] == str(tmp_path / "deep/sub/3_data.mrc")
    assert particles.weight_names[3] == str(tmp_path / "deep/sub/3_weights.mrc")
    write_particles(tmp_path / "deep" / "q.star", particles, tomograms)
    assert read_star(tmp_path / "deep/q.star")["particles"].strings("rlnImageName")[
        3] == "sub/3_data.mrc"
    write_particles(tmp_path / "elsewhere" / "q.star", particles, tomograms)
    assert read_star(tmp_path / "elsewhere/q.star")["particles"].strings("rlnCtfImage")[
        3] == str(tmp_path / "deep/sub/3_weights.mrc")


def test_selection_keeps_text_and_class(tomograms, tmp_path):
    particles = read_particles(save(tmp_path / "p.star", particle_rows(6)), tomograms)
    part = particles.select(np.array([5, 0, 3]))
    assert isinstance(part, RelionParticles)
    write_particles(tmp_path / "q.star", part, tomograms)
    old, new = (read_star(tmp_path / f"{n}.star")["particles"] for n in "pq")
    for label in new.labels:
        assert (new.strings(label) == old.strings(label)[[5, 0, 3]]).all()


def test_aberrations_of_the_optics_group_reach_the_tilt_series(tomograms, tmp_path):
    path = save(tmp_path / "p.star", optics_table(
        rlnEvenZernike=["[0,0.1,-2.5]"], rlnOddZernike=["[1e-3,2]"]), particle_rows(2))
    particles = read_particles(path, tomograms)
    optics = tilt_series_with_aberrations(tomograms, "TS_01", particles).optics
    assert optics.even_zernike.tolist() == [0.0, 0.1, -2.5]
    assert optics.odd_zernike.tolist() == [0.001, 2.0]
    assert tomograms.tilt_series("TS_01").optics.even_zernike.size == 0
    two = save(tmp_path / "two.star", StarTable("optics", {
        label: [*values, *values] if label != "rlnOpticsGroup" else [1, 2]
        for label, values in optics_table().columns.items()}),
        particle_rows(4, rlnOpticsGroup=[1, 1, 2, 1]))
    with pytest.raises(InputError, match="particles of TS_01 are in optics groups 1, 2"):
        tilt_series_with_aberrations(tomograms, "TS_01", read_particles(two, tomograms))


def test_new_images_change_pixel_size_and_binning_in_the_optics(tomograms, tmp_path):
    path = save(tmp_path / "p.star", optics_table(
        rlnImagePixelSize=[8.0], rlnImageSize=[32], rlnTomoSubtomogramBinning=[4.0],
        rlnImageDimensionality=[2]), particle_rows(2, rlnImageName=["a.mrcs", "b.mrcs"]))
    particles = read_particles(path, tomograms)
    cut = replace(particles, image_pixel_A=4.0, image_size_px=64,
                  image_names=np.array(["c.mrcs", "b.mrcs"], object))
    write_particles(tmp_path / "q.star", cut, tomograms)
    star = read_star(tmp_path / "q.star")
    assert star["optics"].number("rlnTomoSubtomogramBinning") == 2.0
    assert star["optics"].number("rlnImageSize") == 64
    assert star["particles"].strings("rlnImageName").tolist() == ["c.mrcs", "b.mrcs"]


def test_visible_vectors_round_trip_with_unequal_lengths():
    column = np.array([b"[1,0,1]", b"[0]", b"[1,1,0,0,1]"])
    visible = parse_visible(column, "t")
    assert visible.tolist() == [[1, 0, 1, -1, -1], [0, -1, -1, -1, -1], [1, 1, 0, 0, 1]]
    assert format_visible(visible).tolist() == column.tolist()


def test_real_warp_export_reads_with_its_own_names(data_dir, tmp_path):
    folder = data_dir / "particles_empiar10499_warp_70S"
    name = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
    tomograms = read_tomograms(folder / f"{name}_tomograms.star")
    with pytest.warns(InputWarning, match="may count binned pixels"):
        particles = read_particles(folder / f"{name}.star", tomograms)
    assert np.bincount(particles.i_tomo).tolist() == [10, 10, 10, 10]
    assert particles.names[0] == "Unt_083/1"
    assert (particles.image_pixel_A, particles.image_size_px) == (12.0, 32)
    assert particles.image_names is not None
    assert particles.image_names[0] == str(folder / name / "Unt_083/Unt_083_12.00A_000001.mrcs")
    binned = read_particles(folder / f"{name}.star", tomograms, coordinate_pixel_A=12.0)
    half_size_A = np.array([4400, 6000, 1400]) * 1.667 / 2
    assert (np.abs(binned.xyz_A) < half_size_A).all()
    assert binned.xyz_A[:, 2].mean() == pytest.approx(0, abs=0.3 * half_size_A[2])
    write_particles(tmp_path / "q.star", binned, tomograms)
    again = read_particles(tmp_path / "q.star", tomograms)
    np.testing.assert_allclose(again.position_A, binned.position_A, atol=1e-5)
    np.testing.assert_array_equal(again.R_p2t, binned.R_p2t)
    assert again.image_names is not None
    assert again.image_names.tolist() == binned.image_names.tolist()


@pytest.mark.parametrize("tilt", [37.0, 0.0, 180.0])
def test_folding_the_pose_into_the_box_keeps_place_and_orientation(tomograms, tmp_path, tilt):
    """What RELION's --apply_orientations does; tilt 0 and 180 are the gimbal cases."""
    table = particle_rows(4, rlnAngleTilt=[tilt] * 4, rlnTomoSubtomogramTilt=[0.0] * 4)
    particles = read_particles(save(tmp_path / "p.star", table), tomograms)
    folded = replace(particles, R_box2t=particles.R_p2t)
    write_particles(tmp_path / "q.star", folded, tomograms)
    new = read_star(tmp_path / "q.star")["particles"]
    for label, _ in PART:
        np.testing.assert_allclose(new.floats(label), 0, atol=1e-6)
    again = read_particles(tmp_path / "q.star", tomograms)
    np.testing.assert_allclose(again.R_p2t, particles.R_p2t, atol=4e-7)
    np.testing.assert_allclose(again.position_A, particles.position_A, atol=2e-5)
    for i in range(4):
        A_new = cases.relion_matrix(*(new.floats(label)[i] for label, _ in BOX))
        A_old = cases.relion_matrix(*(table.floats(label)[i] for label, _ in BOX))
        old_part = cases.relion_matrix(*(table.floats(label)[i] for label, _ in PART))
        np.testing.assert_allclose(A_new, A_old @ old_part, atol=4e-7)


def test_real_relion4_volumes_read_and_come_back_as_relion5(data_dir, tmp_path):
    path = data_dir / "formats_motive_lists/cryocat/motl_data/relion_4.0.star"
    old = read_star(path)["particles"]
    names = sorted(set(old.strings("rlnTomoName")))
    assert len(names) > 5
    tomograms = read_tomograms(cases.write_project(
        tmp_path, cases.global_table(names, (4000, 4000, 2000), 1.971),
        [cases.tilt_table(name, 41) for name in names]))
    particles = read_particles(path, tomograms)
    assert not particles.is_2d_stack
    assert (particles.image_pixel_A, particles.image_size_px) == (3.942, 64)
    assert particles.weight_names is not None
    assert particles.weight_names[0] == "PseudoSubtomo/job005/Subtomograms/TS_017/68_weights.mrc"
    # No box rotation: positions are coordinate - origin, as in single-particle RELION.
    first = np.array([1700.0, 428.0, 944.0]) * 1.971 - [1.260416, 2.364176, 3.783296]
    np.testing.assert_allclose(
        particles.position_A[0], first - np.array([2000, 2000, 1000]) * 1.971, atol=1e-6)
    write_particles(tmp_path / "q.star", particles, tomograms)
    new = read_star(tmp_path / "q.star")["particles"]
    assert new.labels == [label for label in old.labels if not label.startswith(
        "rlnCoordinate")] + list(CENTRED)
    for label in set(new.labels) - set(CENTRED):
        assert (new.strings(label) == old.strings(label)).all()
    np.testing.assert_allclose(read_particles(tmp_path / "q.star", tomograms).position_A,
                               particles.position_A, atol=6e-6)
