"""MRC volumes, images and image stacks: modes 0, 1, 2, 6 and 12, plain or gz.

Arrays come out as float32 indexed [z, y, x]; files whose axes are stored in another order are
turned. `n@file` names image n (from 1) of a stack, as in RELION. Writing goes through a temporary
name, so that a killed run leaves no half-written map.
"""

import gzip
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Volume
from sta_mpi.errors import FormatError, InputError, InputWarning
from sta_mpi.formats.mrc_header import HEADER_BYTES, MrcHeader, parse_header
from sta_mpi.formats.mrc_write import check_finite, describe_not_finite, write_mrc

__all__ = ["MrcHeader", "StackReader", "check_finite", "open_stack", "read_header", "read_image",
           "read_mrc", "split_stack_name", "write_mrc"]

Floats = NDArray[np.float32]
PathLike = str | os.PathLike[str]

_GZ_LARGEST_RATIO = 1100
"""A deflate stream grows at most about 1032 times; more in a header is a lie."""


def read_header(path: PathLike, permissive: bool = False) -> MrcHeader:
    """Read and check the header of an MRC file; the data are not touched.

    Raises
    ------
    InputError    no such file
    FormatError   not an MRC file, an unknown mode, or sizes beyond the length of the file
    """
    source = os.fspath(path)
    size = _file_size(path)
    if not _is_gz(path):
        return parse_header(_first_bytes(path), source, permissive, size)
    with _gz_errors(source), gzip.open(path, "rb") as packed:
        header = parse_header(packed.read(HEADER_BYTES), source, permissive)
    if header.data_bytes > _GZ_LARGEST_RATIO * size:
        raise FormatError(f"{source}: the header asks for {header.data_bytes} bytes, more than "
                          f"{size} compressed bytes can hold. The file is damaged.")
    return header


def read_mrc(path: PathLike, permissive: bool = False, pixel_A: float | None = None) -> Volume:
    """Read a map.

    Parameters
    ----------
    path : file, .gz is unpacked
    permissive : bool       accept, with an InputWarning, a missing MAP word, unequal voxel edges
                            (the one along x is used) and values that are not finite
    pixel_A : float         voxel edge to use instead of the header's [Å]

    Returns
    -------
    Volume                  float32 [z, y, x]

    Raises
    ------
    InputError, FormatError where the file is damaged, has no voxel size or holds NaN or Inf
    """
    source = os.fspath(path)
    header = read_header(path, permissive)
    voxel_A = pixel_A if pixel_A is not None else _one_pixel_size(header, source, permissive)
    data = np.ascontiguousarray(_to_zyx(_read_data(path, header), header), np.float32)
    problem = describe_not_finite(data)
    if problem and permissive:
        warnings.warn(f"{source}: {problem}", InputWarning, stacklevel=2)
    elif problem:
        check_finite(data, source)
    return Volume(data, float(voxel_A))


def read_image(name: PathLike) -> Floats:
    """Read one image, `file` or `n@file` (n from 1), as float32 [y, x].

    Raises
    ------
    InputError    no such image in the stack, or a stack named without a number
    """
    text = os.fspath(name)
    number, path = split_stack_name(text)
    with open_stack(path) as stack:
        if number is None and len(stack) > 1:
            raise InputError(f"{text}: a stack of {len(stack)} images. Name one of them as "
                             f"1@{text} to {len(stack)}@{text}.")
        n = 1 if number is None else number
        if not 1 <= n <= len(stack):
            raise InputError(f"{text}: image {n} of a stack of {len(stack)}. Correct the number "
                             "(the first image is 1).")
        return stack[n - 1]


def split_stack_name(name: str) -> tuple[int | None, str]:
    """`3@stack.mrcs` as (3, "stack.mrcs"); (None, name) where there is no number.

    >>> split_stack_name("000003@a/b.mrcs")
    (3, 'a/b.mrcs')
    """
    head, at, tail = name.partition("@")
    return (int(head), tail) if at and head.isdecimal() and head.isascii() else (None, name)


def open_stack(path: PathLike, permissive: bool = False) -> "StackReader":
    """Open an image stack without reading it; see StackReader."""
    return StackReader(path, permissive)


class StackReader:
    """An image stack on disk: memory-mapped, one float32 image an access.

    Attributes
    ----------
    shape : (3,) int           images, rows, columns
    pixel_A : float or None    None where the header does not say
    header : MrcHeader

    Notes
    -----
    `stack[i]` is a float32 copy of image i (from 0); `stack[a:b]` and `stack[[i, j]]` are copies
    (m, h, w). A .gz stack is held in memory. Use as a context manager, or call `close`.
    """

    def __init__(self, path: PathLike, permissive: bool = False) -> None:
        self.path = Path(path)
        self.header = read_header(path, permissive)
        if self.header.axes != (1, 2, 3):
            raise FormatError(f"{path}: image stack with axis order {self.header.axes}, expected "
                              "1, 2, 3 (x, y, z). Turn it, for example with IMOD's clip.")
        self._data: NDArray[Any] | None = (
            _read_data(path, self.header) if _is_gz(path) else np.memmap(
                path, self.header.dtype, "r", self.header.data_offset, self.header.shape_zyx))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, rows, columns."""
        return self.header.shape_zyx

    @property
    def pixel_A(self) -> float | None:
        """Pixel size along x [Å]; None where the header does not say."""
        return self.header.pixel_xyz_A[0] or None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Floats:
        if self._data is None:
            raise ValueError(f"{self.path}: the stack is closed")
        return np.array(self._data[index], np.float32)

    def __iter__(self) -> Iterator[Floats]:
        return (self[i] for i in range(len(self)))

    def close(self) -> None:
        """Give the mapping back."""
        self._data = None

    def __enter__(self) -> "StackReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _read_data(path: PathLike, header: MrcHeader) -> NDArray[Any]:
    """Data as they lie in the file; sizes were checked in read_header."""
    if not _is_gz(path):
        return np.fromfile(path, header.dtype, offset=header.data_offset,
                           count=header.data_bytes // header.dtype.itemsize
                           ).reshape(header.shape_zyx)
    source = os.fspath(path)
    with _gz_errors(source), gzip.open(path, "rb") as packed:
        packed.seek(header.data_offset)
        raw = packed.read(header.data_bytes)
    if len(raw) < header.data_bytes:
        raise FormatError(f"{source}: truncated: {header.data_bytes} bytes of data expected, "
                          f"{len(raw)} found after unpacking. Copy it again.")
    return np.frombuffer(raw, header.dtype).reshape(header.shape_zyx)


def _to_zyx(data: NDArray[Any], header: MrcHeader) -> NDArray[Any]:
    """Turn [sections, rows, columns] into [z, y, x]."""
    stored = tuple(reversed(header.axes))
    return np.transpose(data, [stored.index(axis) for axis in (3, 2, 1)])


def _one_pixel_size(header: MrcHeader, source: str, permissive: bool) -> float:
    sizes = header.pixel_xyz_A if header.is_volume else header.pixel_xyz_A[:2]
    if not all(sizes):
        raise InputError(f"{source}: no voxel size in the header. Set it in the file, for "
                         "example with IMOD's alterheader, or give it (--voxel-A of fsc).")
    if max(sizes) - min(sizes) > 0.005 * max(sizes):
        text = f"{source}: voxel edges differ: " + " x ".join(f"{s:.4f}" for s in sizes) + " Å"
        if not permissive:
            raise InputError(f"{text}. Resample the map, or mend its header.")
        warnings.warn(f"{text}; the one along x is used", InputWarning, stacklevel=3)
    return sizes[0]


def _file_size(path: PathLike) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read ({error.strerror}). Check the name "
                         "and the folder the command runs in.") from error


def _first_bytes(path: PathLike) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read ({error.strerror}). Give an MRC file "
                         "that you may read.") from error


def _is_gz(path: PathLike) -> bool:
    return os.fspath(path).endswith(".gz")


class _gz_errors:
    """Turn damaged compressed data into a FormatError."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if isinstance(error, (zlib.error, EOFError, gzip.BadGzipFile)):
            raise FormatError(f"{self.source}: not a complete gz file ({error}). "
                              "Copy it again.") from error
