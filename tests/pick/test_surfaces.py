"""Seeds on spheres, ellipsoids, masks and curves against formulas of their own."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.pick.even_points import even_points, golden_spiral, number_of_points
from sta_mpi.pick.level_sets import seed_mask
from sta_mpi.pick.seed_poses import seed_orientations, shortest_turns, twisted
from sta_mpi.pick.surfaces import Ellipsoid, fit_ellipsoid, fit_sphere, seed_ellipsoid
from sta_mpi.pick.tubes import sample_curve, seed_axis, seed_helix, seed_stalk, seed_tube

RNG = 5


def rng():
    return np.random.default_rng(RNG)


def nearest(points):
    return cKDTree(points).query(points, 2)[0][:, 1]


def hexagonal_distance(area, n):
    """Distance of neighbours in a hexagonal lattice of n units on an area."""
    return np.sqrt(area / n / (np.sqrt(3) / 2))


def spheroid_area(a, c):
    """Area of a prolate spheroid, half axes a, a, c > a, by its textbook formula."""
    e = np.sqrt(1 - a * a / (c * c))
    return 2 * np.pi * a * a * (1 + c / (a * e) * np.arcsin(e))


@pytest.mark.parametrize("density", [0.5, 1.0, 2.0])
def test_number_on_a_sphere_is_the_lattice_density_asked_for(density):
    seeds = seed_ellipsoid(Ellipsoid.sphere([1, 2, 3], 450.0), 80.0, density, rng())
    area = 4 * np.pi * 450.0**2
    found = len(seeds.xyz_A) / area * (np.sqrt(3) / 2 * 80.0**2)
    assert found == pytest.approx(density, rel=0.01)
    assert seeds.area_A2 == pytest.approx(area, rel=1e-9)


def test_seeds_of_a_sphere_are_on_it_with_radial_normals_and_near_uniform():
    centre = np.array([100.0, -50, 20])
    seeds = seed_ellipsoid(Ellipsoid.sphere(centre, 450.0), 80.0, 2.0, rng())
    out = seeds.xyz_A - centre
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 450.0, rtol=1e-12)
    np.testing.assert_allclose(seeds.normal, out / 450.0, atol=1e-12)
    ratio = nearest(seeds.xyz_A) / hexagonal_distance(4 * np.pi * 450**2, len(out))
    # the golden spiral's neighbours are never nearer than 0.8 of the best lattice
    assert 0.8 < ratio.min() < ratio.max() < 1.0
    # every direction has a seed within the circumradius of a lattice cell, with a third to spare
    probes = golden_spiral(4001) * 450.0 + centre
    gap = cKDTree(seeds.xyz_A).query(probes)[0].max()
    assert gap < 1.34 * hexagonal_distance(4 * np.pi * 450**2, len(out)) / np.sqrt(3)
    assert np.linalg.norm(out.mean(axis=0)) < 2.0


def test_ellipsoid_normals_are_the_gradient_of_its_implicit_form():
    shape = Ellipsoid(np.array([10.0, 20, -5]), np.array([200.0, 300, 450]),
                      random_rotations(1, rng())[0])
    seeds = seed_ellipsoid(shape, 60.0, 1.0, rng())

    def implicit(x):
        return ((((x - shape.centre_A) @ shape.R) / shape.half_axes_A) ** 2).sum(axis=-1)

    np.testing.assert_allclose(implicit(seeds.xyz_A), 1.0, atol=1e-9)
    h = 1e-3
    gradient = np.stack([(implicit(seeds.xyz_A + h * e) - implicit(seeds.xyz_A - h * e)) / (2 * h)
                         for e in np.eye(3)], axis=1)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(seeds.normal, gradient, atol=1e-6)


def test_ellipsoid_is_seeded_by_area_and_evenly():
    a, c = 250.0, 600.0
    shape = Ellipsoid(np.zeros(3), np.array([a, a, c]), np.eye(3))
    area = spheroid_area(a, c)
    assert shape.area_A2() == pytest.approx(area, rel=1e-4)
    seeds = seed_ellipsoid(shape, 80.0, 2.0, rng())
    assert len(seeds.xyz_A) == pytest.approx(2 * area / (np.sqrt(3) / 2 * 6400), rel=0.01)
    ratio = nearest(seeds.xyz_A) / hexagonal_distance(area, len(seeds.xyz_A))
    assert ratio.min() > 0.6
    assert np.percentile(ratio, 5) > 0.75
    # the belt |z| < 200 by numeric integration of its area
    z = np.linspace(-c, c, 20001)
    r = a * np.sqrt(1 - (z / c) ** 2)
    strip = 2 * np.pi * np.sqrt(r**2 + (a * a * z / (c * c)) ** 2)
    share = strip[np.abs(z) < 200].sum() / strip.sum()
    # a row of seeds more or less on either rim is 3 %
    assert (np.abs(seeds.xyz_A[:, 2]) < 200).mean() == pytest.approx(share, abs=0.03)


def test_even_points_of_a_flat_sheet_keep_their_distance():
    cloud = np.concatenate([rng().uniform(0, 100, (6000, 2)), np.zeros((6000, 1))], axis=1)
    points = even_points(cloud, np.ones(6000), 200, rng())
    ratio = nearest(points) / hexagonal_distance(1e4, 200)
    # rows along the border of the sheet are squeezed
    assert ratio.min() > 0.5
    assert np.median(ratio) > 0.75
    assert even_points(cloud[:5], np.ones(5), 9, rng()).shape == (5, 3)


def test_mask_of_a_ball_gives_its_surface_area_and_normals():
    z, y, x = np.mgrid[:56, :60, :64]
    centre, radius = np.array([30.0, 31.0, 27.0]), 19.0
    mask = ((x - 30) ** 2 + (y - 31) ** 2 + (z - 27) ** 2 <= radius**2).astype(np.float32)
    seeds, index = seed_mask(mask, 10.0, 40.0, 2.0, rng())
    out = index - centre
    distance = np.linalg.norm(out, axis=1)
    # blurring by s moves a sphere of radius R inward by s^2 / R: 0.2; voxels are coarse by 0.3
    assert np.abs(distance - (radius - 4.0 / radius)).max() < 0.5
    angle = np.degrees(np.arccos(np.clip((out / distance[:, None] * seeds.normal).sum(1), -1, 1)))
    assert np.median(angle) < 2.0
    assert angle.max() < 6.0
    at = distance.mean() * 10
    assert seeds.area_A2 == pytest.approx(4 * np.pi * at**2, rel=0.03)
    assert len(index) == number_of_points(seeds.area_A2, 40.0, 2.0)
    np.testing.assert_allclose(seeds.xyz_A, index * 10.0)
    assert nearest(index).min() * 10 > 0.5 * 40 / np.sqrt(2)


def test_faces_of_the_box_are_no_surface_of_a_mask():
    mask = np.zeros((24, 32, 40), np.float32)
    mask[:12] = 1
    seeds, index = seed_mask(mask, 1.0, 3.0, 1.0, rng())
    np.testing.assert_allclose(index[:, 2], 11.5, atol=0.05)
    np.testing.assert_allclose(seeds.normal, np.tile([0, 0, 1.0], (len(index), 1)), atol=1e-3)
    assert seeds.area_A2 == pytest.approx(32 * 40, rel=0.01)
    assert index[:, 0].max() > 37
    with pytest.raises(InputError, match="every voxel"):
        seed_mask(np.ones((8, 8, 8)), 1.0, 3.0, 1.0, rng())
    with pytest.raises(InputError, match="no voxel"):
        seed_mask(np.zeros((8, 8, 8)), 1.0, 3.0, 1.0, rng())


def test_curve_is_sampled_at_equal_lengths_with_frames_along_it():
    t = np.linspace(0, np.pi / 2, 12)
    points = 1000 * np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)    # a quarter circle
    curve = sample_curve(points, 40.0, "c")
    assert curve.length_A == pytest.approx(1000 * np.pi / 2, rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(curve.xyz_A, axis=1), 1000, atol=0.05)
    # chord of 40 A of arc
    np.testing.assert_allclose(np.linalg.norm(np.diff(curve.xyz_A, axis=0), axis=1),
                               2000 * np.sin(0.02), rtol=1e-4)
    along = np.stack([-curve.xyz_A[:, 1], curve.xyz_A[:, 0], 0 * curve.xyz_A[:, 0]], axis=1) / 1000
    np.testing.assert_allclose(curve.frames[:, :, 2], along, atol=1e-3)
    np.testing.assert_allclose(np.linalg.det(curve.frames), 1.0)
    np.testing.assert_allclose(seed_axis(curve).normal, curve.frames[:, :, 2])


def test_frame_of_a_plane_curve_does_not_twist():
    t = np.linspace(0, 1.5, 9)
    curve = sample_curve(500 * np.stack([np.cos(t), np.sin(t), 0 * t], axis=1), 20.0, "c")
    # in a plane the frame that turns least keeps its angle with the plane's normal
    height = curve.frames[:, 2, 0]
    np.testing.assert_allclose(height, height[0], atol=1e-3)


def test_tube_surface_is_a_hexagonal_lattice_with_outward_normals():
    lattice = 40.0
    curve = sample_curve(np.array([[0.0, 0, -300], [0, 0, 300]]), np.sqrt(3) / 2 * lattice, "c")
    seeds = seed_tube(curve, 127.3, lattice)
    np.testing.assert_allclose(np.hypot(*seeds.xyz_A[:, :2].T), 127.3, rtol=1e-9)
    np.testing.assert_allclose(seeds.normal[:, :2], seeds.xyz_A[:, :2] / 127.3, atol=1e-9)
    # 20 seeds a ring of 800 A; chords are a little shorter than arcs
    np.testing.assert_allclose(nearest(seeds.xyz_A), lattice, rtol=0.02)


def test_helix_turns_by_the_twist_each_rise():
    curve = sample_curve(np.array([[0.0, 0, 0], [0, 0, 200]]), 10.0, "c")
    seeds = seed_helix(curve, 50.0, 27.7, 15.0)
    angle = np.degrees(np.unwrap(np.arctan2(seeds.normal[:, 1], seeds.normal[:, 0])))
    np.testing.assert_allclose(np.diff(angle), 27.7, atol=1e-6)
    np.testing.assert_allclose(np.diff(seeds.xyz_A[:, 2]), 10.0, atol=1e-9)


def test_stalk_points_from_base_to_head():
    points = np.array([[0.0, 0, 100], [0, 0, 20]])
    seeds = seed_stalk(points, "head", True, "c")
    np.testing.assert_allclose(seeds.xyz_A, [[0, 0, 100]])
    np.testing.assert_allclose(seeds.normal, [[0, 0, 1]])
    other = seed_stalk(points, "centre", False, "c")
    np.testing.assert_allclose(other.xyz_A, [[0, 0, 60]])
    np.testing.assert_allclose(other.normal, [[0, 0, -1]])
    with pytest.raises(InputError, match="expected 2"):
        seed_stalk(points[:1], "head", True, "contour 3")


def test_spheres_and_ellipsoids_are_fitted_to_points_on_them():
    noise = rng().normal(0, 2.0, (60, 3))
    sphere = fit_sphere(Ellipsoid.sphere([5.0, 6, 7], 300).point(golden_spiral(60)) + noise, "s")
    np.testing.assert_allclose(sphere.centre_A, [5, 6, 7], atol=1.5)
    assert sphere.half_axes_A[0] == pytest.approx(300, abs=1.5)
    true = Ellipsoid(np.array([50.0, -20, 10]), np.array([200.0, 300, 400]),
                     random_rotations(1, rng())[0])
    found = fit_ellipsoid(true.point(golden_spiral(60)) + noise, "e")
    np.testing.assert_allclose(np.sort(found.half_axes_A), [200, 300, 400], atol=6)
    np.testing.assert_allclose(found.centre_A, true.centre_A, atol=3)
    probe = true.point(golden_spiral(50))
    np.testing.assert_allclose(np.linalg.norm(
        ((probe - found.centre_A) @ found.R) / found.half_axes_A, axis=1), 1.0, atol=0.03)


def test_points_that_fix_no_shape_are_refused():
    plane = np.concatenate([rng().uniform(-1, 1, (20, 2)), np.zeros((20, 1))], axis=1)
    with pytest.raises(InputError, match="lie in a plane"):
        fit_sphere(plane, "c")
    with pytest.raises(InputError, match="no ellipsoid"):
        fit_ellipsoid(plane * [1, 1, 0] + [0, 0, 1] * (plane[:, :1] ** 2 - plane[:, 1:2] ** 2), "c")
    with pytest.raises(InputError, match="at least 9"):
        fit_ellipsoid(plane[:8], "c")
    with pytest.raises(InputError, match="at least 2"):
        sample_curve(np.zeros((3, 3)), 10.0, "c")


@pytest.mark.parametrize("twist", ["free", "zero", "random"])
def test_z_axis_of_seeds_is_the_normal_whatever_the_twist(twist):
    normal = np.concatenate([golden_spiral(500), [[0, 0, 1.0], [0, 0, -1.0]]])
    R = seed_orientations(normal, twist, rng())
    np.testing.assert_allclose(R[:, :, 2], normal, atol=1e-9)
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (502, 1, 1)), atol=1e-9)
    turns = shortest_turns(normal).transpose(0, 2, 1) @ R
    angle = np.degrees(np.arctan2(turns[:, 1, 0], turns[:, 0, 0])) % 360
    if twist == "zero":
        np.testing.assert_allclose(R[:, :, :], shortest_turns(normal))
    else:
        # each of 10 sectors holds its share: 50, free within 4, random within 4 sigma
        counts = np.histogram(angle, np.linspace(0, 360, 11))[0]
        assert np.abs(counts - 50.2).max() < (4 if twist == "free" else 28)


def test_shortest_turn_is_as_long_as_the_angle_from_z():
    normal = golden_spiral(100)
    R = shortest_turns(normal)
    angle = np.arccos(np.clip((np.trace(R, axis1=1, axis2=2) - 1) / 2, -1, 1))
    np.testing.assert_allclose(angle, np.arccos(normal[:, 2]), atol=1e-6)
    turned = twisted(R, np.full(100, 30.0))
    np.testing.assert_allclose(turned[:, :, 2], R[:, :, 2], atol=1e-12)
