"""Simulated tilt series averaged with true poses, and planted mistakes that must show.

The forward model is simulate's own (scalar formulas, analytic phantom); the average is the
program's. A mistake planted in the metadata handed to the average must lower the agreement
with the truth.
"""

from dataclasses import replace

import numpy as np
import pytest

from sta_mpi.align.observe import Frame, SeriesObserver
from sta_mpi.align.reconstruct import divide_plane, plane_shell_sums, shell_mean
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.jobs import window_size
from sta_mpi.jobs.window_size import window_edges_px
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.binning import binned_image
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.noise import noise_spectrum
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.image import Objects, render_tilt
from sta_mpi.simulate.noise import noise_image, stream
from sta_mpi.simulate.series import SeriesPlan, planned_series

BOX, GRID, PIXEL_A = 40, 60, 4.0
PHANTOM = chiral_phantom(60.0, 3.0)
PLANS = FftPlans(effort="estimate")
N_SERIES, N_PARTICLES, NOISE_SD = 3, 24, 4.0


def make_world():
    """True geometries, particles and noisy images of three series."""
    plan = SeriesPlan(
        PIXEL_A, Optics(300.0, 2.7, 0.07), (200, 200, 760), (760, 760), (-60, 60, 6.0),
        "dose-symmetric", 2, 85.0, 0.0, 8.0, 3.0, 30000.0, 2000.0, 300.0, 1500.0, 35.0, 0.0, -1,
        "cosine", 3000.0)
    world = []
    for i in range(N_SERIES):
        rng = stream(7, "world", i)
        geometry = planned_series(f"TS_{i}", plan, rng)
        xyz_A = rng.uniform(-1, 1, (N_PARTICLES, 3)) * np.array([300.0, 300.0, 1350.0])
        R_p2t = random_rotations(N_PARTICLES, rng)
        signal = [render_tilt([Objects(PHANTOM, R_p2t, xyz_A)], geometry, t)
                  for t in range(geometry.n_tilts)]
        noise = [noise_image(s.shape, NOISE_SD, rng, colour=3.0) for s in signal]
        images = [np.asarray(s + n + 100.0, np.float32)
                  for s, n in zip(signal, noise, strict=True)]
        world.append((geometry, xyz_A, R_p2t, images))
    return world


@pytest.fixture(scope="module")
def world():
    return make_world()


def as_tilt_series(g):
    """The written metadata of a simulated geometry."""
    P = projection_from_angles(g.x_tilt_deg, g.tilt_deg, g.axis_deg, g.shift_A,
                               g.tomogram_size_px, g.pixel_A)
    return TiltSeries(
        g.name, g.pixel_A, g.optics, P, g.pre_dose_e_per_A2, g.defocus_u_A, g.defocus_v_A,
        g.astig_deg, g.phase_shift_deg, g.scale, g.b_factor_A2, g.hand, g.defocus_slope,
        g.b_factor_per_dose_A2, g.tomogram_size_px, g.image_size_px)


def average(world, change=lambda ts: ts, move_A=(0.0, 0.0, 0.0), is_by_dose=False):
    """Average all particles with true poses; `change` plants a mistake in the metadata.

    Windows of 80 px, or smaller ones for tilts whose dose has damped what is farthest away.
    """
    sums = np.zeros((GRID, GRID, GRID // 2 + 1, 4), np.float32)
    for geometry, xyz_A, R_p2t, images in world:
        ts = change(as_tilt_series(geometry))
        mean = np.array([i.mean(dtype=float) for i in images])
        sd = np.array([i.std(dtype=float) for i in images])
        noise = np.stack([noise_spectrum((i - m) / s, 128) for i, m, s
                          in zip(images, mean.astype(np.float32), sd.astype(np.float32),
                                 strict=True)])
        observer = SeriesObserver(ts, mean, sd, noise, Frame(BOX, 80, 1, PIXEL_A),
                                  Weighting(), PLANS,
                                  window_edges_px(BOX, 80, PIXEL_A, ts, is_by_dose))
        for xyz, R in zip(xyz_A, R_p2t, strict=True):
            at = xyz + np.array(move_A)
            tilts = observer.visible_tilts(at)
            observer.observe(images, at, tilts, "p").samples(GRID).insert(sums, GRID, R)
    return sums.astype(np.float64)


def binned_average(world, move_px=0.0):
    """The same at binning 2, from images binned as a whole; particles moved along x."""
    box, grid = BOX // 2, GRID // 2
    sums = np.zeros((grid, grid, grid // 2 + 1, 4), np.float32)
    for geometry, xyz_A, R_p2t, images in world:
        mean = np.array([i.mean(dtype=float) for i in images])
        sd = np.array([i.std(dtype=float) for i in images])
        noise = np.ones((len(images), 65))
        small = [binned_image(i, 2, float(m)) for i, m in zip(images, mean, strict=True)]
        observer = SeriesObserver(as_tilt_series(geometry), mean, sd, noise,
                                  Frame(box, 40, 2, 2 * PIXEL_A, edge_px=3.0), Weighting(), PLANS)
        for xyz, R in zip(xyz_A, R_p2t, strict=True):
            at = xyz + R @ [move_px * 2 * PIXEL_A, 0.0, 0.0]
            tilts = observer.visible_tilts(at)
            observer.observe(small, at, tilts, "p").samples(grid).insert(sums, grid, R)
    return sums.astype(np.float64)


def invert(sums):
    grid = len(sums)
    box = grid * BOX // GRID
    num, den = sums[..., 0] + 1j * sums[..., 1], sums[..., 2]
    mean = shell_mean(sum(plane_shell_sums(den[z], grid, z) for z in range(grid)))
    rft = np.stack([divide_plane(num[z], den[z], grid, z, mean, None) for z in range(grid)])
    inside = slice(grid // 2 - box // 2, grid // 2 + box // 2)
    return correct_gridding(PLANS.irfft3(rft)[inside, inside, inside], GRID / BOX), mean


def truth_curve(map_):
    return fsc(map_, PHANTOM.truth_map(BOX, PIXEL_A))


def test_average_with_true_poses_reaches_the_predicted_noise_limit(world):
    map_, mean_den = invert(average(world))
    curve = truth_curve(map_)
    # S = |V|^2 den with V in units of the images scaled to sd 1 (their own noise and signal)
    sd = np.mean([i.std() for _, _, _, images in world for i in images])
    truth_rft = PLANS.rfft3(PHANTOM.truth_map(BOX, PIXEL_A) / sd)
    power = np.array([np.mean(np.abs(truth_rft[_shell(s)]) ** 2) for s in range(BOX // 2)])
    den = np.interp(np.arange(BOX // 2) * GRID / BOX, np.arange(len(mean_den)), mean_den)
    ssnr = power * den
    predicted = np.sqrt(ssnr / (1 + ssnr))
    reached = predicted > 0.6
    assert reached[2:9].all()
    assert (curve[: BOX // 2][reached][1:] > 0.5).all()
    # neighbours in projection are noise that the prediction does not know
    assert np.abs(curve[2:17] - predicted[2:17]).max() < 0.2


def _shell(s):
    from sta_mpi.signal.fft import shell_index_rft

    return shell_index_rft((BOX, BOX, BOX // 2 + 1)) == s


def high_band(curve):
    return float(curve[8:17].mean())


def test_average_is_bright_and_on_the_absolute_grey_scale(world):
    map_, _ = invert(average(world))
    truth = PHANTOM.truth_map(BOX, PIXEL_A)
    sd = np.mean([i.std() for _, _, _, images in world for i in images])
    slope = np.vdot(truth, map_) / np.vdot(truth, truth) * sd
    assert slope == pytest.approx(1.0, abs=0.15)


def test_images_binned_as_a_whole_keep_places_to_a_fraction_of_a_binned_pixel(world):
    truth = PHANTOM.truth_map(BOX // 2, 2 * PIXEL_A)
    curves = {move: fsc(invert(binned_average(world, move))[0], truth)[1:10]
              for move in (-0.5, 0.0, 0.5)}
    assert (curves[0.0][:4] > 0.8).all()
    for move in (-0.5, 0.5):
        assert curves[move].mean() < curves[0.0].mean() - 0.02


MISTAKES = {
    "wrong hand": lambda ts: replace(ts, hand=-ts.hand),
    "wrong sign of the CTF": lambda ts: replace(
        ts, defocus_u_A=-ts.defocus_u_A, defocus_v_A=-ts.defocus_v_A),
    "reversed dose": lambda ts: replace(
        ts, pre_dose_e_per_A2=ts.pre_dose_e_per_A2.max() - ts.pre_dose_e_per_A2),
    "astigmatism turned by 90 degrees": lambda ts: replace(ts, astig_deg=ts.astig_deg + 90),
}


@pytest.mark.parametrize("name", [n for n in MISTAKES if n != "reversed dose"])
def test_planted_mistake_lowers_the_agreement_with_truth(world, name):
    right = high_band(truth_curve(invert(average(world))[0]))
    wrong = high_band(truth_curve(invert(average(world, MISTAKES[name]))[0]))
    assert wrong < right - 0.02


def test_reversed_dose_order_is_detected_by_the_fit_of_amplitudes(world):
    """Dose weights scale amplitudes: the wrong order tilts the map's spectrum."""
    right, wrong = (invert(average(world, c))[0] for c in (lambda ts: ts,
                                                           MISTAKES["reversed dose"]))
    assert high_band(truth_curve(wrong)) < high_band(truth_curve(right)) - 0.005


def test_shift_of_half_a_pixel_is_detected(world):
    right = truth_curve(invert(average(world))[0])
    half = 0.5 * PIXEL_A
    wrong = truth_curve(invert(average(world, move_A=(half, half, half)))[0])
    assert high_band(wrong) < high_band(right) - 0.01


def test_windows_that_shrink_as_the_dose_grows_lose_nothing(world, monkeypatch):
    # half of the power, where jobs give up a hundredth: in this short series nothing falls below
    monkeypatch.setattr(window_size, "DAMPED", 0.5)
    edges_px = window_edges_px(BOX, 80, PIXEL_A, as_tilt_series(world[0][0]), True)
    assert np.mean(edges_px**2) < 0.8 * 80**2
    whole, smaller = (truth_curve(invert(average(world, is_by_dose=is_by_dose))[0])
                      for is_by_dose in (False, True))
    assert 0 < np.abs(smaller - whole)[2:17].max() < 0.01
