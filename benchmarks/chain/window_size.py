"""What a larger window around particles is worth: FSC with the truth for several windows.

The last row has the largest window for the first tilts alone, and smaller ones as the dose grows.

    OMP_NUM_THREADS=1 python benchmarks/chain/window_size.py [NOISE_SD]

One phantom, 3 series of 41 tilts, 48 particles, box 40 px of 4 Å, 3 µm defocus; simulated
and averaged in this process. The table is that of docs/decisions/0008.
"""

import sys

import numpy as np

from sta_mpi.align.observe import Frame, SeriesObserver
from sta_mpi.align.reconstruct import divide_plane, plane_shell_sums, shell_mean
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.jobs.window_size import window_edges_px
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.noise import noise_spectrum
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.image import Objects, render_tilt
from sta_mpi.simulate.noise import noise_image, stream
from sta_mpi.simulate.series import SeriesPlan, planned_series

BOX, GRID, PIXEL_A = 40, 80, 4.0
WINDOWS = (40, 60, 80, 120)
N_SERIES, N_PARTICLES = 3, 16
PHANTOM = chiral_phantom(60.0, 3.0)
PLANS = FftPlans(effort="estimate")


def make_series(noise_sd):
    """Tilt series, true poses and noisy images."""
    plan = SeriesPlan(
        PIXEL_A, Optics(300.0, 2.7, 0.07), (200, 200, 760), (760, 760), (-60, 60, 3.0),
        "dose-symmetric", 2, 85.0, 0.0, 8.0, 3.0, 30000.0, 2000.0, 300.0, 1500.0, 35.0, 0.0, -1,
        "cosine", 3000.0)
    for i in range(N_SERIES):
        rng = stream(7, "world", i)
        g = planned_series(f"TS_{i}", plan, rng)
        xyz_A = rng.uniform(-1, 1, (N_PARTICLES, 3)) * np.array([300.0, 300.0, 1350.0])
        R_p2t = random_rotations(N_PARTICLES, rng)
        images = []
        for tilt in range(g.n_tilts):
            signal = render_tilt([Objects(PHANTOM, R_p2t, xyz_A)], g, tilt)
            noise = noise_image(signal.shape, noise_sd, rng, colour=3.0)
            images.append(np.asarray(signal + noise, np.float32))
        P = projection_from_angles(g.x_tilt_deg, g.tilt_deg, g.axis_deg, g.shift_A,
                                   g.tomogram_size_px, g.pixel_A)
        yield TiltSeries(
            g.name, g.pixel_A, g.optics, P, g.pre_dose_e_per_A2, g.defocus_u_A, g.defocus_v_A,
            g.astig_deg, g.phase_shift_deg, g.scale, g.b_factor_A2, g.hand, g.defocus_slope,
            g.b_factor_per_dose_A2, g.tomogram_size_px, g.image_size_px), xyz_A, R_p2t, images


def average(world, window_px, is_by_dose=False):
    """Map of all particles at their true poses."""
    sums = np.zeros((GRID, GRID, GRID // 2 + 1, 4), np.float32)
    for series, xyz_A, R_p2t, images in world:
        mean = np.array([image.mean(dtype=float) for image in images])
        sd = np.array([image.std(dtype=float) for image in images])
        noise = np.stack([noise_spectrum(((image - m) / s).astype(np.float32), 128)
                          for image, m, s in zip(images, mean, sd, strict=True)])
        observer = SeriesObserver(series, mean, sd, noise, Frame(BOX, window_px, 1, PIXEL_A),
                                  Weighting(), PLANS, window_edges_px(
                                      BOX, window_px, PIXEL_A, series, is_by_dose))
        for xyz, R in zip(xyz_A, R_p2t, strict=True):
            tilts = observer.visible_tilts(xyz)
            observer.observe(images, xyz, tilts, "p").samples(GRID).insert(sums, GRID, R)
    num, den = sums[..., 0] + 1j * sums[..., 1], sums[..., 2].astype(float)
    mean_den = shell_mean(sum(plane_shell_sums(den[z], GRID, z) for z in range(GRID)))
    rft = np.stack([divide_plane(num[z], den[z], GRID, z, mean_den, None) for z in range(GRID)])
    inside = slice(GRID // 2 - BOX // 2, GRID // 2 + BOX // 2)
    return correct_gridding(PLANS.irfft3(rft)[inside, inside, inside], GRID / BOX)


def main(noise_sd):
    """Print mean FSC with the truth in three bands, as Markdown."""
    world = list(make_series(noise_sd))
    truth = PHANTOM.truth_map(BOX, PIXEL_A)
    print("| window [px] | shells 2-7 | 8-12 | 13-19 of 20 |\n| --- | --- | --- | --- |")
    for window, is_by_dose in [*((w, False) for w in WINDOWS), (WINDOWS[-1], True)]:
        curve = fsc(average(world, window, is_by_dose), truth)
        name = f"{window}, by dose" if is_by_dose else f"{window}"
        print(f"| {name} | {curve[2:8].mean():.3f} | {curve[8:13].mean():.3f} "
              f"| {curve[13:20].mean():.3f} |")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.4)
