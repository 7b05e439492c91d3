"""Transforms of weighted patches against numpy's of the same steps, done one after the other."""

import numpy as np
import pytest

from sta_mpi.align.observation import LOW_PX
from sta_mpi.align.observe import Frame, SeriesObserver, Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.signal.fft import FftPlans, radius_rft
from sta_mpi.signal.masks import soft_circle

IMAGE, PIXEL_A, TILTS = 96, 2.0, np.array([-30.0, 0.0, 45.0])
MEAN, SD = np.array([10.0, -3.0, 0.5]), np.array([2.0, 5.0, 0.25])
AT_A = np.array([7.3, -4.1, 11.0])
PLAIN = Weighting(ctf=False, dose=False, scale=False)


def observer(box: int, cut: int, edges_px: np.ndarray | None = None, dose=0.0, defocus_A=0.0,
             weighting=PLAIN) -> SeriesObserver:
    """White noise of another power in each tilt; no CTF, no damping unless asked for."""
    zero, size = np.zeros(len(TILTS)), (IMAGE, IMAGE, 64)
    P = projection_from_angles(zero, TILTS, zero, np.zeros((len(TILTS), 2)), size, PIXEL_A)
    series = TiltSeries(
        "TS_01", PIXEL_A, Optics(300.0, 2.7, 0.1), P, pre_dose_e_per_A2=zero + dose,
        defocus_u_A=zero + defocus_A, defocus_v_A=zero + defocus_A, astig_deg=zero,
        phase_shift_deg=zero,
        ctf_scale=zero + 1.0, ctf_b_factor_A2=zero, tomogram_size_px=size,
        image_size_px=(IMAGE, IMAGE))
    noise = np.array([1.0, 4.0, 0.25])[:, None] * np.ones((1, IMAGE // 2 + 1))
    return SeriesObserver(series, MEAN, SD, noise, Frame(box, cut, 1, PIXEL_A),
                          weighting, FftPlans(effort="estimate"), edges_px)


def by_numpy(image, centre_px, box, cut, mean, sd, noise):
    """Window, moved by the part of a pixel, over the noise, circle, orthonormal transform."""
    whole = np.floor(centre_px + 0.5).astype(int)
    start = whole - cut // 2
    window = image[start[1] : start[1] + cut, start[0] : start[0] + cut].astype(float)
    part = whole - centre_px
    move_x, move_y = (np.exp(-2j * np.pi * k * x) for k, x in (
        (np.fft.rfftfreq(cut), part[0]), (np.fft.fftfreq(cut), part[1])))
    if cut % 2 == 0:    # the mean of both signs, as both stand for the same frequency
        move_x[-1], move_y[cut // 2] = move_x[-1].real, move_y[cut // 2].real
    spectrum = np.fft.rfft2((mean - window) / sd / noise)
    moved = np.fft.irfft2(spectrum * move_y[:, None] * move_x, s=(cut, cut))
    first = cut // 2 - box // 2
    patch = moved[first : first + box, first : first + box]
    return np.fft.rfft2(np.fft.ifftshift(patch * soft_circle(box, box / 2 - 5.0, 5.0)),
                        norm="ortho")


def largest_errors(seen: SeriesObserver, box: int, edges_px: dict[int, int]) -> list[float]:
    """Of the transforms of tilts that are cut with these edges, relative to numpy's."""
    images = np.random.default_rng(box).normal(size=(len(TILTS), IMAGE, IMAGE))
    images = (images * SD[:, None, None] + MEAN[:, None, None]).astype(np.float32)
    tilts = np.array(list(edges_px))
    found = seen.observe(list(images), AT_A, tilts, "p").transforms
    centre_px, noise = seen.series.position_px(AT_A), (1.0, 4.0, 0.25)
    errors = []
    for transform, tilt in zip(found, tilts, strict=True):
        expected = by_numpy(images[tilt], centre_px[tilt], box, edges_px[tilt], MEAN[tilt],
                            SD[tilt], noise[tilt])
        assert np.abs(centre_px[tilt] % 1 - 0.5).min() < 0.45    # a part of a pixel is moved
        errors.append(float(np.abs(transform - expected).max() / np.abs(expected).max()))
    return errors


@pytest.mark.parametrize(("box", "cut"), [(24, 48), (24, 25), (25, 48), (32, 32)])
def test_transforms_of_patches_are_those_of_the_steps_in_numpy(box, cut):
    errors = largest_errors(observer(box, cut), box, {0: cut, 2: cut})
    assert 0 < min(errors) <= max(errors) < 1e-6


def test_each_tilt_is_cut_with_a_window_of_its_own():
    edges_px = {0: 48, 1: 30, 2: 24}
    seen = observer(24, 48, np.array(list(edges_px.values())))
    errors = largest_errors(seen, 24, edges_px)
    assert 0 < min(errors) <= max(errors) < 1e-6
    assert max(largest_errors(seen, 24, dict.fromkeys(edges_px, 48))) > 1e-2


@pytest.mark.parametrize("way", ["padded", "box and low", "search"])
def test_samples_that_nobody_asks_for_are_zero_and_change_no_sum(way, monkeypatch):
    box, grid = 40, 80
    seen = observer(box, 48, dose=np.array([0.0, 60.0, 110.0]), defocus_A=2e4,
                    weighting=Weighting())
    images = np.random.default_rng(1).normal(size=(3, IMAGE, IMAGE)).astype(np.float32)
    particle = seen.observe(list(images), AT_A, np.arange(3), "p")
    make = {"padded": lambda: particle.samples_to_insert(grid),
            "box and low": lambda: particle.samples_with_low(grid),
            "search": lambda: particle.samples(box, 12.0)}[way]
    found, weigh = make(), seen.model.weigh
    for model in (seen.model, seen.model.coarser(box / LOW_PX)):
        monkeypatch.setattr(model, "weigh", lambda data, at, tilts, share, *_, of=model.weigh: of(
            data, at, tilts, share))
    assert seen.model.weigh is not weigh
    everything = make()
    left_out = found.weight_rft == 0
    assert 0.2 < left_out.mean() < 0.9
    assert (everything.weight_rft[left_out] > 0).all() or way == "box and low"
    assert (found.data_rft[left_out] == 0).all()
    np.testing.assert_array_equal(found.data_rft[~left_out], everything.data_rft[~left_out])
    if way == "search":
        radius = radius_rft((box, box // 2 + 1))
        np.testing.assert_array_equal(left_out, np.broadcast_to(radius > 12.0, left_out.shape))
        return
    sums = np.zeros((2, grid, grid, grid // 2 + 1, 4), np.float32)
    for own, samples in zip(sums, (found, everything), strict=True):
        samples.insert(own, grid, np.eye(3))
    assert sums[0].any()
    np.testing.assert_array_equal(*sums)
