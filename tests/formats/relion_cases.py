"""Small RELION projects made for tests, and an independent form of RELION's projection.

`RELION_TS_54` holds three tilts of series 220728_TS_54 of the test project in RELION's own
repository (tomography_python_programs, EMPIAR-10164 at 1.35 Å, tomogram 4000 x 4000 x 3000, images
3710 x 3838), as RELION wrote them: YTilt, ZRot, shifts in Å, and the rows X, Y, Z of the matrix.
"""

import os

import numpy as np

from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable, format_vectors

RELION_TS_54 = [
    ((-28.72, 85.080386, -7.41519, -83.03108),
     [[0.0752079909241, -0.99631601572, -0.0412093002132, 3753.53726436],
      [0.873747682125, 0.0857580825686, -0.478759372519, 656.623023466],
      [0.480529636145, 0, 0.876978456974, -2276.52695775]]),
    ((30.0 - 28.72, 85.167792, -10.00066, -30.34646),
     [[0.0842169451646, -0.996445655823, 0.00188173751774, 3669.22691504],
      [0.996197037607, 0.0842379629612, 0.0222589567582, -297.737294791],
      [-0.0223383549601, 0, 0.999750494957, -1454.94903252]]),
    ((-55.72, 84.939535, -18.47557, -121.26498),
     [[0.0496814917501, -0.996102154255, -0.0728849801203, 3843.48318408],
      [0.56104225354, 0.0882069766521, -0.823074188303, 1765.28691022],
      [0.826294958591, 0, 0.563237667084, -2497.44641781]])]
TS_54_SIZE = (4000, 4000, 3000)
TS_54_IMAGE = (3710, 3838)
TS_54_PIXEL_A = 1.35


def global_table(names=("TS_01",), size=(400, 300, 200), pixel_A=2.0, **columns):
    """A global table; extra columns by label."""
    n = len(names)
    table = StarTable("global", {
        "rlnTomoName": list(names), "rlnVoltage": [300.0] * n, "rlnSphericalAberration": [2.7] * n,
        "rlnAmplitudeContrast": [0.1] * n, "rlnTomoTiltSeriesPixelSize": [pixel_A] * n,
        "rlnTomoHand": [-1.0] * n,
        "rlnTomoTiltSeriesStarFile": [f"tilt_series/{name}.star" for name in names]})
    if size is not None:
        for label, value in zip(("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"), size,
                                strict=True):
            table[label] = [value] * n
    for label, values in columns.items():
        table[label] = values
    return table


def tilt_table(name="TS_01", n=3, angles=None, **columns):
    """A tilt table; `angles` is (n, 5): x tilt, y tilt, z rot [degrees], shifts [Å]."""
    rng = np.random.default_rng(sum(name.encode()))
    if angles is None:
        angles = np.column_stack([rng.uniform(-2, 2, n), np.linspace(-50, 50, n),
                                  rng.uniform(80, 90, n), rng.uniform(-30, 30, (n, 2))])
    n = len(angles)
    table = StarTable(name, {
        "rlnMicrographName": [f"frames/{name}_{i}.mrc" for i in range(n)],
        "rlnMicrographPreExposure": 3.0 * np.arange(n), "rlnDefocusU": 30000.0 + 10 * np.arange(n),
        "rlnDefocusV": 29000.0 + 10 * np.arange(n), "rlnDefocusAngle": 5.0 * np.arange(n)})
    for label, values in zip(("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst",
                              "rlnTomoYShiftAngst"), np.asarray(angles).T, strict=True):
        table[label] = np.round(values, 6)
    for label, values in columns.items():
        table[label] = values
    return table


def write_project(folder, table, tilts):
    """Write a RELION 5 project; the path of its tomograms.star."""
    for tilt in tilts:
        write_star(folder / "tilt_series" / f"{tilt.name}.star", [tilt])
    write_star(folder / "tomograms.star", [table])
    return folder / "tomograms.star"


def write_relion4(path, table, tilts, matrices):
    """All tables in one file, with rlnTomoProjX..W instead of angles."""
    tables = [table]
    for tilt, matrix in zip(tilts, matrices, strict=True):
        plain = tilt.copy()
        plain.drop("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst",
                   "rlnTomoYShiftAngst", "rlnMicrographName")
        for i, label in enumerate(("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ",
                                   "rlnTomoProjW")):
            plain[label] = format_vectors(matrix[:, i])
        tables.append(plain)
    write_star(path, tables)
    return path


def sparse_mrc(path, shape_zyx, pixel_A):
    """An MRC file of zeros that takes no space on disk."""
    from sta_mpi.formats.mrc_header import make_header
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(make_header(shape_zyx, 12, pixel_A, False, (0, 0, 0, 0)))
        os.truncate(path, 1024 + 2 * int(np.prod(shape_zyx)))
    return path


def rotation(axis, degrees):
    """Active right-handed rotation about x, y or z, written out element by element."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def relion_projection(angles, size, image, pixel_A):
    """RELION's 4x4 matrix of one tilt: T(c_img) T(shift) Rz Ry Rx T(-c_tomo), integer halves."""
    x, y, z, shift_x, shift_y = angles

    def translation(vector):
        matrix = np.eye(4)
        matrix[:3, 3] = vector
        return matrix

    turn = np.eye(4)
    turn[:3, :3] = rotation("z", z) @ rotation("y", y) @ rotation("x", x)
    return (translation([image[0] // 2, image[1] // 2, 0])
            @ translation([shift_x / pixel_A, shift_y / pixel_A, 0]) @ turn
            @ translation([-(s // 2) for s in size]))


def relion_matrix(rot, tilt, psi):
    """RELION's Euler matrix A = Rz(psi)^T Ry(tilt)^T Rz(rot)^T."""
    return rotation("z", psi).T @ rotation("y", tilt).T @ rotation("z", rot).T
