"""Particles cut from reconstructed tomograms, with the weight of what their tilts measured.

Volumes are memory-mapped by every rank. The noise of a tomogram's boxes is measured in boxes that
hold no particle, or in those of the half-set alone where there are too few such places, by the
rank that needs it and from the same boxes in every run: no half-set sees the other, and results
do not depend on ranks.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.transfer import TransferModel, Weighting
from sta_mpi.align.volume_boxes import clear_places, inside_share
from sta_mpi.align.volume_observe import (
    LEAST_CLEAR,
    LEAST_INSIDE,
    MEASURED_BOXES,
    StaticWedge,
    TiltWedge,
    VolumeObserver,
    Wedge,
)
from sta_mpi.align.volume_weights import Grid, Seen, binary_wedge, half_of_mask, seen_of_mask
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.mrc import StackReader, open_stack, read_header, read_mrc
from sta_mpi.formats.reconstructed_tomograms import ReconstructedTomogram
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.sources import ObservationOptions
from sta_mpi.signal.fft import FftPlans, Shape

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WedgeSpec:
    """What is known of the region that a tomogram's tilts measured.

    Parameters
    ----------
    kind : str                   "tilts", "binary", "file" or "none"
    range_deg : (2,) float       for "binary"
    mask : Path                  for "file"
    edge_shift_px : float
    is_graded : bool             voxels on the border of "binary" count in part
    """

    kind: str
    range_deg: tuple[float, float] = (-60.0, 60.0)
    mask: Any = None
    edge_shift_px: float = 1.0
    is_graded: bool = False


@dataclass(frozen=True)
class MadeAs:
    """How a tomogram was made.

    Parameters
    ----------
    is_dark : bool              protein is dark
    ctf : str                   "none", "flipped", "flip" or "multiply", see `TiltWedge`
    is_dose_weighted : bool
    is_scaled : bool            tilts were weighted by their signal scale
    """

    is_dark: bool = True
    ctf: str = "none"
    is_dose_weighted: bool = False
    is_scaled: bool = False


@dataclass(frozen=True)
class VolumeOptions:
    """How the tomograms of a job are read, by name."""

    wedges: Mapping[str, WedgeSpec]
    made: Mapping[str, MadeAs]


class MeanOfVolumes:
    """The mean of volumes of one shape, read window by window."""

    def __init__(self, readers: list[StackReader]) -> None:
        self._readers = readers
        self.shape = readers[0].shape

    def __getitem__(self, index: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        windows = [reader[index] for reader in self._readers]
        return windows[0] if len(windows) == 1 else np.mean(windows, axis=0, dtype=np.float32)


@dataclass
class VolumeSource:
    """Particles cut from tomograms; `volumes` and `wedges` are those of the used tomograms."""

    inputs: InputSet
    options: ObservationOptions
    half: NDArray[np.int8]
    volumes: dict[int, ReconstructedTomogram]
    volume_options: VolumeOptions
    grid_px: int
    kind: str = "tomograms"
    _plans: Any = None
    _observers: dict[tuple[int, int], VolumeObserver] = field(default_factory=dict)
    _wedges: dict[int, Wedge] = field(default_factory=dict)
    _readers: dict[int, MeanOfVolumes] = field(default_factory=dict)

    def fft_shapes(self) -> list[Shape]:
        """The window that is filtered, the box, and the box padded to the grid of the sums."""
        frame = self.options.frame
        return [(frame.cut_px,) * 3, (frame.box_px,) * 3, (self.grid_px,) * 3]

    def gain(self, half: int) -> float:
        """Boxes are whitened when they are cut."""
        return 1.0

    def bytes_shared(self) -> int:
        """Volumes stay on disk."""
        return 0

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Take the plans; volumes are opened when first needed."""
        self._plans = plans
        self._observers.clear()

    def check(self) -> None:
        """Refuse volumes that are missing or of another size; tell partial boxes."""
        frame = self.options.frame
        particles = self.inputs.particles
        outside = partial = 0
        first = ""
        for i, volume in self.volumes.items():
            for path in volume.require():
                shape = read_header(path, permissive=True).shape_zyx
                if np.abs(np.subtract(shape[::-1], volume.size_px)).max() > 1:
                    raise InputError(
                        f"{path}: {_times(shape[::-1])} voxels, expected "
                        f"{_times(volume.size_px)} (tomogram {volume.name} at binning "
                        f"{volume.binning:g}). Correct the tomogram table.")
            rows = np.flatnonzero(particles.i_tomo == i)
            share = inside_share(volume.index_xyz(particles.position_A[rows]), frame.box_px,
                                 volume.size_px[::-1])
            outside += int((share < LEAST_INSIDE).sum())
            partial += int(((share < 1) & (share >= LEAST_INSIDE)).sum())
            if not first and (share < 1).any():
                first = str(particles.names[rows[np.flatnonzero(share < 1)[0]]])
        if outside == len(particles):
            raise InputError(
                f"none of {outside} particles lies in its tomogram with its box of "
                f"{frame.box_px} voxels ({frame.box_px * frame.voxel_A:.0f} Å), first {first}. "
                "Check the units of the coordinates and the tomograms.")
        if outside + partial:
            warnings.warn(
                f"{partial} particles lie at the edge of their tomogram (first {first}): what is "
                f"missing of their boxes is filled with the mean. {outside} more have less than "
                f"{100 * LEAST_INSIDE:.0f} % of their box inside and are left out.", InputWarning)

    def model_group(self, row: int) -> tuple[int, int]:
        """Particles of one tomogram and half-set share noise and weights."""
        return int(self.half[row]), int(self.inputs.particles.i_tomo[row])

    def observe(self, row: int, offset_A: Floats) -> Any:
        """Cut particle `row` at its picked position plus offset."""
        particles = self.inputs.particles
        xyz_A = particles.xyz_A[row] + offset_A
        volume = self.volumes[int(particles.i_tomo[row])]
        return self._observer(self.model_group(row)).observe(
            volume.index_xyz(xyz_A), xyz_A, str(particles.names[row]))

    def _observer(self, key: tuple[int, int]) -> VolumeObserver:
        """The observer of a half-set and tomogram; only the last one is kept."""
        if key not in self._observers:
            self._observers.clear()
            half, i_tomo = key
            volume = self.volumes[i_tomo]
            observer = VolumeObserver(
                self._reader(i_tomo), self._wedge(i_tomo),
                -1.0 if self._made(i_tomo).is_dark else 1.0, self.options.frame, self._plans)
            places = self._noise_places(half, i_tomo)
            observer.measure_noise(
                places, volume.xyz_A(places), self.options.measured_noise)
            self._observers[key] = observer
        return self._observers[key]

    def _noise_places(self, half: int, i_tomo: int) -> Floats:
        """Voxel indices (m, 3) around which the noise of a half-set's boxes is measured."""
        particles, volume = self.inputs.particles, self.volumes[i_tomo]
        is_here = particles.i_tomo == i_tomo
        frame = self.options.frame
        clear = clear_places(
            volume.index_xyz(particles.position_A[is_here]), frame.cut_px,
            0.5 * frame.cut_px + 0.25 * frame.box_px, volume.size_px[::-1], MEASURED_BOXES)
        if len(clear) >= LEAST_CLEAR:
            return clear
        rows = np.flatnonzero(is_here & (self.half == half))
        rows = rows[:: max(1, len(rows) // MEASURED_BOXES)][:MEASURED_BOXES]
        return volume.index_xyz(particles.position_A[rows])

    def _reader(self, i_tomo: int) -> MeanOfVolumes:
        if i_tomo not in self._readers:
            self._readers.clear()
            self._readers[i_tomo] = MeanOfVolumes(
                [open_stack(path, permissive=True) for path in self.volumes[i_tomo].paths])
        return self._readers[i_tomo]

    def _wedge(self, i_tomo: int) -> Wedge:
        if i_tomo not in self._wedges:
            self._wedges[i_tomo] = self._make_wedge(i_tomo)
        return self._wedges[i_tomo]

    def _make_wedge(self, i_tomo: int) -> Wedge:
        frame, spec = self.options.frame, self.volume_options.wedges[self.volumes[i_tomo].name]
        if spec.kind == "tilts":
            return self._tilt_wedge(i_tomo)
        sizes = {frame.cut_px, frame.box_px}
        return StaticWedge({n: static_region(spec, n) for n in sizes})

    def _made(self, i_tomo: int) -> MadeAs:
        return self.volume_options.made[self.volumes[i_tomo].name]

    def _tilt_wedge(self, i_tomo: int) -> TiltWedge:
        series, voxel_A = self.inputs.series[i_tomo], self.options.frame.voxel_A
        flat, made = np.ones((series.n_tilts, 2)), self._made(i_tomo)
        given = Weighting(False, made.is_dose_weighted, made.is_scaled)
        limit = self.options.max_dose_e_per_A2
        if limit is not None and (series.pre_dose_e_per_A2 > limit).any():
            raise InputError("--max-dose-e-per-A2 cannot take tilts out of a tomogram. Leave it "
                             "out, or use --source tilt-series.")
        return TiltWedge(TransferModel(series, flat, voxel_A, self.options.weighting),
                         TransferModel(series, flat, voxel_A, given), made.ctf)


def static_region(spec: WedgeSpec, n: int) -> Seen:
    """The measured region of the transform of a box of n voxels."""
    if spec.kind == "none":
        return seen_of_mask(np.ones((n, n, n // 2 + 1), np.float32))
    if spec.kind == "binary":
        return seen_of_mask(binary_wedge(n, *spec.range_deg, spec.edge_shift_px,
                                         spec.is_graded))
    return seen_of_mask(_mask_from_file(spec, n))


def _mask_from_file(spec: WedgeSpec, n: int) -> Grid:
    mask = read_mrc(spec.mask, permissive=True, pixel_A=1.0).data
    if mask.shape != (n, n, n):
        raise InputError(f"wedge mask {spec.mask}: {_times(mask.shape[::-1])} voxels, expected "
                         f"{_times((n, n, n))} (the box). Make it anew for this box.")
    low, high = float(mask.min()), float(mask.max())
    if low < -1e-4 or high > 1 + 1e-4 or high <= 0:
        raise InputError(f"wedge mask {spec.mask}: values from {low:g} to {high:g}, expected "
                         "0 to 1. Give the measured region as 1.")
    return half_of_mask(mask)


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
