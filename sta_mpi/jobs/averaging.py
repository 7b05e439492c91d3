"""What average and align share: sizes, sources, plans, units and the insertion of a unit."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import LOW_PX, BoxSamples, TiltSamples
from sta_mpi.align.observe import Frame
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import Particles
from sta_mpi.errors import InputError, InputWarning, UsageError
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.held_series import slots_that_fit
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.parameters.average import AverageParameters, ReconstructionParameters
from sta_mpi.jobs.reconstruction import SAMPLE_BOUND, MapSizes, padded_grid_px
from sta_mpi.jobs.source_boxes import BoxSource
from sta_mpi.jobs.source_stacks import StackSource
from sta_mpi.jobs.source_tilts import TiltSeriesSource
from sta_mpi.jobs.sources import ObservationOptions, Source
from sta_mpi.jobs.volume_setup import make_volume_source, volume_sizes
from sta_mpi.jobs.window_size import cut_size_px
from sta_mpi.jobs.wisdom import shared_plans
from sta_mpi.kernels.insert import DeviceSums
from sta_mpi.kernels.insert.device_sums import SLICES_A_BOX
from sta_mpi.parallel.devices import check_device_memory, select_device
from sta_mpi.parallel.job import Unit, chunk_groups
from sta_mpi.parallel.memory import MemoryPlan
from sta_mpi.signal.fft import FftPlans, Padding, Shape

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setup:
    """Everything that is fixed before the first unit; `folder` keeps the FFT plans."""

    inputs: InputSet
    parameters: ReconstructionParameters
    sizes: MapSizes
    frame: Frame
    source: Source
    half: NDArray[np.int8]
    folder: Path | None = None

    def with_particles(self, particles: Particles) -> "Setup":
        """The same with other poses of the same particles."""
        return replace(self, inputs=replace(self.inputs, particles=particles))


def make_setup(inputs: InputSet, parameters: ReconstructionParameters,
               half: NDArray[np.int8]) -> Setup:
    """Choose source and sizes, and check that they fit the input."""
    check_symmetry(parameters.symmetry)
    kind = "tomograms" if parameters.tomogram else choose_source(
        inputs.particles, parameters.source)
    if kind == "tomograms":
        sizes, frame = volume_sizes(inputs, parameters)
    elif kind == "tilt-series":
        sizes, frame = _tilt_series_sizes(inputs, parameters)
    else:
        sizes, frame = _image_sizes(inputs, parameters, kind)
    options = ObservationOptions(
        frame,
        Weighting(parameters.ctf, parameters.dose_weighting, parameters.tilt_scale),
        parameters.noise == "measured", parameters.max_dose_e_per_A2)
    source: Source
    if kind == "tilt-series":
        source = TiltSeriesSource(inputs, options)
        source.check()
        source.n_slots = slots_that_fit(source, parameters.max_memory_GiB)
    elif kind == "tomograms":
        source = make_volume_source(inputs, options, half, sizes.grid_px, parameters)
        source.check()
    else:
        source = (StackSource if kind == "stacks" else BoxSource)(inputs, options, half)
        source.check()
    if parameters.dose_weighting and kind in ("tilt-series", "stacks"):
        warn_of_flat_dose(inputs)
    return Setup(inputs, parameters, sizes, frame, source, half)


def warn_of_flat_dose(inputs: InputSet) -> None:
    """Warn where a column of doses says nothing, as most importers leave it when unset."""
    flat = [ts for ts in inputs.used_series
            if ts.n_tilts > 1 and np.ptp(ts.pre_dose_e_per_A2) == 0]
    if flat:
        dose = flat[0].pre_dose_e_per_A2[0]
        warnings.warn(
            f"{len(flat)} of {len(inputs.used_series)} tilt series, first {flat[0].name}: all "
            f"tilts have the same dose before them ({dose:g} e/Å²), so dose weighting "
            "does nothing. Set rlnMicrographPreExposure, or pass --no-dose-weighting.",
            InputWarning)


def check_symmetry(symmetry: str, option: str = "--symmetry") -> None:
    """UsageError for a point group that does not exist."""
    try:
        symmetry_matrices(symmetry)
    except InputError as error:
        raise UsageError(f"{option}: {error}") from None


def choose_source(particles: Particles, asked: str) -> str:
    """Where pixels come from: `auto` takes the images that the particle file names."""
    if asked == "tomograms":
        return asked
    if asked != "auto":
        if asked != "tilt-series" and particles.image_names is None:
            raise InputError(f"--source {asked}: the particle file names no images "
                             "(rlnImageName). Use --source tilt-series.")
        if asked == "stacks" and not particles.is_2d_stack:
            raise InputError("--source stacks: the particle file names 3D boxes. "
                             "Use --source boxes.")
        if asked == "boxes" and particles.is_2d_stack:
            raise InputError("--source boxes: the particle file names 2D stacks. "
                             "Use --source stacks.")
        return asked
    if particles.image_names is None:
        return "tilt-series"
    return "stacks" if particles.is_2d_stack else "boxes"


def _tilt_series_sizes(inputs: InputSet, parameters: ReconstructionParameters
                       ) -> tuple[MapSizes, Frame]:
    if parameters.box_px is None:
        raise UsageError("--box-px is needed when particles are cut from tilt series.")
    box = parameters.box_px
    if box % 2:
        raise UsageError(f"--box-px is {box}, expected an even number. Use for example {box + 1}.")
    voxel_A = inputs.pixel_A * parameters.binning
    cut = cut_size_px(box, voxel_A, inputs.used_series) if parameters.ctf else box
    sizes = MapSizes(box, padded_grid_px(box, parameters.pad), voxel_A)
    return sizes, Frame(box, cut, parameters.binning, voxel_A)


def _image_sizes(inputs: InputSet, parameters: ReconstructionParameters, kind: str
                 ) -> tuple[MapSizes, Frame]:
    particles = inputs.particles
    box, voxel_A = particles.image_size_px, particles.image_pixel_A
    if box is None or voxel_A is None:
        raise InputError(f"{inputs.paths.particles}: the optics table lacks rlnImageSize or "
                         "rlnImagePixelSize. Add them.")
    if parameters.box_px not in (None, box):
        raise UsageError(f"--box-px {parameters.box_px}: the images have {box} px. Leave the "
                         "option out, or use --source tilt-series.")
    if box % 2:
        raise InputError(f"{inputs.paths.particles}: images of {box} px; only even boxes are "
                         "averaged. Extract with an even box.")
    grid = box if kind == "boxes" else padded_grid_px(box, parameters.pad)
    return MapSizes(box, grid, voxel_A), Frame(box, box, 1, voxel_A)


def make_units(setup: Setup) -> list[Unit]:
    """Particles of one tilt series and half-set in chunks; the same for any number of ranks."""
    i_tomo = setup.inputs.particles.i_tomo
    groups = [(ts, half, np.flatnonzero((i_tomo == i) & (setup.half == half)))
              for i, ts in enumerate(setup.inputs.series) for half in (1, 2)]
    chunks = chunk_groups([rows for _, _, rows in groups], setup.parameters.unit_particles)
    units: list[Unit] = []
    for (ts, half, _), of_group in zip(groups, chunks, strict=True):
        for chunk in of_group:
            units.append(Unit(len(units), ts.name, float(len(chunk) * ts.n_tilts), (half, chunk)))
    return units


def make_plans(setup: Setup, runtime: Any, more_shapes: Sequence[Shape] = ()
               ) -> FftPlans:
    """FFT plans of all sizes of the job, the same on all ranks and in every run."""
    box_px, grid_px = setup.sizes.box_px, setup.sizes.grid_px
    shapes: list[Shape] = [*setup.source.fft_shapes(), (box_px,) * 2, Padding(box_px, grid_px),
                           Padding(LOW_PX, 2 * LOW_PX), *more_shapes]
    return shared_plans(runtime, list(dict.fromkeys(shapes)), setup.folder)


def memory_plan(setup: Setup, ranks: int = 1) -> MemoryPlan:
    """Arrays that one rank, and one node, hold at the peak besides the engine's sums.

    Of `ranks` each inverts its own planes; what they turn by a symmetry is whole, once a node.
    """
    grid, cut, box = setup.sizes.grid_px, setup.frame.cut_px, setup.frame.box_px
    n_tilts = max(ts.n_tilts for ts in setup.inputs.used_series)
    one_sum = 4.0 * math.prod(setup.sizes.sum_shape)
    patches = n_tilts * (8.0 * box * (box // 2 + 1) + 28.0 * grid * (grid // 2 + 1))
    transfer = n_tilts * (4.0 * cut * (cut // 2 + 1) + 12.0 * grid * (grid // 2 + 1))
    shared = {"tilt images": float(setup.source.bytes_shared())}
    if _has_symmetry(setup.parameters):
        shared["sums to be turned"] = one_sum
    return MemoryPlan(
        {"sums of a unit": one_sum, "patches of a particle": patches, "transfer": transfer,
         "inversion": (1.0 + 6.0 / ranks) * one_sum},    # traced: 0.3 + 5.9 / ranks
        shared)


def _has_symmetry(parameters: ReconstructionParameters) -> bool:
    """Whether sums will be turned, or may be."""
    is_helical = isinstance(parameters, AverageParameters) and parameters.helical_units > 1
    return parameters.symmetry.upper() != "C1" or is_helical


def n_slices(setup: Setup) -> int:
    """Most slices that the sums of this job can hold."""
    tilts = np.array([ts.n_tilts for ts in setup.inputs.series])
    return int(tilts[setup.inputs.particles.i_tomo].sum())


def check_any_seen(n_slices: NDArray[np.int32], setup: Setup) -> None:
    """InputError where no particle contributed anything."""
    if not (n_slices > 0).any():
        raise InputError(
            f"none of {len(n_slices)} particles lies with its whole box of "
            f"{setup.sizes.box_px} px ({setup.sizes.box_px * setup.sizes.voxel_A:.0f} Å) on a tilt "
            "image. Use a smaller box, and `sta-mpi check` to see where particles land.")


SAMPLES_A_VOXEL = 8.0
"""Mean number of samples of a half-set in a voxel at Nyquist, symmetric copies included, from which
the samples of the box are used. At 1 they still lose nothing where orientations are even."""


class UnitSums:
    """Sums of one unit, made once a rank and cleared for every unit.

    Floats on the host; integers on a GPU, for at most `most_slices` slices a unit.
    """

    def __init__(self, sizes: MapSizes, device: str = "cpu", most_slices: int = 1) -> None:
        self._sums = (DeviceSums(sizes.grid_px, SAMPLE_BOUND, most_slices)
                      if device == "gpu" else np.zeros(sizes.sum_shape, np.float32))
        self._grid_px = sizes.grid_px

    def clear(self) -> None:
        """Begin a unit."""
        if isinstance(self._sums, DeviceSums):
            self._sums.clear()
        else:
            self._sums.fill(0)

    def insert(self, samples: TiltSamples | BoxSamples, R_p2t: Floats) -> None:
        """Add the samples of one particle."""
        samples.insert(self._sums, self._grid_px, R_p2t)

    def total(self) -> NDArray[np.floating]:
        """The sums of the unit; DataError for samples out of scale (on the host: when merged)."""
        return self._sums.total() if isinstance(self._sums, DeviceSums) else self._sums


class SliceMaker:
    """What is inserted of an observation: samples of the box, or of the padded grid of the sums.

    A patch that is masked by the box's circle is known from the samples of its box; those of the
    padded grid in between follow from them. Inserting without them repeats each patch beyond
    the circle, where the map is cut off, as long as voxels of the sums see enough slices for
    their weights to be smooth (docs/decisions/0091).
    """

    def __init__(self, setup: Setup, n_classes: int = 1) -> None:
        self._is_box = _may_use_boxes(setup, n_classes) and _samples_a_voxel(
            setup) >= SAMPLES_A_VOXEL
        self._grid_px = setup.sizes.grid_px

    def __call__(self, observation: Any) -> TiltSamples | BoxSamples:
        """The samples of an observation that sums take."""
        samples: TiltSamples | BoxSamples = (
            observation.samples_with_low(self._grid_px) if self._is_box
            else observation.samples_to_insert(self._grid_px))
        return samples


def _may_use_boxes(setup: Setup, n_classes: int) -> bool:
    """Tilt images, copies of patches outside of the map, one class, room for low frequencies."""
    sizes = setup.sizes
    return (setup.source.kind in ("tilt-series", "stacks") and n_classes == 1
            and sizes.grid_px >= 2 * sizes.box_px and 2 * sizes.box_px >= 3 * LOW_PX)


def _samples_a_voxel(setup: Setup) -> float:
    """Samples of boxes in a voxel at Nyquist, of the smaller half-set, on average."""
    sizes = setup.sizes
    tilts = np.array([ts.n_tilts for ts in setup.inputs.series])[setup.inputs.particles.i_tomo]
    fewest = min(int(tilts[setup.half == half].sum()) for half in (1, 2))
    copies = len(symmetry_matrices(setup.parameters.symmetry))
    return fewest * copies / (sizes.pad**3 * sizes.box_px)


def make_unit_sums(setup: Setup, runtime: Any, units: Sequence[Unit], n_classes: int = 1,
                   modes: int = 1, more_bytes: Mapping[str, float] | None = None
                   ) -> list[UnitSums]:
    """Sums of a unit for every class, on the device of this rank, which is taken. Collective.

    Parameters
    ----------
    units : sequence of Unit    of `make_units`
    modes : int                 most poses at which a particle is inserted
    more_bytes : mapping        what else this rank will keep on a GPU [bytes]
    """
    device = setup.parameters.device
    choice = select_device(runtime, device)
    check_device_memory(runtime, choice, {
        **(more_bytes or {}),
        "sums of a unit": float(n_classes * DeviceSums.bytes_needed(setup.sizes.grid_px))})
    tilts = np.array([ts.n_tilts for ts in setup.inputs.series])
    slices = np.maximum(tilts[setup.inputs.particles.i_tomo], SLICES_A_BOX)
    most = max((int(slices[unit.payload[1]].sum()) for unit in units), default=1)
    return [UnitSums(setup.sizes, device, modes * most) for _ in range(n_classes)]
