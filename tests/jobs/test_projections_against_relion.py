"""Projections with CTF against RELION's own `relion_project`, if it is there.

Angles, CTF (astigmatism, phase shift, spherical aberration, amplitude contrast) and origins are
RELION's here: it reads them from a particle file and makes the images by its own code.
"""

import numpy as np
import pytest

from sta_mpi.align.reference import prepare_reference
from sta_mpi.data import Optics
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.kernels.gather import gather_slices
from sta_mpi.signal.ctf import CtfParameters, ctf_images
from sta_mpi.signal.fft import FftPlans, shift_phases
from sta_mpi.signal.filters import b_factor_map
from sta_mpi.signal.masks import soft_sphere

N, PIXEL_A, R_MAX = 64, 2.0, 24.0
PLANS = FftPlans(effort="estimate")
OPTICS = {"voltage_kV": 200.0, "cs_mm": 1.4, "amp_contrast": 0.07}


@pytest.fixture(scope="module")
def projected(relion, tmp_path_factory):
    """(table of the poses and CTFs, RELION's images of them, the map)."""
    folder = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(3)
    detail = b_factor_map(rng.standard_normal((N, N, N)).astype(np.float32), PIXEL_A, 60.0)
    map_ = (detail * soft_sphere(N, 18, 6)).astype(np.float32)
    write_mrc(folder / "map.mrc", map_, PIXEL_A)
    n = 8
    table = {"rlnAngleRot": rng.uniform(-180, 180, n), "rlnAngleTilt": rng.uniform(0, 180, n),
             "rlnAnglePsi": rng.uniform(-180, 180, n),
             "rlnOriginXAngst": rng.uniform(-9, 9, n), "rlnOriginYAngst": rng.uniform(-9, 9, n),
             "rlnDefocusU": rng.uniform(4000, 12000, n), "rlnDefocusV": rng.uniform(4000, 12000, n),
             "rlnDefocusAngle": rng.uniform(0, 180, n), "rlnPhaseShift": rng.uniform(0, 120, n)}
    write_star(folder / "in.star", [
        StarTable("optics", {
            "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnImagePixelSize": [PIXEL_A],
            "rlnImageSize": [N], "rlnImageDimensionality": [2],
            "rlnVoltage": [OPTICS["voltage_kV"]], "rlnSphericalAberration": [OPTICS["cs_mm"]],
            "rlnAmplitudeContrast": [OPTICS["amp_contrast"]]}),
        StarTable("particles", {
            "rlnImageName": text_column(f"{i + 1}@a.mrcs" for i in range(n)),
            "rlnOpticsGroup": np.ones(n, int), **table})])
    relion("relion_project", folder, "--i", "map.mrc", "--o", "out", "--ctf", "--ang", "in.star",
           "--angpix", PIXEL_A, "--pad", 2)
    return table, open_stack(folder / "out.mrcs")[:], map_


def ours(table, map_, **changes):
    """The same images by this program, changed in single columns."""
    t = table | changes
    A = matrix_from_relion_angles(
        np.stack([t["rlnAngleRot"], t["rlnAngleTilt"], t["rlnAnglePsi"]], axis=1))
    slices = gather_slices(prepare_reference(map_, None, R_MAX, PLANS).volume,
                           np.ascontiguousarray(A[:, :2]), N, R_MAX)
    slices = slices * ctf_images(CtfParameters(
        t["rlnDefocusU"], t["rlnDefocusV"], t["rlnDefocusAngle"], t["rlnPhaseShift"],
        Optics(**OPTICS)), N, PIXEL_A)
    origin_px = np.stack([t["rlnOriginXAngst"], t["rlnOriginYAngst"]], axis=1) / PIXEL_A
    return np.stack([s * shift_phases(N, -o) for s, o in zip(slices, origin_px, strict=True)])


def correlations(images, spectra):
    """Of each image, within the band, with what it should be."""
    theirs = PLANS.rfft2(images) * (np.abs(spectra[0]) > 0)
    return np.array([np.vdot(a, b).real / np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real)
                     for a, b in zip(theirs, spectra, strict=True)])


def test_projections_with_ctf_and_origins_are_relions(projected):
    table, images, map_ = projected
    assert correlations(images, ours(table, map_)).min() > 0.995


@pytest.mark.parametrize("change", [
    "swapped defoci", "mirrored astigmatism", "no phase shift", "origin added", "other hand"])
def test_the_comparison_notices_a_wrong_convention(projected, change):
    table, images, map_ = projected
    wrong = {"swapped defoci": {"rlnDefocusU": table["rlnDefocusV"],
                                "rlnDefocusV": table["rlnDefocusU"]},
             "mirrored astigmatism": {"rlnDefocusAngle": -table["rlnDefocusAngle"]},
             "no phase shift": {"rlnPhaseShift": np.zeros(8)},
             "origin added": {"rlnOriginXAngst": -table["rlnOriginXAngst"]},
             "other hand": {"rlnAngleTilt": -table["rlnAngleTilt"]}}[change]
    assert np.median(correlations(images, ours(table, map_, **wrong))) < 0.9
