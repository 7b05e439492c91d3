"""Where the files named in metadata lie, also after a project was moved.

A relative name is looked for in the current folder (RELION's project folder), then in the folder of
the file that names it, then in that folder's parents. A name that is not found there (a moved
project, or one job copied out of it) is looked for by its last parts under the same folders,
longest first, with a warning. A relative name that stands for one file in the current folder and
for another beside the file that names it is refused: nobody knows which is meant.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.mrc import split_stack_name

_COMPARED_BYTES = 1 << 20
_SHORTEST_TAIL = 2
"""Parts of a moved path that must agree, so that two files called alike do not mix."""


def find_file(name: str, near: Path | None = None, project_dir: Path | None = None) -> Path | None:
    """The file called `name`, or None.

    Parameters
    ----------
    name : str                 relative or absolute
    near : Path, optional      the file that names it
    project_dir : Path, optional   looked in first, before the current folder

    Raises
    ------
    InputError    two files that the name may mean
    """
    folder = _folder_with(name, near, project_dir)
    if folder is not None:
        return folder / name
    parts = Path(name).parts
    for first in range(1, len(parts) - _SHORTEST_TAIL + 1):
        tail = Path(*parts[first:])
        for folder in search_folders(near, project_dir):
            if (folder / tail).exists():
                warnings.warn(f"{name} is gone; {folder / tail} is used instead", InputWarning,
                              stacklevel=2)
                return folder / tail
    return None


def _are_alike(first: Path, second: Path) -> bool:
    """Whether two files are copies, as far as their sizes and first MiB tell."""
    if first.is_dir() or second.is_dir() or first.stat().st_size != second.stat().st_size:
        return False
    with open(first, "rb") as a, open(second, "rb") as b:
        return a.read(_COMPARED_BYTES) == b.read(_COMPARED_BYTES)


def require_file(name: str, what: str, near: Path | None = None,
                 project_dir: Path | None = None) -> Path:
    """Like `find_file`, but a missing file is an InputError that says where it was looked for."""
    path = find_file(name, near, project_dir)
    if path is None:
        folders = ", ".join(str(folder) for folder in search_folders(near, project_dir))
        raise InputError(f"{what} {name!r} not found (looked in {folders}). Run the command in the "
                         "project folder, or correct the name.")
    return path


def find_image_folder(name: str, near: Path | None = None,
                      project_dir: Path | None = None) -> Path | None:
    """The folder that the image `name` (`n@file` or file) is relative to, or None."""
    return _folder_with(split_stack_name(name)[1], near, project_dir)


def _folder_with(name: str, near: Path | None, project_dir: Path | None) -> Path | None:
    """The first of the folders that has the file."""
    for folder in search_folders(near, project_dir):
        if (folder / name).exists():
            if near is not None and project_dir is None and folder == Path():
                _refuse_twins(Path(name), near)
            return folder
    return None


def _refuse_twins(name: Path, near: Path) -> None:
    """Raise where the name means one file here, and another beside the file `near`."""
    beside = near.parent / name
    if beside.exists() and not beside.samefile(name) and not _are_alike(beside, name):
        raise InputError(
            f"{near} names {name}, which may be {name.resolve()} (from the current folder) or "
            f"{beside.resolve()} (beside {near.name}). Start the command in the folder of the "
            "project, or in a folder that has no such file.")


def join_image_name(folder: Path, name: str) -> str:
    """`n@file` or file below `folder`; unchanged in the current folder."""
    number, file_name = split_stack_name(name)
    path = os.path.join(folder, file_name) if folder != Path() else file_name
    return path if number is None else f"{name.partition('@')[0]}@{path}"


def search_folders(near: Path | None, project_dir: Path | None) -> Iterator[Path]:
    """Project folder, current folder, folder of the file, its parents; each once."""
    seen = set()
    folders = [project_dir] if project_dir is not None else []
    folders.append(Path())
    if near is not None:
        folders += [near.parent, *near.resolve().parent.parents]
    for folder in folders:
        key = folder.resolve()
        if key not in seen:
            seen.add(key)
            yield folder
