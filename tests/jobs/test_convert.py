"""`convert`: particles land where each program's documentation puts them, and come back."""

import struct

import numpy as np
import pytest
from convert_case import PIXEL_A, SIDE, VOLUME, in_relions_words, run
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from sta_mpi.formats.imod_model import (
    model_from_points,
    write_imod_model,
)
from sta_mpi.formats.peet_motive_list import HEADER, MotiveList, write_motive_list
from sta_mpi.formats.star import read_star

BOX = 21
ANGLES = np.array([[20.0, 70.0, 40.0], [-110.0, 35.0, 155.0], [75.0, 130.0, -60.0]])
PLACES = np.array([[20.0, 23.0, 22.0], [24.0, 21.0, 20.0], [22.0, 22.0, 25.0]])
SHIFTS = np.array([[0.5, -1.0, 1.5], [-0.75, 0.25, 1.0], [0.0, 2.0, -1.0]])
PEET_AXES = Rotation.from_euler("x", -90, degrees=True).as_matrix()


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Pictures take most of the time."""
    monkeypatch.setattr("sta_mpi.jobs.launch.write_job_page", lambda *_: None)
    monkeypatch.setattr("sta_mpi.jobs.convert._sections", lambda *_: [])


# ---- a chiral object, and what puts it into a tomogram: scipy alone

def blobs(points, side):
    """Gaussian blobs of different weight at points xyz from the centre voxel."""
    grid = np.indices((side,) * 3)[::-1] - side // 2
    return sum((i + 1.0) * np.exp(-0.5 * sum((g - c) ** 2 for g, c in zip(grid, p, strict=True))
                                  / 1.5 ** 2) for i, p in enumerate(points))


CHIRAL = np.array([[0, 0, 6], [5, 0, 0], [0, 3, 0], [-2, -6, -3]], float)
OBJECT = blobs(CHIRAL, BOX)
"""No rotation brings it onto its mirror image."""


def placed(data, R, position):
    """The object turned by R (xyz columns, object to tomogram) at an array index xyz."""
    flip = np.eye(3)[::-1]
    M = flip @ np.asarray(R).T @ flip
    offset = np.full(3, len(data) // 2) - M @ np.asarray(position)[::-1]
    return affine_transform(data, M, offset, (SIDE,) * 3, order=3)


def likeness(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


# ---- one set in the words of every program: file, position and matrix by its documentation

def write_peet(folder):
    angles = ANGLES                       # z1, z3, x2 as the columns stand
    model = model_from_points(PLACES, (SIDE,) * 3, PIXEL_A)
    write_imod_model(folder / "tomo.mod", model)
    rows = [f"0.5,0,0,{i + 1},0,0,0,0,0,0,{s[0]},{s[1]},{s[2]},0,0,0,{a[0]},{a[1]},{a[2]},0"
            for i, (a, s) in enumerate(zip(angles, SHIFTS, strict=True))]
    (folder / "m.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    R = Rotation.from_euler("ZXZ", angles[:, [1, 2, 0]], degrees=True).as_matrix()
    return ["--input", folder / "m.csv", "--model", folder / "tomo.mod"], PLACES + SHIFTS, R


def write_dynamo(folder):
    rows = []
    for i, (a, x, s) in enumerate(zip(ANGLES, PLACES, SHIFTS, strict=True), 1):
        row = [i, 1, 1, *s, *a, 0.5, 0, 0, 1, -60, 60, -60, 60, 0, 0, 7, 0, 0, 0, *(x + 1)]
        rows.append(" ".join(f"{v:g}" for v in row))
    (folder / "t.tbl").write_text("\n".join(rows) + "\n")
    to_reference = Rotation.from_euler("zxz", ANGLES, degrees=True)
    return (["--input", folder / "t.tbl", "--tomogram-name", "7=tomo"], PLACES + SHIFTS,
            to_reference.inv().as_matrix())


def write_em(folder):
    header = bytearray(512)
    header[0], header[3] = 6, 5
    struct.pack_into("<3i", header, 4, 20, 3, 1)
    table = np.zeros((3, 20), "<f4")
    table[:, 4], table[:, 7:10], table[:, 10:13] = 7, PLACES + 1, SHIFTS
    table[:, [16, 18, 17]] = ANGLES       # phi, theta, psi
    (folder / "m.em").write_bytes(bytes(header) + table.tobytes())
    return (["--input", folder / "m.em", "--tomogram-name", "7=tomo"], PLACES + SHIFTS,
            Rotation.from_euler("zxz", ANGLES, degrees=True).as_matrix())


def write_stopgap(folder):
    labels = ["motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "orig_x", "orig_y",
              "orig_z", "score", "x_shift", "y_shift", "z_shift", "phi", "psi", "the", "class"]
    rows = [f"{i} 7 1 {i} B {' '.join(map(str, x + 1))} 0.5 {' '.join(map(str, s))} "
            f"{a[0]} {a[2]} {a[1]} 4" for i, (a, x, s) in
            enumerate(zip(ANGLES, PLACES, SHIFTS, strict=True), 1)]
    (folder / "s.star").write_text("data_stopgap_motivelist\n\nloop_\n" + "".join(
        f"_{label}\n" for label in labels) + "\n" + "\n".join(rows) + "\n")
    return (["--input", folder / "s.star", "--tomogram-name", "7=tomo"], PLACES + SHIFTS,
            Rotation.from_euler("zxz", ANGLES, degrees=True).as_matrix())


def write_relion_3(folder):
    labels = [*(f"rlnCoordinate{x}" for x in "XYZ"), *(f"rlnOrigin{x}Angst" for x in "XYZ"),
              "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnMicrographName", "rlnPixelSize"]
    rows = [" ".join(map(str, [*x, *(-PIXEL_A * s), *a, "some/where/tomo.mrc", PIXEL_A]))
            for a, x, s in zip(ANGLES, PLACES, SHIFTS, strict=True)]
    (folder / "r.star").write_text("data_\n\nloop_\n" + "".join(
        f"_{label} #{i}\n" for i, label in enumerate(labels, 1)) + "\n".join(rows) + "\n")
    return (["--input", folder / "r.star"], PLACES + SHIFTS,
            Rotation.from_euler("ZYZ", ANGLES, degrees=True).inv().as_matrix())


WRITERS = {"peet": write_peet, "dynamo": write_dynamo, "em": write_em, "stopgap": write_stopgap,
           "relion 3": write_relion_3}


@pytest.mark.parametrize("program", WRITERS)
def test_chiral_object_lands_at_its_voxel_and_turn_after_conversion_to_relion(tmp_path, program):
    words, position, R = WRITERS[program](tmp_path)
    data = OBJECT
    if program == "peet":                 # the same object with its axis along y
        data = blobs(CHIRAL @ PEET_AXES.T, BOX)
    run(*words, *VOLUME, "--to", "relion", "-o", tmp_path / "out")
    index, A = in_relions_words(tmp_path / "out/particles.star")
    # coordinates have 6 decimals of an Å
    assert np.abs(index - position).max() < 1e-6
    for i in range(len(R)):
        there, here = placed(data, R[i], position[i]), placed(OBJECT, A[i], index[i])
        assert np.unravel_index(there.argmax(), there.shape) == \
            np.unravel_index(here.argmax(), here.shape)
        # PEET's object is drawn on another grid: interpolation alone
        assert likeness(there, here) > 0.999
        assert likeness(there, placed(OBJECT, A[i].T, index[i])) < 0.9
        assert likeness(there, placed(OBJECT[::-1], A[i], index[i])) < 0.9


@pytest.mark.parametrize("program", ["peet", "dynamo", "em", "stopgap"])
def test_set_of_relion_comes_back_from_every_program(tmp_path, program):
    words, position, R = write_relion_3(tmp_path)
    run(*words, *VOLUME, "--to", "relion", "-o", tmp_path / "first")
    run("--optimisation-set", tmp_path / "first/optimisation_set.star", "--to", program,
        "--name", "x", "-o", tmp_path / "there")
    file = {"peet": "x.prm", "dynamo": "x.tbl", "em": "x.em", "stopgap": "x.star"}[program]
    names = () if program == "peet" else ("--tomogram-list", tmp_path / "there/tomograms.doc")
    run("--input", tmp_path / "there" / file, *names, *VOLUME, "--to", "relion",
        "-o", tmp_path / "back")
    index, A = in_relions_words(tmp_path / "back/particles.star")
    assert np.abs(index - position).max() < 2e-6
    assert np.abs(A - R).max() < 1e-6
    offsets = read_star(tmp_path / "back/particles.star")["particles"]
    assert np.allclose(offsets.floats("rlnOriginXAngst"), -PIXEL_A * SHIFTS[:, 0], atol=1e-5)


def test_10000_poses_of_peet_are_relions_by_the_formula(tmp_path):
    R = Rotation.random(10000, random_state=5)
    z3, x2, z1 = R.as_euler("ZXZ", degrees=True).T
    motives = MotiveList.fresh(10000)
    motives.euler_z1_x2_z3_deg = np.stack([z1, x2, z3], 1)
    write_motive_list(tmp_path / "m.csv", motives)
    write_imod_model(tmp_path / "tomo.mod", model_from_points(
        np.zeros((10000, 3)), (SIDE,) * 3, PIXEL_A))
    words = ["--input", tmp_path / "m.csv", "--model", tmp_path / "tomo.mod", *VOLUME,
             "--to", "relion"]
    run(*words, "--peet-axis", "z", "-o", tmp_path / "z")
    table = read_star(tmp_path / "z/particles.star")["particles"]
    for label, expected in (("rlnAngleRot", 90 - z1), ("rlnAngleTilt", x2),
                            ("rlnAnglePsi", 270 - z3)):
        wrong = (table.floats(label) - expected + 180) % 360 - 180
        # five decimals for negative angles, six for the others
        assert 0 < np.abs(wrong).max() < 2e-5
    run(*words, "-o", tmp_path / "y")
    A = in_relions_words(tmp_path / "y/particles.star")[1]
    expected = R.as_matrix() @ PEET_AXES
    z3, x2, z1 = Rotation.from_matrix(expected).as_euler("ZXZ", degrees=True).T
    by_formula = Rotation.from_euler("ZYZ", np.stack([90 - z1, x2, 270 - z3], 1), degrees=True)
    assert np.abs(by_formula.inv().as_matrix() - expected).max() < 1e-12
    assert 0 < np.abs(A - expected).max() < 1e-6
    assert np.allclose(A[:, :, 2], R.apply([0.0, 1.0, 0.0]), atol=1e-6)
