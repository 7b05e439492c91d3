"""`convert` run in this process, and its results in RELION's own words."""

import numpy as np
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from sta_mpi.cli.main import cli
from sta_mpi.formats.star import read_star

SIDE, PIXEL_A = 44, 4.0
VOLUME = ("--pixel-A", PIXEL_A, *(w for _ in range(3) for w in ("--tomogram-size-px", SIDE)))


def run(*words, code=0):
    """What the command prints."""
    result = CliRunner().invoke(cli, ["convert", *map(str, words), "--quiet"])
    assert result.exit_code == code, result.output
    return result.output


def centred(folder):
    """(n, 3) centred coordinates [Å]."""
    table = read_star(folder / "particles.star")["particles"]
    return np.stack([table.floats(f"rlnCenteredCoordinate{x}Angst") for x in "XYZ"], 1)


def in_relions_words(path):
    """Array indices and matrices of a RELION 5 particle file, by RELION's documentation."""
    table = read_star(path)["particles"]

    def columns(*labels):
        return np.stack([table.floats(label, 0.0) for label in labels], 1)
    A = Rotation.from_euler("ZYZ", columns("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
                            degrees=True).inv().as_matrix()
    centred = columns(*(f"rlnCenteredCoordinate{x}Angst" for x in "XYZ"))
    origin = columns(*(f"rlnOrigin{x}Angst" for x in "XYZ"))
    return (centred - origin) / PIXEL_A + SIDE / 2, A
