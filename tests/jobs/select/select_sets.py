"""Small particle sets for the tests of `select`, and the command in this process."""

import numpy as np
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable

PIXEL_A = 2.0


def save_project(folder, n=40, seed=0, names=("TS_1", "TS_2")):
    """Tomograms and particles of `folder`; returns the particle table."""
    tilts = {name: StarTable(name, {
        "rlnTomoXTilt": [0.0] * 3, "rlnTomoYTilt": [-40.0, 0.0, 40.0], "rlnTomoZRot": [85.0] * 3,
        "rlnTomoXShiftAngst": [0.0] * 3, "rlnTomoYShiftAngst": [0.0] * 3,
        "rlnMicrographPreExposure": [3.0, 0.0, 6.0], "rlnDefocusU": [30000.0] * 3,
        "rlnDefocusV": [29000.0] * 3, "rlnDefocusAngle": [10.0] * 3}) for name in names}
    for name, table in tilts.items():
        write_star(folder / f"tilt_series/{name}.star", [table])
    m = len(names)
    write_star(folder / "tomograms.star", [StarTable("global", {
        "rlnTomoName": list(names), "rlnVoltage": [300.0] * m, "rlnSphericalAberration": [2.7] * m,
        "rlnAmplitudeContrast": [0.1] * m, "rlnTomoTiltSeriesPixelSize": [PIXEL_A] * m,
        "rlnTomoHand": [-1.0] * m, "rlnTomoSizeX": [400] * m, "rlnTomoSizeY": [400] * m,
        "rlnTomoSizeZ": [200] * m,
        "rlnTomoTiltSeriesStarFile": [f"tilt_series/{name}.star" for name in names]})])
    rng = np.random.default_rng(seed)
    columns = {"rlnTomoName": [names[i % m] for i in range(n)],
               "rlnTomoParticleName": [f"{names[i % m]}/{i + 1}" for i in range(n)]}
    for axis in "XYZ":
        columns[f"rlnCenteredCoordinate{axis}Angst"] = np.round(rng.uniform(-180, 180, n), 4)
    for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"):
        columns[label] = np.round(rng.uniform(0, 180, n), 4)
    columns["rlnClassNumber"] = np.arange(n) % 4 + 1
    columns["rlnRandomSubset"] = np.arange(n) // 2 % 2 + 1
    columns["rlnMaxValueProbDistribution"] = np.round(rng.uniform(0.1, 0.9, n), 6)
    table = StarTable("particles", columns)
    write_star(folder / "particles.star", [table])
    return table


def run(*words, code=0):
    result = CliRunner().invoke(cli, ["select", "--quiet", *map(str, words)])
    assert result.exit_code == code, result.output
    return result
