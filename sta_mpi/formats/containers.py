"""Own HDF5 files: arrays and attributes in groups, written atomically, nothing executable inside.

Used for what needs full precision or is too big for text: poses, trajectories, known truth of
simulations. Objects are refused on writing and on reading, so that a file from elsewhere cannot run
code. `fingerprint_file` identifies inputs.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.atomic import atomic_path

_BLOCK_BYTES = 1 << 22
_COMPRESS_FROM = 1 << 16

Attribute = str | int | float | bool


@dataclass(frozen=True)
class H5File:
    """Contents of a container.

    Parameters
    ----------
    arrays : dict             arrays by path, such as "halves/1/poses"
    attributes : dict         str, int, float or bool by name
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)


def write_h5(path: str | os.PathLike[str], arrays: Mapping[str, Any],
             attributes: Mapping[str, Attribute] | None = None) -> None:
    """Write arrays and attributes; the file appears complete or not at all.

    Parameters
    ----------
    arrays : mapping of path to array     numbers, booleans or text; text is stored as UTF-8
    attributes : mapping of name to str, int, float or bool

    Raises
    ------
    ValueError      other types
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for name, values in arrays.items():
            data = np.asarray(values)
            if data.dtype.kind in "OUS":
                data = np.array([_text(v, name).encode("utf-8", "surrogateescape")
                                 for v in data.ravel()], object).reshape(data.shape)
                file.create_dataset(name, data=data, dtype=h5py.string_dtype())
            elif data.dtype.kind in "biufc":
                packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} \
                    if data.nbytes > _COMPRESS_FROM and data.ndim else {}
                file.create_dataset(name, data=data, track_times=False, **packed)
            else:
                raise ValueError(f"{path}: {name} of type {data.dtype} cannot be stored")
        for name, value in (attributes or {}).items():
            if not isinstance(value, str | int | float | bool | np.number | np.bool_):
                raise ValueError(f"{path}: attribute {name} of type {type(value).__name__}")
            file.attrs[name] = value


def read_h5(path: str | os.PathLike[str], what: str = "") -> H5File:
    """Read every array and attribute.

    Parameters
    ----------
    what : str      value that the attribute `what` must have, to refuse files of another kind

    Raises
    ------
    InputError      no such file, or one of another kind
    FormatError     not HDF5, damaged, or with types that are not read (references, opaque objects)
    """
    source = os.fspath(path)
    if not Path(source).is_file():
        raise InputError(f"{source}: no such file. Check the name and the folder.")
    try:
        with h5py.File(source, "r") as file:
            attributes = {name: _attribute(value, name, source)
                          for name, value in file.attrs.items()}
            arrays: dict[str, NDArray[Any]] = {}
            _collect(file, "", arrays, source)
    except (OSError, RuntimeError, KeyError) as error:
        raise FormatError(f"{source}: not a readable HDF5 file ({error}). Copy it again or repeat "
                          "the job that wrote it.") from error
    if what and attributes.get("what") != what:
        raise InputError(f"{source}: holds {attributes.get('what', 'something else')!r}, expected "
                         f"{what!r}. Check the name.")
    return H5File(arrays, attributes)


def fingerprint_file(path: str | os.PathLike[str]) -> str:
    """BLAKE2b hash (32 hex digits) of a file's bytes.

    Equal fingerprints mean equal contents; time and name do not matter. About 1 s a GB.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read ({error.strerror}). Check the name.",
                         ) from error
    return digest.hexdigest()


def _collect(group: h5py.Group, prefix: str, arrays: dict[str, NDArray[Any]], source: str) -> None:
    for name in group:
        # Links to other files are not followed.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FormatError(f"{source}: {prefix}{name} is a link, which is not followed. Store "
                              "the data in the file itself.")
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, f"{prefix}{name}/", arrays, source)
            continue
        _check_size(item, prefix + name, source)
        if h5py.check_string_dtype(item.dtype):
            arrays[prefix + name] = np.array(item.asstr(errors="surrogateescape")[()], object)
        elif item.dtype.kind in "biufc":
            arrays[prefix + name] = np.asarray(item[()])
        else:
            raise FormatError(f"{source}: {prefix}{name} has type {item.dtype}, which is not read. "
                              "Store numbers or text.")


def _check_size(item: h5py.Dataset, name: str, source: str) -> None:
    """Refuse a dataset whose stored bytes cannot hold what its shape promises."""
    stored = item.id.get_storage_size()
    if item.nbytes > 1100 * max(stored, 1) + _COMPRESS_FROM:
        raise FormatError(f"{source}: {name} promises {item.nbytes} bytes and stores {stored}. "
                          "The file is damaged.")


def _attribute(value: Any, name: str, source: str) -> Attribute:
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, str | int | float | bool):
        raise FormatError(f"{source}: attribute {name} of type {type(plain).__name__} is not read. "
                          "Store a number or a text.")
    return plain


def _text(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise ValueError(f"{name} holds a {type(value).__name__}; only numbers and text are stored")
    return str(value)
