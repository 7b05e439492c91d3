"""Atomic models (PDB, mmCIF, either gzipped), read through gemmi."""

from pathlib import Path

import numpy as np

from sta_mpi.data.atoms import Atoms
from sta_mpi.errors import FormatError, InputError, UsageError


def read_structure(path: str | Path) -> Atoms:
    """Read the atoms of the first model of a PDB or mmCIF file, waters left out.

    Raises
    ------
    UsageError    where gemmi is not installed
    InputError    where the file is missing or holds no atoms
    FormatError   where it cannot be parsed
    """
    try:
        import gemmi
    except ImportError as error:
        raise UsageError(
            f"{path}: reading an atomic model needs gemmi. Run: pip install 'sta_mpi[model]', "
            "or give a map instead.") from error
    if not Path(path).is_file():
        raise InputError(f"{path}: no such atomic model. Give a PDB or mmCIF file.")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError) as error:
        raise FormatError(f"{path}: not a PDB or mmCIF file ({error}).") from error
    if len(structure) == 0:
        raise InputError(f"{path}: no model with atoms. Give a PDB or mmCIF file of coordinates.")
    structure.remove_waters()
    atoms = [place.atom for place in structure[0].all()]
    if not atoms:
        raise InputError(f"{path}: the first model has no atoms besides water.")
    return Atoms(
        np.array([atom.pos.tolist() for atom in atoms]),
        np.array([atom.element.name for atom in atoms]),
        np.array([atom.b_iso for atom in atoms]),
        np.array([atom.occ for atom in atoms]))
