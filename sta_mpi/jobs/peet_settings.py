"""The settings of a PEET run, read from its parameter file and checked.

Lengths are voxels of the tomograms, angles degrees, frequencies cycles a voxel, as in the file.
Errors name the key, its line, what was found and what is expected.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.matlab_values import Cell, numbers_of
from sta_mpi.formats.peet_prm import PrmFile, read_prm
from sta_mpi.jobs.peet_values import PrmReader

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Iteration:
    """One iteration: offsets of the search, filters, what enters the next reference."""

    phi_deg: Floats
    theta_deg: Floats
    psi_deg: Floats
    radius_px: tuple[float, float, float]
    low: tuple[float, float]
    high: tuple[float, float]
    ref_threshold: float
    duplicate_shift_px: float
    duplicate_angle_deg: float
    y_symmetry: int


@dataclass(frozen=True)
class MaskSettings:
    """The mask of the reference; `kind` is none, sphere, cylinder or file."""

    kind: str
    file: Path | None
    inside_px: float
    outside_px: float
    height_px: float
    z_y_deg: tuple[float, float] | None
    blur_px: float


@dataclass(frozen=True)
class PeetRun:
    """A PEET run.

    Parameters
    ----------
    init : int or list of Path         code, or a motive list a tomogram
    tilt_ranges : list                 (min, max), mask file or None a tomogram
    reference : Path, (tomogram, particle) from 1, or levels of the pairwise tree
    include, exclude : lists           particle numbers from 1 over all tomograms, or
                                       (tomogram, number) where a cell a tomogram was given
    """

    prm: PrmFile
    source: Path
    volumes: list[Path]
    models: list[Path]
    root: str
    init: int | list[Path]
    tilt_ranges: list[tuple[float, float] | Path | None]
    size_px: tuple[int, int, int]
    reference: Path | tuple[int, int] | int
    y_axis_type: int
    iterations: list[Iteration]
    sample_sphere: str
    sample_interval_deg: float
    edge_shift_px: float
    has_graded_wedge: bool
    n_weight_groups: int
    has_elevation: bool
    is_filter_on_reference: bool
    is_strict: bool
    has_particle_axes: bool
    has_wedge: bool
    mask: MaskSettings
    fold: int
    thresholds: list[int]
    ref_all_tomograms: bool
    final_all_tomograms: bool
    classes: list[int]
    exclude: list[Any]
    include: list[Any]
    is_random: bool
    has_duplicates: bool
    keeps_reference: bool
    aligned_base: str

    @property
    def box_px(self) -> int:
        """Edge of the boxes: the largest of szVol, made even."""
        return max(self.size_px) + max(self.size_px) % 2


def read_peet_run(path: Path) -> PeetRun:
    """Read and check a parameter file.

    Raises
    ------
    InputError, FormatError    with the line
    """
    prm = read_prm(path)
    read = PrmReader(prm, Path(path))
    volumes, models = read.files("fnVolume"), read.files("fnModParticle")
    if len(models) != len(volumes):
        raise read.fault("fnModParticle", f"{len(volumes)} models, one a tomogram of fnVolume")
    size = read.all_numbers("szVol") if "szVol" in prm else np.zeros(0)
    size = np.repeat(size, 3) if len(size) == 1 else size
    if len(size) != 3 or (size != np.rint(size)).any() or (size < 8).any():
        raise read.fault("szVol", "[x y z], whole numbers of voxels from 8")
    iterations = _iterations(read)
    sphere = read.word("sampleSphere", "none", ("none", "half", "full"))
    interval = read.number("sampleInterval", float("nan"))
    if sphere != "none" and not 0 < interval <= 90:
        raise read.fault("sampleInterval", "a step of up to 90 degrees, as sampleSphere is set")
    thresholds = read.all_numbers("lstThresholds") if "lstThresholds" in prm else np.zeros(0)
    if (thresholds != np.rint(thresholds)).any() or (thresholds < 1).any():
        raise read.fault("lstThresholds", "numbers of particles, from 1")
    return PeetRun(
        prm, Path(path), volumes, models, _file_stem(read, "fnOutput") or Path(path).stem,
        _init(read, len(volumes)), _tilt_ranges(read, len(volumes)),
        (int(size[0]), int(size[1]), int(size[2])), _reference(read, len(volumes)),
        read.integer("yaxisType", 0, range(4)), iterations, sphere, interval,
        _edge_shift(read), read.flag("flgFPWedgeMask", False),
        read.integer("nWeightGroup", 8, range(33)),
        read.flag("flgElevationCompensation", False), read.flag("flgFilterRefOnly", False),
        read.flag("flgStrictSearchLimits", False), read.flag("flgSearchAlongParticleAxes", False),
        _has_wedge(read), _mask(read),
        read.integer("cNSymmetricAveraging", 1, range(33)) or 1,
        sorted({int(t) for t in thresholds}), read.flag("refFlagAllTom", True),
        read.flag("lstFlagAllTom", True), _classes(read), _numbers(read, "excludeList",
                                                                   len(volumes)),
        _numbers(read, "includeList", len(volumes)), read.flag("flgRandomize", False),
        read.flag("flgRemoveDuplicates", False), read.flag("flgNoReferenceRefinement", False),
        _file_stem(read, "alignedBaseName"))


def _has_wedge(read: PrmReader) -> bool:
    """Whether searches know what the particles have not measured; CCMode 0 has no such form."""
    mode, weighs = read.integer("CCMode", 1, (0, 1)), read.flag("flgWedgeWeight", True)
    return mode == 1 and weighs


def _iterations(read: PrmReader) -> list[Iteration]:
    if "dPhi" not in read.prm or not read.prm.cells("dPhi"):
        raise read.fault("dPhi", "a cell array with a list of angles an iteration")
    angles = {}
    n = len(read.parts("dPhi"))
    for key in ("dPhi", "dTheta", "dPsi"):
        angles[key] = read.per_iteration(key, n, np.zeros(1))
        for values in angles[key]:
            if not len(values) or not np.isfinite(values).all():
                raise read.fault(key, "angles such as -9:3:9 (an empty range searches nothing: "
                                      "write 0)")
    radius = [_xyz(read, part) for part in read.per_iteration("searchRadius", n, np.zeros(1))]
    low = [_filter(read, "lowCutoff", part)
           for part in read.per_iteration("lowCutoff", n, np.array([0.0, 0.05]))]
    high = [_filter(read, "hiCutoff", part)
            for part in read.per_iteration("hiCutoff", n, np.array([0.866, 0.05]))]
    single = {}
    for key, default in (("refThreshold", 1e9), ("duplicateShiftTolerance", 0.0),
                         ("duplicateAngularTolerance", 0.0), ("yAxisSymmetry", 1.0)):
        values = read.per_iteration(key, n, default)
        if any(len(v) != 1 or v[0] < -1 or np.isinf(v[0]) for v in values):
            raise read.fault(key, "one number an iteration")
        single[key] = [default if np.isnan(v[0]) else float(v[0]) for v in values]
    for i in range(n):
        if low[i][0] > 0 and high[i][0] < 0.866 and low[i][0] >= high[i][0]:
            raise read.fault("lowCutoff", f"less than hiCutoff {high[i][0]:g} of the iteration")
    return [Iteration(
        angles["dPhi"][i], angles["dTheta"][i], angles["dPsi"][i], radius[i], low[i], high[i],
        single["refThreshold"][i], single["duplicateShiftTolerance"][i],
        single["duplicateAngularTolerance"][i], max(1, int(single["yAxisSymmetry"][i])))
        for i in range(n)]


def _xyz(read: PrmReader, part: Floats) -> tuple[float, float, float]:
    values = np.repeat(part, 3) if len(part) == 1 else part
    if len(values) != 3 or not np.isfinite(values).all() or (values < 0).any():
        raise read.fault("searchRadius", "a radius or [x y z] an iteration [voxels]")
    return float(values[0]), float(values[1]), float(values[2])


def _filter(read: PrmReader, key: str, part: Floats) -> tuple[float, float]:
    if len(part) not in (1, 2) or not np.isfinite(part).all():
        raise read.fault(key, "[cutoff sigma] an iteration [cycles a voxel]")
    cutoff, sigma = float(part[0]), float(part[1]) if len(part) == 2 else 0.05
    if key == "hiCutoff" and not 0 < cutoff <= 1:
        raise read.fault(key, "a cutoff of more than 0, up to 0.866 [cycles a voxel]")
    return cutoff, sigma


def _init(read: PrmReader, n: int) -> int | list[Path]:
    if "initMOTL" not in read.prm:
        return 0
    if all(isinstance(item, str) for item in read.prm.cells("initMOTL")):
        files = read.files("initMOTL")
        if len(files) != n:
            raise read.fault("initMOTL", f"{n} motive lists, one a tomogram")
        return files
    return read.integer("initMOTL", 0, range(5))


def _tilt_ranges(read: PrmReader, n: int) -> list[tuple[float, float] | Path | None]:
    if "tiltRange" not in read.prm:
        return [None] * n
    value = read.prm["tiltRange"]
    items = read.prm.cells("tiltRange")
    if isinstance(value, Cell) and not items:
        return [None] * n
    if not isinstance(value, Cell) and not isinstance(value, str) and not len(numbers_of(value)):
        return [None] * n
    if len(items) != n:
        raise read.fault("tiltRange", f"{n} items, one a tomogram, or {{}}")
    ranges: list[tuple[float, float] | Path | None] = []
    for item in items:
        if isinstance(item, str):
            ranges.append(read.file("tiltRange", item))
            continue
        numbers = numbers_of(item)
        if not len(numbers):
            ranges.append(None)
        elif len(numbers) != 2 or not -180 < numbers[0] < numbers[1] < 180:
            raise read.fault("tiltRange", "[min max] in degrees or a mask file a tomogram")
        else:
            ranges.append((float(numbers[0]), float(numbers[1])))
    return ranges


def _reference(read: PrmReader, n: int) -> Path | tuple[int, int] | int:
    if "reference" not in read.prm:
        raise read.fault("reference", "a file, [tomogram particle], or levels of the pairwise tree")
    value = read.prm["reference"]
    if isinstance(value, str):
        return read.file("reference", value)
    numbers = read.all_numbers("reference")
    is_fair = read.flag("flgFairReference", False)
    if is_fair:
        if len(numbers) != 1 or not 1 <= numbers[0] <= 12:
            raise read.fault("reference", "1 to 12 levels of 2^k particles (flgFairReference is 1)")
        return int(numbers[0])
    if len(numbers) != 2 or not 1 <= numbers[0] <= n or numbers[1] < 1:
        raise read.fault("reference", f"a file or [tomogram particle], tomograms 1 to {n}")
    return int(numbers[0]), int(numbers[1])


def _file_stem(read: PrmReader, key: str) -> str:
    """The beginning of file names in the job's folder; folders are refused."""
    stem = read.word(key, "")
    if Path(stem).name != stem:
        raise read.fault(key, "a name without folders: files go to the folder of the job")
    return stem


def _edge_shift(read: PrmReader) -> float:
    value = read.number("edgeShift", 1.0)
    if not np.isfinite(value):
        return 1.0
    if not 0 <= value <= 10:
        raise read.fault("edgeShift", "0 to 10 Fourier voxels")
    return value


def _mask(read: PrmReader) -> MaskSettings:
    kind, file = read.word("maskType", "none"), None
    if kind not in ("none", "sphere", "cylinder"):
        kind, file = "file", read.file("maskType", kind)
    inside, outside = (read.number(key, float("nan"))
                       for key in ("insideMaskRadius", "outsideMaskRadius"))
    height = read.number("cylinderHeight", float("nan"))
    if kind in ("sphere", "cylinder") and not (outside > 0 or inside > 0 or height > 0):
        raise read.fault("outsideMaskRadius", f"a radius in voxels for the mask {kind!r}")
    if np.isfinite(inside) and np.isfinite(outside) and not 0 <= inside < outside:
        raise read.fault("insideMaskRadius", f"0 to less than outsideMaskRadius {outside:g}")
    turns = read.all_numbers("maskModelPts") if "maskModelPts" in read.prm else np.zeros(0)
    if len(turns) not in (0, 2):
        raise read.fault("maskModelPts", "[z y] in degrees, or []")
    z_y = (float(turns[0]), float(turns[1])) if len(turns) else None
    return MaskSettings(kind, file, inside, outside, height, z_y,
                        read.number("maskBlurStdDev", float("nan")))


def _classes(read: PrmReader) -> list[int]:
    if "selectClassID" not in read.prm:
        return []
    return [int(v) for v in read.all_numbers("selectClassID") if np.isfinite(v)]


def _numbers(read: PrmReader, key: str, n: int) -> list[Any]:
    if key not in read.prm:
        return []
    parts = read.parts(key)
    if isinstance(read.prm[key], Cell) and len(parts) == n and n > 1:
        return [(k, int(v)) for k, part in enumerate(parts) for v in part]
    return [int(v) for part in parts for v in part]
