"""Figures of masks, resolution and local resolution: pictures for usual, empty and odd input."""

import io

import numpy as np
import pytest
from PIL import Image

from sta_mpi.report.figures import local_resolution, masks, resolution

RNG = np.random.default_rng(3)
VOLUME = RNG.normal(size=(24, 24, 24)).astype(np.float32)
BALL = (sum((np.indices((24, 24, 24)) - 12.0) ** 2) < 49).astype(np.float32)
CURVES = np.linspace(1, 0, 13) + 0.1 * RNG.normal(size=(30, 13))
AXES = np.abs(RNG.normal(size=(30, 3)))
AXES /= np.linalg.norm(AXES, axis=1, keepdims=True)
S2 = (np.arange(13) / 96.0) ** 2
NAN_CURVES = np.full((4, 13), np.nan)

CASES = {
    "mask": lambda: masks.mask_outline(VOLUME, BALL, 4.0),
    "mask-alone": lambda: masks.mask_outline(None, BALL, 4.0),
    "mask-empty": lambda: masks.mask_outline(VOLUME, 0 * BALL, 4.0),
    "mask-full": lambda: masks.mask_outline(VOLUME, 0 * BALL + 1, 4.0),
    "mask-slab": lambda: masks.mask_outline(VOLUME[:1], BALL[:1], 4.0),
    "directions": lambda: resolution.directional_resolution(
        AXES, CURVES, 8 + RNG.random(30), 4.0, 24, CURVES[0]),
    "directions-none": lambda: resolution.directional_resolution(
        AXES, CURVES, np.full(30, np.inf), 4.0, 24),
    "sweep": lambda: resolution.mask_sweep(
        [-2, 0, 4], [9.0, 9.5, 12.0], list(CURVES[:3]), 4.0, 24),
    "sweep-none": lambda: resolution.mask_sweep([], [], [], 4.0, 24),
    "sweep-infinite": lambda: resolution.mask_sweep([0], [np.inf], [CURVES[0]], 4.0, 24),
    "reslog": lambda: resolution.reslog(([10, 20, 40], [20, 15, 12]), ([10, 40], [21, 13]), 40),
    "reslog-none": lambda: resolution.reslog(None),
    "reslog-infinite": lambda: resolution.reslog(([10.0], [np.inf])),
    "guinier": lambda: resolution.guinier_plot(
        S2, {"original": -5 - 90 * S2, "weighted": np.where(S2 > 0.01, -99, -5 - 90 * S2)},
        (-90.0, -5.0, 0.002, 0.01), 9.0),
    "guinier-no-fit": lambda: resolution.guinier_plot(S2, {"original": -5 - 90 * S2}, None, np.inf),
    "local": lambda: local_resolution.resolution_slices(VOLUME, 8 + BALL, BALL, 4.0),
    "local-no-mask": lambda: local_resolution.resolution_slices(VOLUME, 8 + BALL, 0 * BALL, 4.0),
    "histogram": lambda: local_resolution.local_histogram(8 + RNG.random(500), 8.2),
    "histogram-equal": lambda: local_resolution.local_histogram(np.full(5, 8.0), np.inf),
    "histogram-none": lambda: local_resolution.local_histogram(np.zeros(0), 8.2),
    "curves": lambda: local_resolution.local_curves(
        CURVES, CURVES - 0.5, np.full(13, 0.2), 0.143, 24, 4.0),
    "curves-none": lambda: local_resolution.local_curves(
        NAN_CURVES, NAN_CURVES, np.full(13, 0.2), 0.143, 24, 4.0),
}


@pytest.mark.parametrize("name", CASES)
def test_figure_of_maps_is_a_picture_with_something_on_it(name):
    image = np.asarray(Image.open(io.BytesIO(CASES[name]())).convert("RGB"))
    assert 200 < image.shape[0] < 1300
    assert 300 < image.shape[1] < 1300
    assert image.std() > 1
