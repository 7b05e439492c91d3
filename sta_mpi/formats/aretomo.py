"""AreTomo's alignment of a tilt series (`.aln`).

A row is section, tilt-axis angle, magnification, shift x and y [px of the stack], four numbers that
do not matter here, and tilt angle. Frames that AreTomo took for dark have no row; they are listed
as `# DarkFrame = number section angle`. Rows after `# Local Alignment` describe the local motion of
patches, which a rigid tilt cannot hold: they are counted, so that it can be told.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.number_table import PathLike, numbers_of, read_text

Floats = NDArray[np.float64]

_WHAT = "an AreTomo alignment (.aln)"
_COLUMNS = 10
_LARGEST_SECTION = 1_000_000


@dataclass(frozen=True)
class AreTomoAlignment:
    """Global alignment of the images that were kept.

    Parameters
    ----------
    image_size_px : (2,) int             of the stack that was aligned
    n_images : int                       of that stack, dark ones included
    section : (n,) int64                 SEC, as written
    axis_deg, magnification, tilt_deg : (n,)
    shift_px : (n, 2)                    TX, TY
    dark_tilt_deg : (m,)                 tilt angles of the dark frames
    n_local : int                        rows of local alignment, not used
    alpha_offset_deg, beta_offset_deg : float    offsets that AreTomo found
    """

    image_size_px: tuple[int, int]
    n_images: int
    section: NDArray[np.int64]
    axis_deg: Floats
    magnification: Floats
    shift_px: Floats
    tilt_deg: Floats
    dark_tilt_deg: Floats
    n_local: int = 0
    alpha_offset_deg: float = 0.0
    beta_offset_deg: float = 0.0

    def __len__(self) -> int:
        return len(self.section)


def read_aln(path: PathLike) -> AreTomoAlignment:
    """Read an `.aln` file.

    Raises
    ------
    InputError     missing, or without rows
    FormatError    not an AreTomo file, wrong numbers of columns, NaN, repeated sections
    """
    source = os.fspath(path)
    lines = [line.strip() for line in read_text(path, _WHAT).split("\n")]
    if not lines[0].lower().startswith("# aretomo"):
        raise FormatError(f"{source}: starts with {lines[0][:40]!r}, expected '# AreTomo "
                          "Alignment'. Check that this is the right file.")
    heads = _heads(lines)
    rows, n_local = _rows(lines, source)
    if not rows:
        raise InputError(f"{source}: no rows, expected {_WHAT}. Repeat the alignment.")
    table = np.array(rows)
    size = numbers_of(heads.get("RawSize", [""])[0].split(), f"{source} RawSize", _WHAT, 3)
    section = np.clip(np.round(table[:, 0]), -_LARGEST_SECTION, _LARGEST_SECTION).astype(np.int64)
    if len(set(section.tolist())) < len(section) or (section != table[:, 0]).any():
        raise FormatError(f"{source}: sections (SEC) are repeated or no whole numbers. The file "
                          "is damaged.")
    dark = [numbers_of(text.split(), f"{source} DarkFrame", _WHAT, 3)[2]
            for text in heads.get("DarkFrame", [])]
    return AreTomoAlignment(
        (int(size[0]), int(size[1])), int(size[2]), section, table[:, 1], table[:, 2],
        table[:, 3:5], table[:, 9], np.array(dark, np.float64), n_local,
        _head_number(heads, "AlphaOffset", source), _head_number(heads, "BetaOffset", source))


def sections_of_stack(alignment: AreTomoAlignment, n_images: int, path: PathLike,
                      first: int | None = None) -> NDArray[np.intp]:
    """0-based indices in the stack of the rows.

    SEC counts from 0 in some versions of AreTomo and from 1 in others; where the numbers do not
    tell which, the caller must.

    Parameters
    ----------
    alignment : AreTomoAlignment
    n_images : int        of the stack
    path : its file       for messages
    first : int or None   number of the first section, 0 or 1, where it is known

    Raises
    ------
    InputError    rows beyond the stack, or numbers that fit both countings
    """
    source = os.fspath(path)
    low, high = int(alignment.section.min()), int(alignment.section.max())
    if alignment.n_images != n_images:
        raise InputError(f"{source}: made of a stack of {alignment.n_images} images, this one has "
                         f"{n_images}. Give the stack that AreTomo aligned.")
    if first is None and low != 0 and high != n_images:
        raise InputError(f"{source}: sections {low} to {high} of a stack of {n_images} fit a count "
                         "from 0 and from 1. Say which with --first-section.")
    base = first if first is not None else (0 if low == 0 else 1)
    if low - base < 0 or high - base >= n_images:
        raise InputError(f"{source}: sections {low} to {high} counted from {base} do not lie in a "
                         f"stack of {n_images} images. Give the stack that AreTomo aligned.")
    return (alignment.section - base).astype(np.intp)


def _heads(lines: list[str]) -> dict[str, list[str]]:
    """`# name = value` lines: name -> values."""
    heads: dict[str, list[str]] = {}
    for line in lines:
        name, equals, value = line.lstrip("# ").partition("=")
        if line.startswith("#") and equals:
            heads.setdefault(name.strip(), []).append(value.strip())
    return heads


def _rows(lines: list[str], source: str) -> tuple[list[list[float]], int]:
    """Rows of the global alignment, and how many of the local one follow."""
    rows: list[list[float]] = []
    n_local, is_local = 0, False
    for i, line in enumerate(lines, start=1):
        if line.startswith("#"):
            is_local = is_local or line.lower().startswith("# local alignment")
        elif line and is_local:
            n_local += 1
        elif line:
            rows.append(numbers_of(line.split(), f"{source} line {i}", _WHAT, _COLUMNS))
    return rows, n_local


def _head_number(heads: dict[str, list[str]], name: str, source: str) -> float:
    return numbers_of(heads.get(name, ["0"])[0].split(), f"{source} {name}", _WHAT, 1)[0]
