"""Defocus of every view of a stack: IMOD `.defocus` files, CTFFIND text, Gctf and RELION STAR.

All come out as one table in our units: Å with underfocus positive, degrees. Rows are views in the
order of the stack.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.imod_defocus import defocus_of_views, read_defocus
from sta_mpi.formats.number_table import PathLike, numbers_of, read_text
from sta_mpi.formats.star import read_star

Floats = NDArray[np.float64]

_CTFFIND_COLUMNS = 7
"""Number, defocus 1 and 2, azimuth, phase shift, score, resolution; newer versions add more."""


@dataclass(frozen=True)
class CtfTable:
    """CTF parameters, (n,) arrays over views.

    Parameters
    ----------
    defocus_u_A, defocus_v_A : (n,)    underfocus positive
    astig_deg : (n,)                   angle of defocus U
    phase_shift_deg : (n,)
    """

    defocus_u_A: Floats
    defocus_v_A: Floats
    astig_deg: Floats
    phase_shift_deg: Floats

    def __len__(self) -> int:
        return len(self.defocus_u_A)

    def of_views(self, views: NDArray[np.intp]) -> "CtfTable":
        """The rows of some views, in that order."""
        return CtfTable(self.defocus_u_A[views], self.defocus_v_A[views], self.astig_deg[views],
                        self.phase_shift_deg[views])


def read_ctf_table(path: PathLike, n_views: int) -> CtfTable:
    """Read CTF parameters of a stack of `n_views`, of the kind that the file's name says.

    Parameters
    ----------
    path : `.defocus` (IMOD), `.star` (Gctf, RELION) or text (CTFFIND, AreTomo `_CTF.txt`)
    n_views : int    views of the stack; a table of another length is refused

    Raises
    ------
    InputError, FormatError
    """
    name = os.fspath(path).lower()
    if name.endswith(".defocus"):
        table = defocus_of_views(read_defocus(path), n_views, path)
        found = CtfTable(table.defocus_1_A, table.defocus_2_A, table.astig_deg,
                         table.phase_shift_deg)
    elif name.endswith(".star"):
        found = _from_star(path)
    else:
        found = _from_ctffind(path)
    if len(found) != n_views:
        raise InputError(f"{os.fspath(path)}: CTF of {len(found)} views, expected {n_views} (views "
                         "of the stack). Give the file of this series.")
    return found


def _from_star(path: PathLike) -> CtfTable:
    star = read_star(path)
    table = next((t for t in star if "rlnDefocusU" in t), None)
    if table is None:
        raise InputError(f"{os.fspath(path)}: no table with rlnDefocusU, expected CTF parameters "
                         "of Gctf or RELION. Give the output of a CTF program.")
    return CtfTable(table.finite("rlnDefocusU"), table.finite("rlnDefocusV"),
                    table.finite("rlnDefocusAngle"), table.finite("rlnPhaseShift", 0.0))


def _from_ctffind(path: PathLike) -> CtfTable:
    what = "CTF parameters of CTFFIND (text)"
    rows = []
    for i, line in enumerate(read_text(path, what).split("\n"), start=1):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        where = f"{os.fspath(path)} line {i}"
        if len(cells) < _CTFFIND_COLUMNS - 1:
            raise FormatError(f"{where}: {len(cells)} values, expected {_CTFFIND_COLUMNS} in "
                              f"{what}. Check that this is the right file.")
        # Score and resolution are not used and may be "inf" where a fit failed.
        rows.append(numbers_of(cells[:5], where, what, 5))
    if not rows:
        raise InputError(f"{os.fspath(path)}: no rows, expected {what}. Repeat the job that wrote "
                         "it.")
    table = np.array(rows)
    wrong = np.flatnonzero(table[:, 0] != np.arange(1, len(table) + 1))
    if len(wrong):
        raise FormatError(f"{os.fspath(path)}: row {wrong[0] + 1} is numbered "
                          f"{table[wrong[0], 0]:g}, expected {wrong[0] + 1}: a view is missing. "
                          "Estimate the CTF of the whole stack.")
    return CtfTable(table[:, 1], table[:, 2], table[:, 3], np.degrees(table[:, 4]))
