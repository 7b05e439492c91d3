"""EM files of TOM, AV3 and novaSTA: volumes, images and tables of numbers.

512 bytes of header (machine, type, three sizes), then the numbers, x fastest. The header is kept,
so what was read is written back byte for byte.
"""

import os
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.text_files import read_bytes, write_bytes

_HEADER = 512
_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 8: "c8", 9: "f8"}
_PC = 6
_LITTLE_MACHINES = {1, 6}


@dataclass
class EmFile:
    """Data [z, y, x] and the header it came with."""

    data: NDArray[Any]
    header: bytes = b""


def read_em(path: str | os.PathLike[str]) -> EmFile:
    """Read an EM file; FormatError where its header and its length contradict each other."""
    content, where = read_bytes(path), os.fspath(path)
    if len(content) < _HEADER:
        raise FormatError(f"{where}: {len(content)} bytes, an EM file has a header of {_HEADER}. "
                          "Check the name.")
    machine, kind = content[0], content[3]
    if kind not in _TYPES or machine > 6:
        raise FormatError(f"{where}: machine {machine}, type {kind}: not an EM file. Check the "
                          "name.")
    order = "<" if machine in _LITTLE_MACHINES else ">"
    size = struct.unpack(f"{order}3i", content[4:16])
    dtype = np.dtype(order + _TYPES[kind])
    expected = _HEADER + dtype.itemsize * size[0] * size[1] * size[2]
    if min(size) < 1 or expected != len(content):
        shape = " x ".join(map(str, size))
        raise FormatError(f"{where}: {len(content)} bytes, its header says {shape} numbers of "
                          f"{dtype.itemsize} bytes. It is cut off, or no EM file.")
    data = np.frombuffer(content, dtype, offset=_HEADER).reshape(size[::-1])
    return EmFile(data.astype(dtype.newbyteorder("=")), content[:_HEADER])


def write_em(path: str | os.PathLike[str], data: NDArray[Any], header: bytes = b"") -> None:
    """Write data [z, y, x] (or [y, x]); float32 and float64 stay, other types become float32.

    Parameters
    ----------
    header : bytes     header that was read, whose machine, type and sizes are replaced where
                       they differ
    """
    data = np.asarray(data)
    if data.ndim not in (2, 3):
        raise InputError(f"{os.fspath(path)}: {data.ndim} axes, an EM file has three.")
    data = data.reshape((1, *data.shape)) if data.ndim == 2 else data
    known = {np.dtype(name): code for code, name in _TYPES.items()}
    if data.dtype not in known:
        data = data.astype(np.float32)
    new = bytearray(header or bytes(_HEADER))
    order: Literal["<", ">"] = ">" if header and header[0] not in _LITTLE_MACHINES else "<"
    if not header:
        new[0] = _PC
    new[3] = known[data.dtype]
    struct.pack_into(f"{order}3i", new, 4, *data.shape[::-1])
    write_bytes(path, bytes(new) + data.astype(data.dtype.newbyteorder(order)).tobytes())
