"""Particle tables made for tests, and the tomograms that they belong to."""

import numpy as np

from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable

SIZE, PIXEL_A = (400, 300, 200), 2.0
BOX = (("rlnTomoSubtomogramRot", 25.0), ("rlnTomoSubtomogramTilt", 70.0),
       ("rlnTomoSubtomogramPsi", -140.0))
PART = (("rlnAngleRot", -33.0), ("rlnAngleTilt", 12.0), ("rlnAnglePsi", 101.0))
ORIGIN = (("rlnOriginXAngst", 3.0), ("rlnOriginYAngst", -5.0), ("rlnOriginZAngst", 7.0))
CENTRED = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst",
           "rlnCenteredCoordinateZAngst")


def optics_table(**columns):
    base = {"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["optics1"], "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
            "rlnTomoTiltSeriesPixelSize": [PIXEL_A]}
    return StarTable("optics", {**base, **columns})


def particle_rows(n=4, **columns):
    rng = np.random.default_rng(n)
    base = {"rlnTomoName": [f"TS_0{1 + i % 2}" for i in range(n)],
            "rlnTomoParticleName": [f"TS_0{1 + i % 2}/{i + 1}" for i in range(n)],
            "rlnOpticsGroup": [1] * n}
    base |= {label: np.round(rng.uniform(-90, 90, n), 4) for label in CENTRED}
    for label, _ in (*BOX, *PART):
        base[label] = np.round(rng.uniform(0, 150, n), 4)
    base |= {label: np.round(rng.uniform(-9, 9, n), 4) for label, _ in ORIGIN}
    return StarTable("particles", {**base, **columns})


def save(path, *tables):
    write_star(path, tables)
    return path
