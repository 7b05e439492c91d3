"""Windows that hold what the CTF delocalises, as far as the dose has left it."""

import numpy as np
import pytest

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.jobs.window_size import DAMPED, cut_size_px, window_edges_px

BOX, VOXEL_A, DEFOCUS_A = 192, 1.35, 35000.0


def series(pre_dose) -> TiltSeries:
    """Tilts of one defocus before which the sample has taken these doses."""
    dose = np.asarray(pre_dose, float)
    zero = np.zeros(len(dose))
    P = projection_from_angles(zero, zero, zero, np.zeros((len(dose), 2)), (99, 99, 99), VOXEL_A)
    return TiltSeries(
        "TS_01", VOXEL_A, Optics(300.0, 2.7, 0.1), P, pre_dose_e_per_A2=dose,
        defocus_u_A=zero + DEFOCUS_A, defocus_v_A=zero + DEFOCUS_A, astig_deg=zero,
        phase_shift_deg=zero, ctf_scale=zero + 1.0, ctf_b_factor_A2=zero)


def power_left(s_per_A, dose):
    """Grant and Grigorieff (2015): their critical exposure, amplitudes squared."""
    return np.exp(-dose / (0.24499 * s_per_A**-1.6649 + 2.8141))


def test_window_holds_the_spread_of_every_frequency_that_the_dose_has_left():
    dose = 3.0 * np.arange(41)
    ts = series(dose)
    cut = cut_size_px(BOX, VOXEL_A, [ts])
    edges = window_edges_px(BOX, cut, VOXEL_A, ts, True)
    s = np.linspace(1e-3, 0.5 / VOXEL_A, 2000)
    spread_px = 0.0196875 * DEFOCUS_A * s / VOXEL_A      # electrons of 300 kV
    for edge, before in zip(edges, dose, strict=True):
        is_left = power_left(s, before) > 1.05 * DAMPED
        # a Fourier pixel of the window less at most
        assert spread_px[is_left].max() <= (edge - BOX) / 2 * (1 + 2.2 / edge) + 1
    assert edges[0] == cut
    assert (np.diff(edges) <= 0).all()
    assert edges[-1] < 0.7 * cut
    assert len(set(edges.tolist())) <= 3


@pytest.mark.parametrize("dose", [[0.0, 0.0], [np.nan, np.nan]])
def test_tilts_without_a_dose_have_the_whole_window(dose):
    assert window_edges_px(BOX, 576, VOXEL_A, series(dose), True).tolist() == [576, 576]


def test_without_dose_weighting_all_windows_are_whole():
    ts = series([0.0, 120.0])
    assert window_edges_px(BOX, 576, VOXEL_A, ts, False).tolist() == [576, 576]


def test_a_window_is_never_larger_than_the_largest_nor_smaller_than_the_box():
    for cut in (192, 200, 576):
        edges = window_edges_px(BOX, cut, VOXEL_A, series([0.0, 10.0, 500.0]), True)
        assert edges.min() >= BOX
        assert edges.max() <= cut
