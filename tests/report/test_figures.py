"""Figures: every one is a picture of sane size for usual, empty, odd and huge input."""

import io
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from sta_mpi.report import figures
from sta_mpi.report.figures import curves, maps, poses, style

RNG = np.random.default_rng(7)


def rotations(n: int) -> np.ndarray:
    """Uniform random rotations by QR of Gaussian matrices."""
    q, r = np.linalg.qr(RNG.normal(size=(n, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    return q * np.sign(np.linalg.det(q))[:, None, None]


def picture(png: bytes) -> np.ndarray:
    """The RGB pixels of a PNG, after checking that it is one and has something drawn on it."""
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert 200 < image.shape[0] < 1300
    assert 300 < image.shape[1] < 1300
    assert len(png) < 2_000_000
    assert image.std() > 1
    return image


VOLUME = RNG.normal(size=(24, 24, 24)).astype(np.float32)
TILTS = np.arange(-60.0, 61.0, 3.0)
CASES = {
    "map": lambda: figures.map_slices(VOLUME, 4.0, "half 1"),
    "map-flat-box": lambda: figures.map_slices(VOLUME[:3], 4.0),
    "map-constant": lambda: figures.map_slices(np.zeros((8, 8, 8), np.float32), 4.0),
    "map-nan": lambda: figures.map_slices(np.full((8, 8, 8), np.nan, np.float32), 4.0),
    "map-one-voxel": lambda: figures.map_slices(np.ones((1, 1, 1), np.float32), 4.0),
    "comparison": lambda: figures.map_comparison(VOLUME, VOLUME[::-1], 4.0),
    "comparison-equal": lambda: figures.map_comparison(VOLUME * 0, VOLUME * 0, 4.0),
    "fsc": lambda: figures.fsc_curves(
        {"masked": np.linspace(1, 0, 13), "corrected": np.linspace(1, -0.1, 13)}, 4.0, 24,
        [(0.143, 11.0), (0.5, 20.0)]),
    "fsc-nan": lambda: figures.fsc_curves({"a": np.full(13, np.nan)}, 4.0, 24, [(0.5, np.inf)]),
    "fsc-none": lambda: figures.fsc_curves({}, 4.0, 24),
    "noise": lambda: figures.noise_excess({"half 1": [np.nan, 3.0, 1.0]}, 4.0, 24),
    "noise-none": lambda: figures.noise_excess({}, 4.0, 24),
    "weight": lambda: figures.ctf_weight({"half 1": np.linspace(0, 9, 13)}, 4.0, 24, 11.0),
    "weight-zero": lambda: figures.ctf_weight({"half 1": np.zeros(13)}, 4.0, 24),
    "coverage-few": lambda: figures.angular_coverage(rotations(5)),
    "coverage-one": lambda: figures.angular_coverage(np.eye(3)[None]),
    "coverage-many": lambda: figures.angular_coverage(rotations(3000), rotations(6), "C6"),
    "coverage-none": lambda: figures.angular_coverage(np.zeros((0, 3, 3))),
    "scores": lambda: figures.score_histogram(
        RNG.normal(size=500), RNG.integers(1, 3, 500), RNG.integers(0, 40, 500),
        [f"TS_{i:02d}_of_a_long_name_indeed" for i in range(40)], "correlation"),
    "scores-equal": lambda: figures.score_histogram(np.ones(9)),
    "scores-nan": lambda: figures.score_histogram(np.full(9, np.nan), np.ones(9)),
    "pose-change": lambda: figures.pose_change(
        [RNG.random(50), RNG.random(50), np.zeros(0)], [RNG.random(50)] * 3),
    "pose-change-once": lambda: figures.pose_change([np.zeros(50)], [RNG.random(50)]),
    "pose-change-none": lambda: figures.pose_change([], []),
    "load": lambda: figures.rank_load([60, 62.0], [3, 1.0], [1, 1.0]),
    "load-one-rank": lambda: figures.rank_load([60], [0]),
    "load-10000-ranks": lambda: figures.rank_load(RNG.random(10_000), RNG.random(10_000)),
    "load-none": lambda: figures.rank_load([], []),
    "load-zero": lambda: figures.rank_load([0.0], [0.0]),
    "units": lambda: figures.unit_times(RNG.random(90) + 0.5, RNG.random(90)),
    "units-wide": lambda: figures.unit_times(RNG.lognormal(0, 2, 90)),
    "units-zero": lambda: figures.unit_times(np.zeros(3), np.zeros(3)),
    "units-none": lambda: figures.unit_times([]),
    "memory": lambda: figures.memory_use({"reference": 0.5, "sums": 1.0}, [1.2, 1.3]),
    "memory-unmeasured": lambda: figures.memory_use({"reference": 0.5}, []),
    "memory-unpredicted": lambda: figures.memory_use({}, [1.0]),
    "particles": lambda: figures.particles_on_image(
        RNG.normal(size=(300, 200)), [(10, 20), (500, 20)], pixel_A=2.0, diameter_A=50.0,
        title="TS_01"),
    "particles-none": lambda: figures.particles_on_image(
        np.zeros((64, 64)), np.zeros((0, 2)), pixel_A=2.0, diameter_A=50.0),
    "tilts": lambda: figures.tilt_geometry(
        TILTS, np.abs(TILTS), 3e4 + TILTS, 2.9e4 + TILTS, RNG.normal(size=(41, 2)), "TS_01"),
    "tilt-weights": lambda: figures.tilt_weights(
        np.tile([-20.0, 0.0, np.nan], (2, 1)), [[1.0, 2.0, np.nan], [1.0, np.nan, np.nan]],
        ["TS_01", "TS_02"]),
    "tilt-weights-many": lambda: figures.tilt_weights(
        np.tile([-20.0, 0.0, 20.0], (9, 1)), np.ones((9, 3)), [f"TS_{i}" for i in range(9)]),
    "tilts-one": lambda: figures.tilt_geometry([0.0], [0.0], [3e4]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("error")
def test_figure_is_a_picture_without_warnings(name):
    png = CASES[name]()
    if name.endswith(("-none", "-nan")):
        Image.open(io.BytesIO(png)).verify()
    else:
        picture(png)


def test_figures_import_neither_matplotlib_nor_pyplot_until_drawn():
    code = "import sys, sta_mpi.report.figures, sta_mpi.report.page, sta_mpi.report.progress\n" \
           "print([m for m in ('matplotlib', 'jinja2', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_figure_twice_is_the_same_bytes():
    first, second = (figures.fsc_curves({"a": np.linspace(1, 0, 13)}, 4.0, 24) for _ in range(2))
    assert first == second


def test_style_of_the_caller_is_left_alone():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    figures.rank_load([1.0], [0.1])
    assert matplotlib.rcParams["font.size"] == before


def test_slices_cut_the_named_planes_through_the_centre_voxel():
    data = np.zeros((6, 8, 10), np.float32)
    data[3, 4, 5] = 1.0
    xy, xz, yz = maps.central_slices(data)
    assert (xy.shape, xz.shape, yz.shape) == ((8, 10), (6, 10), (6, 8))
    assert xy[4, 5] == xz[3, 5] == yz[3, 4] == 1.0


def test_projections_keep_the_mean():
    for image in maps.axis_projections(VOLUME):
        assert image.mean() == pytest.approx(VOLUME.mean(), abs=1e-6)


def test_block_mean_of_a_large_image_is_the_mean_of_its_blocks():
    image = np.arange(70 * 45, dtype=np.float64).reshape(70, 45)
    small, factor = style.block_mean(image, 20)
    assert (factor, small.shape) == (4, (17, 11))
    expected = image[:68, :44].reshape(17, 4, 11, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 3), (640, 640), (641, 640)])
def test_block_mean_never_exceeds_the_limit(shape):
    small, _ = style.block_mean(np.ones(shape, np.int8), 640)
    assert max(small.shape) <= 640
    assert np.all(small == 1)


def test_one_hot_pixel_does_not_change_the_grey_scale_of_an_image():
    image = RNG.normal(size=(200, 200))
    before = style.grey_limits(image)
    image[0, 0] = 1e9
    assert style.grey_limits(image) == pytest.approx(before, rel=1e-2)


def test_histogram_limits_leave_out_a_far_outlier_only():
    values = RNG.normal(size=10_000)
    assert style.spread_limits(values) == (values.min(), values.max())
    assert style.spread_limits(np.append(values, 1e6))[1] < 10


@pytest.mark.parametrize(("longest", "bar"), [(130, 100), (99, 50), (20, 20), (4900, 2000), (3, 2)])
def test_scale_bar_has_a_round_length(longest, bar):
    assert style.round_length_A(longest) == bar


def test_thinning_keeps_both_ends_and_the_order():
    rows = style.thin(1_000_003, 500)
    assert (rows[0], rows[-1], len(rows)) == (0, 1_000_002, 500)
    assert all(a < b for a, b in pairwise(rows))
    np.testing.assert_array_equal(style.thin(5, 500), np.arange(5))


def test_resolution_ticks_are_round_and_end_at_nyquist():
    ticks = curves.resolution_ticks_A(0.5 / 4.0)
    assert ticks[-1] == pytest.approx(8.0)
    assert np.all(np.diff(1 / ticks) > 0)


def test_density_of_uniform_directions_is_one_everywhere():
    density = poses.direction_density(poses.view_directions(rotations(200_000)), 12, 6)
    # 200,000 / 72 cells: 2 % counting noise a cell, so 5 sigma is 10 %
    np.testing.assert_allclose(density, 1.0, atol=0.1)
    assert density.mean() == pytest.approx(1.0)


def test_view_direction_is_the_beam_in_particle_axes():
    R_p2t = rotations(4)
    directions = poses.view_directions(R_p2t)
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", R_p2t, directions), np.tile([0, 0, 1.0], (4, 1)), atol=1e-12)


def test_symmetry_turns_directions_about_the_axis_of_the_particle():
    half_turn = np.diag([-1.0, -1.0, 1.0])
    R_p2t = rotations(3)
    both = poses.view_directions(R_p2t, np.stack([np.eye(3), half_turn]))
    assert both.shape == (6, 3)
    # a particle turned about its own symmetry axis looks the same: R S is equivalent to R
    equivalent = poses.view_directions(R_p2t @ half_turn)
    np.testing.assert_allclose(both[3:], equivalent, atol=1e-12)


def test_particles_are_drawn_where_they_are():
    """A purple-marked particle at the top right is top right in the picture: y runs upward."""
    png = figures.particles_on_image(
        np.zeros((100, 100)), [(90.0, 90.0)], pixel_A=1.0, diameter_A=10.0, is_outside=[True])
    rgb = picture(png).astype(int)
    target = np.array([int(style.PURPLE[i : i + 2], 16) for i in (1, 3, 5)])
    ys, xs = np.nonzero(np.abs(rgb - target).sum(axis=2) < 30)
    assert len(ys) > 20
    assert ys.mean() < 0.35 * rgb.shape[0]
    assert xs.mean() > 0.65 * rgb.shape[1]
