"""IMOD binary models (`.mod`): objects, contours, points with sizes, and everything else as bytes.

Layout from IMOD's description of the format: big-endian; id `IMODV1.2`, a header of 232 bytes, then
chunks. `OBJT` (176 bytes), `CONT` (16 bytes and 12 a point) and `MESH` (16 bytes, 12 a vertex, 4 an
index) say their size in their own counts, all others hold it after the id. What is not understood
is kept and written back byte for byte.

Model coordinates have voxel centres at half-integers in x and y and at integers in z:

    array index = (x - 0.5, y - 0.5, z) + (origin of the file - origin of what was loaded) / scale

the last term from MINX, where the header says that it holds the file's origin. Models last seen
with y and z exchanged are exchanged back first, as IMOD does when it opens them on the unturned
volume.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.imod_chunks import ChunkReader, chunk_bytes
from sta_mpi.formats.text_files import read_bytes, write_bytes

Floats = NDArray[np.float64]

FLIPPED_YZ = 1 << 16
HAS_FILE_ORIGIN = 1 << 14
SCATTERED = 1 << 9
_NEW_MODEL_FLAGS = 0xF600
"""Signed z from -0.5, stored tilts and origin, as 3dmod writes."""

_MODEL_ID = b"IMODV1.2"
_HEADER_BYTES, _OBJECT_BYTES, _CONTOUR_BYTES, _POINT_BYTES = 232, 176, 16, 12
_MODEL_CHUNKS = {b"VIEW", b"MINX", b"MOST", b"MCLP", b"SLAN", b"UNIT", b"OGRP", b"IMNX"}
_CONTOUR_CHUNKS = {b"SIZE", b"LABL", b"COST"}
_SIZES_AT, _OBJECTS_AT, _PIXEL_AT = 128, 140, 208
_OBJECT_COUNTS_AT, _SPHERE_AT = 128, 156
_PIXEL_UNITS = 0
_ANGSTROM_EXPONENT = -10

Chunk = tuple[bytes, bytes]
"""Id of four bytes and all that follows it, its size included."""


@dataclass(frozen=True)
class Minx:
    """Where a model lies: pixel, origin and tilt of the image that it was drawn on.

    Each is x, y, z: `file_origin` is IMOD's otrans, `scale`, `origin` and `tilt_deg` are
    cscale, ctrans and crot; `unused` holds the 12 + 12 bytes that programs leave undefined.
    """

    scale: tuple[float, float, float]
    origin: tuple[float, float, float]
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    file_origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unused: tuple[bytes, bytes] = (struct.pack(">3f", 1, 1, 1), bytes(12))


@dataclass
class ImodContour:
    """Points (n, 3) float32 as stored; chunks that belong to the contour, sizes among them."""

    points: NDArray[np.float32]
    flags: int = 0
    time: int = 0
    surface: int = 0
    chunks: list[Chunk] = field(default_factory=list)

    def radii_px(self) -> NDArray[np.float32] | None:
        """Sizes of the points, -1 where a point has the object's; None without the chunk."""
        for name, data in self.chunks:
            if name == b"SIZE":
                return np.frombuffer(data, ">f4", offset=4).astype(np.float32)
        return None


@dataclass
class ImodObject:
    """Contours, and the object's header as it stands in the file."""

    contours: list[ImodContour]
    name: str = ""
    flags: int = SCATTERED
    sphere_radius_px: int = 0
    header: bytes = b""
    chunks: list[Chunk] = field(default_factory=list)


@dataclass
class ImodModel:
    """A model.

    Parameters
    ----------
    objects : list of ImodObject
    image_size_px : (x, y, z)        of the image it was drawn on; y and z are exchanged in
                                     models with the flag FLIPPED_YZ
    pixel_A : float or None          None where the model counts in pixels
    minx : Minx or None              reference to the image's coordinates
    flags : int
    header : bytes                   the header as read
    chunks : list                    of the whole model, MINX in its place
    trailer : bytes                  what follows the end mark
    """

    objects: list[ImodObject]
    image_size_px: tuple[int, int, int]
    pixel_A: float | None = None
    minx: Minx | None = None
    flags: int = _NEW_MODEL_FLAGS
    header: bytes = b""
    chunks: list[Chunk] = field(default_factory=list)
    trailer: bytes = b""


def read_imod_model(path: str | os.PathLike[str]) -> ImodModel:
    """Read a model; FormatError where it is none, is cut off or contradicts itself."""
    data = read_bytes(path)
    if data[:8] != _MODEL_ID:
        raise FormatError(f"{os.fspath(path)}: begins with {data[:8]!r}, expected {_MODEL_ID!r}: "
                          "not an IMOD binary model. Convert ASCII models with imodtrans.")
    reader = ChunkReader(data, os.fspath(path), start=8)
    header = reader.take(_HEADER_BYTES, "model header")
    n_objects, flags = struct.unpack_from(">iI", header, _OBJECTS_AT)
    model = ImodModel([], struct.unpack_from(">3i", header, _SIZES_AT), _pixel_A(header),
                      None, flags, header)
    while (name := reader.take(4, "chunk id")) != b"IEOF":
        if name == b"OBJT":
            model.objects.append(_read_object(reader))
        elif name == b"CONT":
            _last_object(model, reader).contours.append(_read_contour(reader))
        else:
            _keep_chunk(model, reader, name)
    model.trailer = reader.rest()
    if len(model.objects) != n_objects:
        raise FormatError(f"{reader.where}: {len(model.objects)} objects, its header says "
                          f"{n_objects}. The file is damaged.")
    for i, (item, expected) in enumerate(zip(model.objects, reader.contour_counts, strict=True)):
        if len(item.contours) != expected:
            raise FormatError(f"{reader.where}: object {i + 1} has {len(item.contours)} contours, "
                              f"its header says {expected}. The file is damaged.")
    return model


def _pixel_A(header: bytes) -> float | None:
    size, units = struct.unpack_from(">fi", header, _PIXEL_AT)
    if units == _PIXEL_UNITS or not -12 <= units <= 3 or not size > 0:
        return None
    exponent = 0 if units == 1 else units
    return float(np.float64(size) * 10.0 ** (exponent - _ANGSTROM_EXPONENT))


def _read_object(reader: ChunkReader) -> ImodObject:
    header = reader.take(_OBJECT_BYTES, "object header")
    n_contours, flags = struct.unpack_from(">iI", header, _OBJECT_COUNTS_AT)
    reader.contour_counts.append(n_contours)
    name = header[:64].split(b"\0")[0].decode("utf-8", "replace")
    return ImodObject([], name, flags, struct.unpack_from(">i", header, _SPHERE_AT)[0], header)


def _read_contour(reader: ChunkReader) -> ImodContour:
    n, flags, time, surface = struct.unpack(">iIii", reader.take(_CONTOUR_BYTES, "contour header"))
    if n < 0:
        raise FormatError(f"{reader.where}: a contour of {n} points. The file is damaged.")
    data = reader.take(_POINT_BYTES * n, f"contour of {n} points")
    points = np.frombuffer(data, ">f4").astype(np.float32).reshape(n, 3)
    if not np.isfinite(points).all():
        raise FormatError(f"{reader.where}: a point that is not finite. The file is damaged.")
    return ImodContour(points, flags, time, surface)


def _last_object(model: ImodModel, reader: ChunkReader) -> ImodObject:
    if not model.objects:
        raise FormatError(f"{reader.where}: a contour before the first object. The file is "
                          "damaged.")
    return model.objects[-1]


def _keep_chunk(model: ImodModel, reader: ChunkReader, name: bytes) -> None:
    """Put a chunk where it belongs."""
    data = reader.mesh() if name == b"MESH" else reader.sized(name)
    if name in _MODEL_CHUNKS or model.chunks or not model.objects:
        model.chunks.append((name, data))
        if name == b"MINX":
            model.minx = _parse_minx(data, reader.where)
        return
    item = model.objects[-1]
    if name in _CONTOUR_CHUNKS and item.contours and not item.chunks:
        contour = item.contours[-1]
        if name == b"SIZE" and len(data) != 4 + 4 * len(contour.points):
            raise FormatError(f"{reader.where}: SIZE of {len(data) - 4} bytes for a contour of "
                              f"{len(contour.points)} points, expected 4 a point.")
        contour.chunks.append((name, data))
    else:
        item.chunks.append((name, data))


def _parse_minx(data: bytes, where: str) -> Minx:
    if len(data) != 76:
        raise FormatError(f"{where}: MINX of {len(data) - 4} bytes, expected 72.")
    values = [struct.unpack_from(">3f", data, 4 + 12 * i) for i in range(6)]
    for i, what in ((1, "file origin"), (3, "scale"), (4, "origin")):
        if not np.isfinite(values[i]).all():
            raise FormatError(f"{where}: MINX {what} {values[i]} is not finite.")
    return Minx(values[3], values[4], values[5], values[1], (data[4:16], data[28:40]))


def write_imod_model(path: str | os.PathLike[str], model: ImodModel) -> None:
    """Write a model; what was read and not changed comes back byte for byte."""
    parts = [_MODEL_ID, _model_header(model)]
    for item in model.objects:
        parts += [b"OBJT", _object_header(item)]
        for contour in item.contours:
            points = np.ascontiguousarray(contour.points, ">f4")
            if not np.isfinite(points).all():
                raise InputError(f"{os.fspath(path)}: a point that is not finite. Remove it.")
            parts += [b"CONT", struct.pack(">iIii", len(points), contour.flags, contour.time,
                                           contour.surface), points.tobytes()]
            parts += [piece for chunk in contour.chunks for piece in chunk]
        parts += [piece for chunk in item.chunks for piece in chunk]
    has_minx = False
    for name, data in model.chunks:
        is_minx = name == b"MINX" and model.minx is not None
        has_minx |= is_minx
        parts += [name, _minx_bytes(model.minx) if is_minx and model.minx else data]
    if model.minx is not None and not has_minx:
        parts += [b"MINX", _minx_bytes(model.minx)]
    parts += [b"IEOF", model.trailer]
    write_bytes(path, b"".join(parts))


def _minx_bytes(minx: Minx) -> bytes:
    def triple(values: tuple[float, float, float]) -> bytes:
        return struct.pack(">3f", *values)
    return chunk_bytes(minx.unused[0] + triple(minx.file_origin) + minx.unused[1]
                       + triple(minx.scale) + triple(minx.origin) + triple(minx.tilt_deg))


def _model_header(model: ImodModel) -> bytes:
    header = bytearray(model.header or _fresh_model_header())
    struct.pack_into(">3i", header, _SIZES_AT, *model.image_size_px)
    struct.pack_into(">iI", header, _OBJECTS_AT, len(model.objects), model.flags)
    if model.pixel_A != _pixel_A(bytes(header)):
        in_nm = (0.1 * model.pixel_A, -9) if model.pixel_A is not None else (1.0, _PIXEL_UNITS)
        struct.pack_into(">fi", header, _PIXEL_AT, *in_nm)
    return bytes(header)


def _object_header(item: ImodObject) -> bytes:
    header = bytearray(item.header or bytes(_OBJECT_BYTES))
    if not item.header:
        header[:64] = item.name.encode("utf-8")[:63].ljust(64, b"\0")
        struct.pack_into(">ii3f", header, 136, 0, 1, 0.0, 1.0, 0.0)
        header[160:168] = bytes([1, 3, 1, 1, 0, 0, 0, 0])
    struct.pack_into(">iI", header, _OBJECT_COUNTS_AT, len(item.contours), item.flags)
    struct.pack_into(">i", header, _SPHERE_AT, item.sphere_radius_px)
    return bytes(header)


def _fresh_model_header() -> bytes:
    header = bytearray(_HEADER_BYTES)
    header[:13] = b"IMOD-NewModel"
    struct.pack_into(">4i", header, 148, 1, 1, 0, 255)
    struct.pack_into(">6f", header, 164, 0, 0, 0, 1, 1, 1)
    struct.pack_into(">5i", header, 188, 0, 0, 0, 3, 128)
    struct.pack_into(">fi", header, _PIXEL_AT, 1.0, _PIXEL_UNITS)
    return bytes(header)


def model_contours(model: ImodModel, object_index: int = 0) -> list[Floats]:
    """Array indices xyz (n, 3) of the points of each contour of an object, voxel centres at
    integers."""
    shift = np.zeros(3)
    if model.minx is not None and model.flags & HAS_FILE_ORIGIN:
        scale = np.array(model.minx.scale)
        scale = np.where(scale != 0, scale, 1.0)
        shift = (np.array(model.minx.file_origin) - np.array(model.minx.origin)) / scale
    order = [0, 2, 1] if model.flags & FLIPPED_YZ else [0, 1, 2]
    half = np.array([0.5, 0.5, 0.0])
    found = _object(model, object_index)
    return [contour.points.astype(np.float64)[:, order] - half + shift
            for contour in found.contours]


def model_points_px(model: ImodModel, object_index: int = 0) -> Floats:
    """Array indices xyz (n, 3) of all points of an object, contour by contour.

    PEET's particles are the points of the first object in this order, numbered from 1.
    """
    contours = model_contours(model, object_index)
    return np.concatenate(contours) if contours else np.zeros((0, 3))


def model_point_radii_px(model: ImodModel, object_index: int = 0) -> Floats | None:
    """Radii (n,) [px] of all points of an object: their own, else the object's sphere radius.

    None where neither is set.
    """
    found = _object(model, object_index)
    default = float(found.sphere_radius_px)
    radii: list[Floats] = []
    has_own = False
    for contour in found.contours:
        own = contour.radii_px()
        has_own |= own is not None
        sizes = np.full(len(contour.points), -1.0) if own is None else own.astype(np.float64)
        radii.append(np.where(sizes < 0, default, sizes))
    if not has_own and default <= 0:
        return None
    return np.concatenate(radii) if radii else np.zeros(0)


def _object(model: ImodModel, index: int) -> ImodObject:
    if not 0 <= index < len(model.objects):
        raise InputError(f"object {index + 1} asked for, the model has {len(model.objects)}. "
                         "Add points to it, or name another object.")
    return model.objects[index]


def model_from_points(points_index_px: ArrayLike, image_size_px: Sequence[int],
                      pixel_A: float | None, radii_px: ArrayLike | None = None,
                      contour_numbers: ArrayLike | None = None,
                      origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> ImodModel:
    """A model with one object of scattered points.

    Parameters
    ----------
    points_index_px : (n, 3)      array indices xyz, voxel centres at integers
    image_size_px : (x, y, z)     of the tomogram
    pixel_A : float or None       pixel of the tomogram
    radii_px : (n,)               sizes of the points
    contour_numbers : (n,) int    points with equal numbers are one contour, in the order of the
                                  numbers; default: one contour
    origin : (x, y, z)            origin in the tomogram's header

    Notes
    -----
    Contours reorder points: PEET counts particles in the order of the model.
    """
    points = np.asarray(points_index_px, np.float64).reshape(-1, 3) + [0.5, 0.5, 0.0]
    numbers = np.zeros(len(points), int) if contour_numbers is None else \
        np.asarray(contour_numbers, int)
    sizes = None if radii_px is None else np.asarray(radii_px, np.float32)
    contours = []
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        chunks = [] if sizes is None else [
            (b"SIZE", chunk_bytes(sizes[rows].astype(">f4").tobytes()))]
        contours.append(ImodContour(points[rows].astype(np.float32), chunks=chunks))
    scale = (pixel_A or 1.0,) * 3
    width, height, depth = (int(v) for v in image_size_px)
    return ImodModel([ImodObject(contours, flags=SCATTERED, sphere_radius_px=3)],
                     (width, height, depth), pixel_A,
                     Minx(scale, origin, file_origin=origin))
