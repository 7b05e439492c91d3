"""Whole files as bytes or lines, with errors that name the file."""

import os
from pathlib import Path

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.atomic import atomic_file


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a file; InputError where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read ({error.strerror}). Check the name "
                         "and the folder the command runs in.") from error


def read_text(path: str | os.PathLike[str]) -> str:
    """A text file with its own line ends; FormatError where it is binary.

    Bytes that are not UTF-8 survive a round trip with `write_text`.
    """
    data = read_bytes(path)
    if b"\0" in data:
        raise FormatError(f"{os.fspath(path)}: byte 0 at {data.index(0)}: not a text file. Check "
                          "its name.")
    return data.decode("utf-8", "surrogateescape")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as it is; the file appears complete or not at all."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes; the file appears complete or not at all."""
    with atomic_file(path) as file:
        file.write(data)
