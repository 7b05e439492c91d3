"""Tilt images of Gaussian blobs by their own formula: nothing of the program's geometry.

A blob of amplitude a and standard deviation s [px] at p projects to a Gaussian of amplitude
a s sqrt(2 pi), whatever the direction.
"""

import numpy as np

from sta_mpi.data import Optics, TiltSeries

PIXEL_A = 4.0


def rotation(x_deg, y_deg, z_deg):
    """Rz Ry Rx, written out."""
    x, y, z = np.radians([x_deg, y_deg, z_deg])
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return rz @ ry @ rx


def make_series(tilts_deg, axis_deg=85.0, x_tilt_deg=0.0, shifts_px=None, size_px=(96, 96, 48),
                image_px=(96, 96), dose=0.0):
    """A series without CTF in it, and its rotations and shifts [px]."""
    n = len(tilts_deg)
    shifts = np.zeros((n, 2)) if shifts_px is None else np.asarray(shifts_px, float)
    P = np.zeros((n, 3, 4))
    for i, tilt in enumerate(tilts_deg):
        P[i, :, :3] = rotation(x_tilt_deg, tilt, axis_deg)
    P[:, :2, 3] = shifts * PIXEL_A
    zeros = np.zeros(n)
    return TiltSeries(
        "TS", PIXEL_A, Optics(300.0, 2.7, 0.1, "one"), P, np.full(n, dose),
        zeros + 3e4, zeros + 3e4, zeros, zeros, zeros + 1, zeros,
        tomogram_size_px=size_px, image_size_px=image_px)


def project_blobs(series, blobs, image_px):
    """Images (n, h, w) of blobs [(xyz_px from the centre, amplitude, sd_px)], protein dark."""
    width, height = image_px
    y, x = np.mgrid[:height, :width].astype(float)
    images = np.zeros((series.n_tilts, height, width))
    for image, P in zip(images, series.P, strict=True):
        for xyz_px, amplitude, sd in blobs:
            u, v = P[:2, :3] @ np.asarray(xyz_px, float) + P[:2, 3] / PIXEL_A
            d2 = (x - width // 2 - u) ** 2 + (y - height // 2 - v) ** 2
            image -= amplitude * sd * np.sqrt(2 * np.pi) * np.exp(-d2 / (2 * sd**2))
    return images
