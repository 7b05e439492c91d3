"""The origin of an MRC file as IMOD counts it, which models keep in MINX.

IMOD's coordinate of voxel i is pixel i minus origin: the sign of what MRC2014 files, and files with
IMOD's flag for it, hold. A model whose MINX has another origin is moved when 3dmod opens it.
"""

import struct
from pathlib import Path

from sta_mpi.formats.mrc import read_header

_STAMP_AT, _FLAGS_AT, _VERSION_AT = 152, 156, 108
_IMOD_STAMP = 1146047817
_INVERTED = 4
_STANDARD = range(20140, 20200)


def imod_origin_A(path: Path) -> tuple[float, float, float]:
    """Origin x, y, z [Å] in IMOD's sign; zero for files that are not there or packed."""
    if not path.is_file() or path.suffix == ".gz":
        return (0.0, 0.0, 0.0)
    header = read_header(path, permissive=True)
    with path.open("rb") as file:
        raw = file.read(1024)
    order = ">" if header.dtype.byteorder == ">" else "<"
    stamp, flags, version = (struct.unpack_from(f"{order}i", raw, at)[0]
                             for at in (_STAMP_AT, _FLAGS_AT, _VERSION_AT))
    inverted = version in _STANDARD or (stamp == _IMOD_STAMP and bool(flags & _INVERTED))
    sign = -1.0 if inverted else 1.0
    x, y, z = (sign * value + 0.0 for value in header.origin_xyz_A)
    return (x, y, z)
