"""Positions and axes of particles for ChimeraX: markers (`.cmm`) and arrows (`.bild`)."""

import os
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import ArrayLike

from sta_mpi.formats.text_files import write_text


def write_cmm(path: str | os.PathLike[str], name: str, xyz_A: ArrayLike, radius_A: float,
              colours: ArrayLike | None = None) -> None:
    """Write markers.

    Parameters
    ----------
    xyz_A : (n, 3)      positions in the coordinates of the volume they are shown with
    colours : (n, 3)    red, green, blue, 0 to 1
    """
    positions = np.asarray(xyz_A, np.float64).reshape(-1, 3)
    shades = np.full((len(positions), 3), 0.5) if colours is None else np.asarray(colours)
    lines = [f"<marker_set name={quoteattr(name)}>"]
    for i, ((x, y, z), (r, g, b)) in enumerate(zip(positions, shades, strict=True), 1):
        lines.append(f'<marker id="{i}" x="{x:.3f}" y="{y:.3f}" z="{z:.3f}" r="{r:.3f}" '
                     f'g="{g:.3f}" b="{b:.3f}" radius="{radius_A:g}"/>')
    write_text(path, "\n".join([*lines, "</marker_set>"]) + "\n")


def write_bild_arrows(path: str | os.PathLike[str], xyz_A: ArrayLike, axes: ArrayLike,
                      length_A: float, colour: str = "red") -> None:
    """Write an arrow of this length along the axis (n, 3) of every position (n, 3)."""
    starts = np.asarray(xyz_A, np.float64).reshape(-1, 3)
    ends = starts + length_A * np.asarray(axes, np.float64).reshape(-1, 3)
    lines = [f".color {colour}"]
    for a, b in zip(starts, ends, strict=True):
        numbers = " ".join(f"{v:.3f}" for v in (*a, *b))
        lines.append(f".arrow {numbers} {0.05 * length_A:.3f} {0.1 * length_A:.3f}")
    write_text(path, "\n".join(lines) + "\n")
