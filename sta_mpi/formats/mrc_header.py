"""The 1024-byte MRC header: fields, byte order, checks against the length of the file.

Layout: MRC2014 (Cheng et al., J. Struct. Biol. 192, 146, 2015); IMOD's signed-byte flag
(imodStamp, imodFlags) is honoured in mode 0. Nothing is allocated from a size in a header
before that size was compared with the length of the file.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from sta_mpi.errors import FormatError, InputWarning

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
"""MRC modes that are read and written, with their data types (mode 0 may be unsigned in IMOD)."""

_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1
_OTHER_MODES = {3: "complex int16", 4: "complex float32", 16: "RGB bytes", 101: "4-bit integers"}


@dataclass(frozen=True)
class MrcHeader:
    """What the program needs from a header.

    Parameters
    ----------
    shape_zyx : (3,) int           sections, rows, columns as they lie in the file
    dtype : numpy dtype            with the byte order of the file
    mode : int
    pixel_xyz_A : (3,) float       0 where the header does not say
    axes : (3,) int                MAPC, MAPR, MAPS: 1 = x, 2 = y, 3 = z for columns, rows, sections
    data_offset : int              where the first voxel lies [bytes]
    is_volume : bool               ISPG says a volume (1) or a stack of images (0)
    start_xyz : (3,) int           NXSTART, NYSTART, NZSTART
    origin_xyz_A : (3,) float
    """

    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    mode: int
    pixel_xyz_A: tuple[float, float, float]
    axes: tuple[int, int, int]
    data_offset: int
    is_volume: bool
    start_xyz: tuple[int, int, int]
    origin_xyz_A: tuple[float, float, float]

    @property
    def data_bytes(self) -> int:
        """Length of the image data [bytes]."""
        nz, ny, nx = self.shape_zyx
        return nz * ny * nx * self.dtype.itemsize


def parse_header(raw: bytes, source: str, permissive: bool = False,
                 file_bytes: int | None = None) -> MrcHeader:
    """Read and check a header.

    Parameters
    ----------
    raw : bytes            the first 1024 bytes of the file
    source : str           name of the file, for messages
    permissive : bool      warn (InputWarning) of a missing MAP word or machine stamp and of
                           unknown axis orders instead of refusing the file
    file_bytes : int       length of the file; None where it is not known (gz)

    Raises
    ------
    FormatError            not MRC, unknown mode, sizes that are not positive or beyond the file
    """
    if len(raw) < HEADER_BYTES:
        raise FormatError(f"{source}: {len(raw)} bytes, an MRC header alone has {HEADER_BYTES}. "
                          "The file is truncated or of another format.")
    fields, order = _with_byte_order(raw[:HEADER_BYTES], source, permissive)
    shape = tuple(int(fields[name]) for name in ("nz", "ny", "nx"))
    mode, extended = int(fields["mode"]), int(fields["nsymbt"])
    _check_mode(mode, source)
    if min(shape) < 1 or extended < 0:
        raise FormatError(f"{source}: the header gives {shape[2]} x {shape[1]} x {shape[0]} voxels "
                          f"and an extended header of {extended} bytes; sizes must be positive. "
                          "The file is damaged or of another format.")
    dtype = np.dtype(order + (_byte_type(fields, source) if mode == 0 else MODES[mode]))
    header = MrcHeader(
        shape_zyx=(shape[0], shape[1], shape[2]), dtype=dtype, mode=mode,
        pixel_xyz_A=_pixel_A(fields), axes=_axes(fields, source, permissive),
        data_offset=HEADER_BYTES + extended, is_volume=int(fields["ispg"]) != 0,
        start_xyz=(int(fields["nxstart"]), int(fields["nystart"]), int(fields["nzstart"])),
        origin_xyz_A=tuple(float(fields["origin"][axis]) for axis in "xyz"))  # type: ignore[arg-type]
    if file_bytes is not None:
        _check_length(header, file_bytes, source)
    return header


def make_header(shape_zyx: tuple[int, int, int], mode: int, pixel_A: float, is_volume: bool,
                statistics: tuple[float, float, float, float], label: str = "") -> bytes:
    """A little-endian MRC2014 header; bytes depend on the arguments alone (no date).

    `statistics` is minimum, maximum, mean and standard deviation; `label`, up to 70 ASCII
    characters, follows the program's name. Image stacks get ISPG 0 and
    MZ 1, volumes ISPG 1 and MZ = NZ, so that RELION, IMOD and mrcfile tell them apart.
    """
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    nz, ny, nx = shape_zyx
    sampling = (nx, ny, nz if is_volume else 1)
    for name, value in zip(("nx", "ny", "nz", "mx", "my", "mz"), (nx, ny, nz, *sampling),
                           strict=True):
        header[name] = value
    header["mode"] = mode
    header["cella"] = tuple(n * pixel_A for n in sampling)
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = statistics
    header["ispg"] = int(is_volume)
    header["exttyp"], header["map"], header["nversion"] = b"MRCO", b"MAP ", 20141
    header["machst"] = (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = f"sta_mpi {label}".strip().encode("ascii", "replace")[:80]
    raw = bytearray(header.tobytes())
    if mode == 0:  # without this flag IMOD may take the bytes as unsigned
        raw[152:160] = np.array([_IMOD_STAMP, _IMOD_SIGNED_BYTES], "<i4").tobytes()
    return bytes(raw)


def _with_byte_order(raw: bytes, source: str, permissive: bool) -> tuple[Any, str]:
    stamp = raw[212]
    has_map_word = raw[208:211] == b"MAP"
    if has_map_word and stamp in (0x44, 0x11):
        order = "<" if stamp == 0x44 else ">"
        return np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0], order
    for order in "<>":
        fields = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
        known = int(fields["mode"]) in MODES or int(fields["mode"]) in _OTHER_MODES
        if known and all(0 < int(fields[name]) < 2**20 for name in ("nx", "ny", "nz")):
            break
    else:
        raise FormatError(f"{source}: no MAP word and no plausible sizes in the header: not an MRC "
                          "file. Check the name of the file.")
    what = "no MAP word" if not has_map_word else f"unknown machine stamp 0x{stamp:02x}"
    if not permissive:
        raise FormatError(f"{source}: {what} in the MRC header. Read it with permissive=True, or "
                          "write it again with the program that made it.")
    warnings.warn(f"{source}: {what} in the MRC header; the rest of it is plausible and used",
                  InputWarning, stacklevel=3)
    return fields, order


def _check_mode(mode: int, source: str) -> None:
    if mode not in MODES:
        known = ", ".join(f"{key} ({np.dtype(name).name})" for key, name in MODES.items())
        extra = f" ({_OTHER_MODES[mode]})" if mode in _OTHER_MODES else ""
        raise FormatError(f"{source}: MRC mode {mode}{extra} is not read; known are {known}. "
                          "Convert the file, for example with IMOD's newstack -mode 2.")


def _byte_type(fields: Any, source: str) -> str:
    """Signed or unsigned bytes in mode 0: IMOD's flag, else the largest value in the header."""
    stamp, flags = np.frombuffer(fields.tobytes()[152:160], fields["nx"].dtype.newbyteorder("="))
    if fields["nx"].dtype.byteorder == ">":
        stamp, flags = stamp.byteswap(), flags.byteswap()
    if int(stamp) == _IMOD_STAMP:
        return "i1" if int(flags) & _IMOD_SIGNED_BYTES else "u1"
    if float(fields["dmin"]) >= 0 and float(fields["dmax"]) > 127:
        warnings.warn(f"{source}: mode 0 with a maximum of {float(fields['dmax']):g}: "
                      "read as unsigned bytes", InputWarning, stacklevel=4)
        return "u1"
    return "i1"


def _pixel_A(fields: Any) -> tuple[float, float, float]:
    sizes = []
    for cell, axis in zip(fields["cella"].item(), "xyz", strict=True):
        samples = int(fields["m" + axis])
        usable = samples > 0 and math.isfinite(cell) and cell > 0
        sizes.append(cell / samples if usable else 0.0)
    return sizes[0], sizes[1], sizes[2]


def _axes(fields: Any, source: str, permissive: bool) -> tuple[int, int, int]:
    axes = (int(fields["mapc"]), int(fields["mapr"]), int(fields["maps"]))
    if sorted(axes) == [1, 2, 3]:
        return axes
    if axes == (0, 0, 0) or permissive:
        warnings.warn(f"{source}: axis order {axes} in the MRC header read as 1, 2, 3 (x, y, z)",
                      InputWarning, stacklevel=3)
        return 1, 2, 3
    raise FormatError(f"{source}: axis order {axes} in the MRC header, expected each of 1, 2, 3 "
                      "once. Read it with permissive=True to take x, y, z.")


def _check_length(header: MrcHeader, file_bytes: int, source: str) -> None:
    expected = header.data_offset + header.data_bytes
    nz, ny, nx = header.shape_zyx
    if file_bytes < expected:
        raise FormatError(f"{source}: truncated: {nx} x {ny} x {nz} voxels of mode {header.mode} "
                          f"need {expected} bytes, the file has {file_bytes}. Copy it again or "
                          "repeat the job that wrote it.")
    if file_bytes > expected:
        warnings.warn(f"{source}: {file_bytes - expected} bytes after the last of {nx} x {ny} x "
                      f"{nz} voxels are ignored", InputWarning, stacklevel=3)


