"""Back-projection against blobs whose images follow from a formula of their own."""

from dataclasses import replace

import numpy as np
import pytest
from blob_series import PIXEL_A, make_series, project_blobs

from sta_mpi.kernels.back_project import back_project, frame_images
from sta_mpi.prepare.image_filter import FilterOptions, ImageFilter
from sta_mpi.prepare.tomogram_grid import make_image_grid, voxel_matrices
from sta_mpi.signal.fft import FftPlans

SIZE_PX = (96, 80, 48)
IMAGE_PX = (96, 90)
BLOBS = [((20, -13, 7), 1.0, 3.0), ((-25, 10, -9), 2.0, 3.0)]
SHARP = {"cutoff": 0.5, "falloff": 0.0, "dose": False, "invert": True}
WIDE = np.arange(-60, 61, 3.0)
FULL = np.arange(-90, 90, 3.0)


def reconstruct(series, images, binning=1.0, **options):
    """The volume (nz, ny, nx) and its voxels' size in pixels."""
    grid = make_image_grid(series.image_size_px, binning)
    size = [max(1, int(side / binning + 0.5)) for side in series.tomogram_size_px]
    filtering = ImageFilter(series, grid, size[2], FilterOptions(**{**SHARP, **options}),
                            FftPlans(effort="estimate"))
    width, height = grid.size_px
    filtered = np.empty((series.n_tilts, height, width), np.float32)
    for i, image in enumerate(images):
        filtering.filtered(i, image, filtered[i])
    matrices = voxel_matrices(series.P, PIXEL_A, series.tomogram_size_px, grid)
    return back_project(frame_images(filtered), matrices, 0,
                        np.empty(size[::-1], np.float32))


def found_at(volume, at_index, reach):
    """Centroid xyz of the upper half of the peak near an index, and its height."""
    x, y, z = np.round(at_index).astype(int)
    part = volume[z - reach : z + reach + 1, y - reach : y + reach + 1, x - reach : x + reach + 1]
    weight = np.maximum(part - 0.5 * part.max(), 0).astype(float)
    grid = np.indices(part.shape).reshape(3, -1)
    centre = grid @ weight.ravel() / weight.sum()
    return centre[::-1] - reach + (x, y, z), float(part.max())


def index_of(xyz_px, binning):
    """Where RELION has a point: (centred + size / 2) / binning."""
    return (np.array(xyz_px) + np.array(SIZE_PX) / 2) / binning


@pytest.fixture(scope="module")
def tilted():
    """Series over 120 degrees with pitch, shifts and an oblique tilt axis; its images."""
    shifts = np.random.default_rng(0).normal(size=(len(WIDE), 2)) * 3
    series = make_series(WIDE, 85.0, 3.0, shifts, SIZE_PX, IMAGE_PX)
    return series, project_blobs(series, BLOBS, IMAGE_PX)


@pytest.mark.parametrize("weighting", ["ramp", "exact"])
@pytest.mark.parametrize("binning", [1.0, 1.7, 2.0])
def test_planted_blobs_are_at_their_voxels_at_any_binning(tilted, weighting, binning):
    volume = reconstruct(*tilted, binning, weighting=weighting)
    for xyz, _, _ in BLOBS:
        at = index_of(xyz, binning)
        # the centroid of so few voxels is good to 0.03; half a pixel would be 0.25 and more
        np.testing.assert_allclose(found_at(volume, at, 3)[0], at, atol=0.05)


def test_wrong_tilt_sign_puts_the_blob_at_the_mirrored_depth():
    series = make_series(WIDE, 85.0, 0.0, None, SIZE_PX, IMAGE_PX)
    images = project_blobs(series, BLOBS[:1], IMAGE_PX)
    mirrored = make_series(-WIDE, 85.0, 0.0, None, SIZE_PX, IMAGE_PX)
    (x, y, z), _, _ = BLOBS[0]
    volume = reconstruct(mirrored, images)
    np.testing.assert_allclose(found_at(volume, index_of((x, y, -z), 1), 3)[0],
                               index_of((x, y, -z), 1), atol=0.02)
    at_true_place = volume[tuple(np.round(index_of((x, y, z), 1)).astype(int)[::-1])]
    assert at_true_place < 0.2 * volume.max()


def test_wrong_sign_of_the_axis_angle_leaves_no_blob(tilted):
    series, _ = tilted
    wrong = make_series(WIDE, -45.0, 3.0, series.P[:, :2, 3] / PIXEL_A, SIZE_PX, IMAGE_PX)
    right = make_series(WIDE, 45.0, 3.0, series.P[:, :2, 3] / PIXEL_A, SIZE_PX, IMAGE_PX)
    images = project_blobs(right, BLOBS, IMAGE_PX)
    assert reconstruct(wrong, images).max() < 0.6 * reconstruct(right, images).max()


@pytest.mark.parametrize(("weighting", "tolerance"), [("ramp", 0.005), ("exact", 0.03)])
def test_full_tilt_range_gives_the_density_back(weighting, tolerance):
    series = make_series(FULL, 85.0, 0.0, None, SIZE_PX, IMAGE_PX)
    volume = reconstruct(series, project_blobs(series, BLOBS, IMAGE_PX), weighting=weighting)
    for xyz, amplitude, _ in BLOBS:
        height = found_at(volume, index_of(xyz, 1), 3)[1]
        # the exact filter gives up what a volume of finite depth cannot hold: 2 %
        assert height / amplitude == pytest.approx(1.0, abs=tolerance)


def test_missing_wedge_takes_its_share_of_the_density(tilted):
    volume = reconstruct(*tilted)
    for xyz, amplitude, _ in BLOBS:
        height = found_at(volume, index_of(xyz, 1), 3)[1]
        # 41 tilts of 3 degrees stand for 123 of 180
        assert height / amplitude == pytest.approx(123 / 180, abs=0.01)


def test_volume_summed_along_z_is_the_untilted_image(tilted):
    series = make_series(WIDE, 0.0, 0.0, None, (96, 80, 96), IMAGE_PX)
    images = project_blobs(series, BLOBS, IMAGE_PX)
    volume = reconstruct(series, images)
    projection = volume.sum(axis=0)
    y, x = IMAGE_PX[1] // 2 - SIZE_PX[1] // 2, IMAGE_PX[0] // 2 - SIZE_PX[0] // 2
    image = -images[20][y : y + 80, x : x + 96]
    scale = np.vdot(projection - projection.mean(), image - image.mean()) / np.vdot(
        image - image.mean(), image - image.mean())
    # what neighbouring tilts smear out of the volume is missing
    assert scale == pytest.approx(1.0, abs=0.1)


def test_two_axes_need_and_have_the_exact_filter():
    first = make_series(WIDE, 0.0, 0.0, None, SIZE_PX, IMAGE_PX)
    across = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    P = first.P.copy()
    P[:, :, :3] = P[:, :, :3] @ across      # the specimen turned by 90 degrees in its plane
    both = replace(first, P=np.concatenate([first.P, P]), **{
        name: np.tile(getattr(first, name), 2) for name in (
            "pre_dose_e_per_A2", "defocus_u_A", "defocus_v_A", "astig_deg", "phase_shift_deg",
            "ctf_scale", "ctf_b_factor_A2")})
    volume = reconstruct(both, project_blobs(both, BLOBS, IMAGE_PX), weighting="exact")
    one = reconstruct(first, project_blobs(first, BLOBS, IMAGE_PX), weighting="exact")
    for xyz, amplitude, _ in BLOBS:
        at = index_of(xyz, 1)
        place, height = found_at(volume, at, 3)
        np.testing.assert_allclose(place, at, atol=0.02)
        # a missing pyramid is smaller than a missing wedge
        assert found_at(one, at, 3)[1] / amplitude + 0.05 < height / amplitude < 1.0


def test_contrast_is_that_of_the_images_unless_inverted(tilted):
    series, images = tilted
    dark = reconstruct(series, images, invert=False)
    np.testing.assert_array_equal(dark, -reconstruct(series, images))
    at = np.round(index_of(BLOBS[1][0], 1)).astype(int)
    assert dark[at[2], at[1], at[0]] < 0
