"""The reconstructed volumes that a tomogram table names, and how their voxels lie in the tomogram.

RELION counts voxel i of a volume binned by b at the unbinned coordinate b i from the corner, so
that voxel index = centred coordinate / (b pixel) + size / (2 b), with the *unbinned* size also
where it is no multiple of b. The size of the volume itself is round(size / b).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.paths import find_file
from sta_mpi.formats.star_table import StarTable, text_column

SizeXYZ = tuple[int, int, int]

VOLUME = "rlnTomoReconstructedTomogram"
HALVES = (VOLUME + "Half1", VOLUME + "Half2")
BINNING = "rlnTomoTomogramBinning"
_ABSENT = ("", "None")


@dataclass(frozen=True)
class ReconstructedTomogram:
    """Files of one reconstructed tomogram and its grid.

    Parameters
    ----------
    name : str
    path : Path or None          volume of all tilts; None where only halves are named
    half_paths : (2,) Path or None
    pixel_A : float              voxel edge, `binning` times the pixel of the tilt images
    binning : float
    size_px : (3,) int           x, y, z of the volume in voxels
    unbinned_size_px : (3,) int  x, y, z of the tomogram in unbinned pixels
    """

    name: str
    path: Path | None
    half_paths: tuple[Path, Path] | None
    pixel_A: float
    binning: float
    size_px: SizeXYZ
    unbinned_size_px: SizeXYZ

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files whose mean is the tomogram: the whole one, else both halves."""
        return (self.path,) if self.path is not None else self.half_paths or ()

    @property
    def exists(self) -> bool:
        """Whether these files are there."""
        return bool(self.paths) and all(path.is_file() for path in self.paths)

    def require(self) -> tuple[Path, ...]:
        """`paths`; InputError where one of them does not exist."""
        missing = [path for path in self.paths if not path.is_file()]
        if missing:
            raise InputError(f"tomogram {self.name}: no volume {missing[0]}. Run the command in "
                             "the project folder, or make it with sta-mpi tomogram.")
        return self.paths

    @property
    def centre_px(self) -> NDArray[np.float64]:
        """(3,) voxel index xyz of the tomogram centre, where centred coordinates are zero."""
        return np.asarray(self.unbinned_size_px, np.float64) / (2.0 * self.binning)

    def index_xyz(self, xyz_A: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices xyz (..., 3), from 0, of positions [Å] from the tomogram centre."""
        return np.asarray(xyz_A, np.float64) / self.pixel_A + self.centre_px

    def xyz_A(self, index_xyz: ArrayLike) -> NDArray[np.float64]:
        """Positions (..., 3) [Å] from the tomogram centre of voxel indices xyz: the inverse."""
        return (np.asarray(index_xyz, np.float64) - self.centre_px) * self.pixel_A


def reconstructed_from_row(row: StarTable, unbinned_size_px: SizeXYZ, near: Path | None,
                           project_dir: Path | None) -> ReconstructedTomogram | None:
    """What a row of the tomogram table says of volumes; None where it names none.

    Parameters
    ----------
    row : StarTable                     one row of the table `global`
    unbinned_size_px : (3,) int
    near, project_dir : Path or None    as in `formats.paths.find_file`

    Raises
    ------
    InputError    a binning that is missing or not positive
    """
    name = row.value("rlnTomoName")
    path = _path(row, VOLUME, near, project_dir)
    halves = [_path(row, label, near, project_dir) for label in HALVES]
    half_paths = (halves[0], halves[1]) if halves[0] and halves[1] else None
    if path is None and half_paths is None:
        return None
    if BINNING not in row:
        raise InputError(f"{row.where}, tomogram {name}: a volume is named but {BINNING} is "
                         "missing, so its voxels cannot be placed. Add the binning of the volume.")
    binning = float(row.finite(BINNING)[0])
    if not binning > 0:
        raise InputError(f"{row.where}, tomogram {name}: {BINNING} is {binning:g}, expected more "
                         "than 0. Correct the table.")
    pixel_A = binning * float(row.finite("rlnTomoTiltSeriesPixelSize")[0])
    return ReconstructedTomogram(name, path, half_paths, pixel_A, binning,
                                 binned_size_px(unbinned_size_px, binning), unbinned_size_px)


def binned_size_px(unbinned_size_px: SizeXYZ, binning: float) -> SizeXYZ:
    """Size of a volume binned by a factor: round(size / binning), at least one voxel.

    >>> binned_size_px((4000, 4000, 2000), 7.407407)
    (540, 540, 270)
    """
    x, y, z = (max(1, int(side / binning + 0.5)) for side in unbinned_size_px)
    return x, y, z


def table_with_volumes(table: StarTable, volumes: dict[str, tuple[str, ...]], binning: float
                       ) -> StarTable:
    """A tomogram table that names new volumes.

    Parameters
    ----------
    table : StarTable            the table `global`; rows that `volumes` lacks keep what they have
    volumes : dict               tomogram name -> (whole,) or (whole, half1, half2) paths as they
                                 are to be written
    binning : float              of all of them
    """
    names = [str(name) for name in table.strings("rlnTomoName")]
    changed = table.copy()
    has_halves = any(len(paths) == 3 for paths in volumes.values())
    for i, label in enumerate((VOLUME, *HALVES)):
        if i and not has_halves and label not in table:
            continue
        old = table.strings(label, "None")
        changed[label] = text_column(
            [(*volumes[name], "None", "None")[i] if name in volumes else str(kept)
             for name, kept in zip(names, old, strict=True)])
    old_binning = table.floats(BINNING, binning)
    changed[BINNING] = np.array(
        [binning if name in volumes else kept
         for name, kept in zip(names, old_binning, strict=True)])
    return changed


def _path(row: StarTable, label: str, near: Path | None, project_dir: Path | None) -> Path | None:
    name = row.value(label, "")
    if name in _ABSENT:
        return None
    return find_file(name, near, project_dir) or Path(name)
