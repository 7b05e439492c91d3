"""The simulator's forward model against the program's own, written apart from it.

A particle's image is predicted from the truth map with the program's projection matrices,
slices, CTF and dose, and compared with the patch of the simulated tilt image. Every planted
error must show.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.kernels.gather import gather_slices, prepare_gather
from sta_mpi.signal.ctf import ctf_coefficients, ctf_images
from sta_mpi.signal.dose import dose_damping as program_dose_damping
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.image import Objects, render_tilt
from sta_mpi.simulate.noise import stream
from sta_mpi.simulate.series import SeriesPlan, planned_series
from sta_mpi.simulate.wave import dose_damping, transfer

PIXEL_A = 4.0
N = 160
LEAST_FINE_A = 18.0
"""Only finer detail than this is compared: coarser detail does not feel defocus."""
PLAN = SeriesPlan(
    pixel_A=PIXEL_A, optics=Optics(300.0, 2.7, 0.1), tomogram_size_px=(400, 360, 300),
    image_size_px=(600, 561), tilt_range_deg=(-60, 60, 20), scheme="dose-symmetric", group=1,
    axis_deg=85.0, x_tilt_deg=4.0, shift_sd_A=20.0, dose_per_tilt_e_per_A2=5.0, defocus_A=2e4,
    defocus_sd_A=2000.0, defocus_tilt_sd_A=100.0, astigmatism_A=2500.0, astig_deg=30.0,
    phase_shift_deg=0.0, hand=-1, scale_model="cosine", mean_free_path_A=3000.0)
XYZ_A = np.array([157.3, -121.9, 563.1])
R_P2T = Rotation.from_euler("zyx", [33, -50, 12], degrees=True).as_matrix()


@pytest.fixture(scope="module")
def geometry():
    return planned_series("TS_1", PLAN, stream(1, "TS_1"))


@pytest.fixture(scope="module")
def phantom():
    return chiral_phantom(60.0, detail_A=3.0)


@pytest.fixture(scope="module")
def images(geometry, phantom):
    objects = [Objects(phantom, R_P2T[None], XYZ_A[None])]
    return [render_tilt(objects, geometry, i) for i in range(geometry.n_tilts)]


@pytest.fixture(scope="module")
def reference(phantom):
    plans = FftPlans(effort="estimate")
    truth = phantom.truth_map(N, PIXEL_A)
    return plans, prepare_gather(plans.rfft3(truth), plans, 2.0)


def program_series(g):
    P = projection_from_angles(g.x_tilt_deg, g.tilt_deg, g.axis_deg, g.shift_A,
                               g.tomogram_size_px, g.pixel_A)
    return TiltSeries(g.name, g.pixel_A, g.optics, P, g.pre_dose_e_per_A2, g.defocus_u_A,
                      g.defocus_v_A, g.astig_deg, g.phase_shift_deg, g.scale, g.b_factor_A2,
                      g.hand, tomogram_size_px=g.tomogram_size_px, image_size_px=g.image_size_px)


def agreement(ts, images, reference, R=R_P2T, xyz_A=XYZ_A, sign=1.0, moved_px=0.0):
    """Correlation of prediction and simulated patches over all tilts."""
    plans, volume = reference
    axes = (ts.rotation @ R)[:, :2]
    predicted = gather_slices(volume, np.ascontiguousarray(axes), N, N // 2 - 1)
    ctf = ctf_images(ctf_coefficients(ts, xyz_A), N, PIXEL_A)
    s = np.hypot(np.fft.fftfreq(N, PIXEL_A)[:, None], np.fft.rfftfreq(N, PIXEL_A))
    found, expected = [], []
    for i, at in enumerate(ts.position_px(xyz_A)):
        whole = np.round(at).astype(int)
        x0, y0 = whole - N // 2
        patch = -sign * images[i][y0:y0 + N, x0:x0 + N]
        rest = at - whole + moved_px
        phase = np.exp(-2j * np.pi / N * (np.fft.fftfreq(N, 1 / N)[:, None] * rest[1]
                                          + np.arange(N // 2 + 1) * rest[0]))
        factor = ts.ctf_scale[i] * program_dose_damping(ts.pre_dose_e_per_A2[i], s)
        found.append(plans.rfft2(patch).astype(complex))
        expected.append(predicted[i] * ctf[i] * phase * factor)
    a, b = np.array(found), np.array(expected)
    coarse = s < 1 / LEAST_FINE_A
    a[:, coarse] = b[:, coarse] = 0
    return float(np.vdot(b, a).real / np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real))


def test_simulated_patches_are_what_the_program_predicts(geometry, images, reference):
    # what is left is trilinear interpolation and contrast delocalised out of the patch
    assert agreement(program_series(geometry), images, reference) > 0.999


def test_amplitude_of_the_patches_is_absolute(geometry, images, reference):
    ts = program_series(geometry)
    plans, volume = reference
    i = geometry.n_tilts // 2
    at = np.round(ts.position_px(XYZ_A)[i]).astype(int)
    patch = images[i][at[1] - N // 2:at[1] + N // 2, at[0] - N // 2:at[0] + N // 2]
    ctf = ctf_images(ctf_coefficients(ts, XYZ_A), N, PIXEL_A)[i]
    slice_rft = gather_slices(volume, np.ascontiguousarray((ts.rotation @ R_P2T)[i:i + 1, :2]),
                              N, N // 2 - 1)[0]
    ring = np.zeros_like(ctf, bool)
    ring[1:10, 1:10] = True
    ratio = np.linalg.norm(plans.rfft2(patch)[ring]) / np.linalg.norm((slice_rft * ctf)[ring])
    assert ratio == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("name", "most"), [
    ("wrong hand", 0.98), ("wrong CTF sign", -0.99), ("half a pixel", 0.8),
    ("mirrored axis", 0.2), ("inverted tilt", 0.7), ("dose in table order", 0.985),
    ("transposed orientation", 0.2), ("mirrored particle", 0.2), ("astigmatism across", 0.95),
    ("centre at (n - 1) / 2", 0.8), ("x and y of the shift exchanged", 0.2)])
def test_planted_error_lowers_the_agreement(geometry, images, reference, name, most):
    ts = program_series(geometry)
    g = geometry
    planted = {
        "wrong hand": lambda: agreement(replace(ts, hand=1), images, reference),
        "wrong CTF sign": lambda: agreement(ts, images, reference, sign=-1.0),
        "half a pixel": lambda: agreement(ts, images, reference, moved_px=0.5),
        "mirrored axis": lambda: agreement(
            program_series(replace(g, axis_deg=-g.axis_deg)), images, reference),
        "inverted tilt": lambda: agreement(
            program_series(replace(g, tilt_deg=-g.tilt_deg)), images, reference),
        "dose in table order": lambda: agreement(
            replace(ts, pre_dose_e_per_A2=5.0 * np.arange(g.n_tilts)), images, reference),
        "transposed orientation": lambda: agreement(ts, images, reference, R=R_P2T.T),
        "mirrored particle": lambda: agreement(
            ts, images, reference, R=R_P2T @ np.diag([1.0, 1.0, -1.0])),
        "astigmatism across": lambda: agreement(
            replace(ts, astig_deg=-ts.astig_deg), images, reference),
        "centre at (n - 1) / 2": lambda: agreement(
            ts, images, reference, xyz_A=XYZ_A - 0.5 * PIXEL_A),
        "x and y of the shift exchanged": lambda: agreement(
            program_series(replace(g, shift_A=g.shift_A[:, ::-1])), images, reference),
    }
    assert planted[name]() < most


def test_two_ctf_formulas_agree_everywhere():
    optics = Optics(200.0, 2.26, 0.08)
    n, pixel_A = 96, 2.0
    P = np.repeat(np.eye(3, 4)[None], 1, axis=0)
    one = np.ones(1)
    ts = TiltSeries("a", pixel_A, optics, P, 0 * one, 21000 * one, 17000 * one, 35 * one,
                    20 * one, one, 0 * one)
    program = ctf_images(ctf_coefficients(ts, np.zeros(3)), n, pixel_A)[0]
    own = transfer(np.fft.rfftfreq(n, pixel_A)[None, :], np.fft.fftfreq(n, pixel_A)[:, None],
                   21000, 17000, 35, voltage_kV=200, cs_mm=2.26, amp_contrast=0.08,
                   phase_shift_deg=20)
    # 3e-7 relative difference of the wavelengths' constants, times some hundred radians
    keep = np.abs(np.fft.fftfreq(n)) < 0.5
    assert np.abs(program - own)[keep, :-1].max() < 2e-3


@pytest.mark.parametrize("b_factor", [0.0, 3.0])
def test_two_dose_formulas_agree(b_factor):
    s = np.linspace(0.001, 0.4, 50)
    assert dose_damping(s, 40.0, b_factor) == pytest.approx(
        program_dose_damping(40.0, s, b_factor), rel=1e-6)
    assert dose_damping(s, -1.0, 0.0, 80.0) == pytest.approx(
        program_dose_damping(-1.0, s, 0.0, 80.0), rel=1e-6)
