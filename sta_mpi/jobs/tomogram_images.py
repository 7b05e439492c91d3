"""Filtered tilt images of a series in the memory of a node, filtered by all of its ranks.

A slot holds one series. Which of its images are there is kept beside them, and a rank that needs
the series filters those that no other rank has begun.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import DataError
from sta_mpi.formats.mrc import StackReader, open_stack, split_stack_name
from sta_mpi.jobs.inputs import resolve_path
from sta_mpi.jobs.tomogram_setup import SeriesPlan, TomogramSetup
from sta_mpi.kernels.back_project import frame_inside
from sta_mpi.prepare.image_filter import ImageFilter
from sta_mpi.prepare.tomogram_grid import voxel_matrices
from sta_mpi.signal.fft import FftPlans


class SeriesSlot:
    """One series in a flat float32 array.

    Attributes
    ----------
    images : (m, h + 3, w + 3)   filtered, in frames of zeros; halves one after the other
    halves : list of views       the images of each half; one without halves
    matrices : list              voxel index to sample index for each half
    is_done, variance, largest, n_bad : (m,)   of each image: variance and largest magnitude
                                 after filtering, pixels that were not finite
    """

    def __init__(self, plan: SeriesPlan, flat: NDArray[np.float32]) -> None:
        m, h, w = plan.framed_shape
        head = flat[: 4 * m].reshape(4, m)
        self.is_done, self.variance, self.largest, self.n_bad = head
        self.images = flat[4 * m : 4 * m + m * h * w].reshape(m, h, w)
        P = plan.series.P[list(plan.tilts)]
        matrices = voxel_matrices(P, plan.series.pixel_A, plan.unbinned_size_px, plan.grid)
        if plan.is_turned:
            matrices = np.ascontiguousarray(matrices[:, ::-1])
        parts = [slice(0, plan.n_first), slice(plan.n_first, m)]
        self.halves = [self.images[part] for part in parts if part.start < m]
        self.matrices = [matrices[part] for part in parts if part.start < m]

    @staticmethod
    def size(plan: SeriesPlan) -> int:
        """Numbers that a series takes."""
        m, h, w = plan.framed_shape
        return m * (4 + h * w)


class FilteredImages:
    """The slots of a node; making it is collective.

    Parameters
    ----------
    setup : TomogramSetup
    n_slots : int            series held at once
    """

    def __init__(self, setup: TomogramSetup, runtime: Any, plans: FftPlans, n_slots: int) -> None:
        self._setup, self._runtime, self._plans = setup, runtime, plans
        largest = max(SeriesSlot.size(plan) for plan in setup.plans)
        most = max(len(plan.tilts) for plan in setup.plans)
        self._most = most
        self._store = runtime.slots(n_slots, (largest,), np.float32)
        self._turns = runtime.slots(n_slots * most + runtime.node_size, (1,), np.int64)
        self._loads = runtime.shared_array((len(setup.plans),), np.int64)
        self._filter: tuple[int, ImageFilter] | None = None
        self._kept: tuple[tuple[int, int], SeriesSlot] | None = None
        self._stack: tuple[Path, StackReader] | None = None

    @contextmanager
    def loaded(self, i_series: int) -> Iterator[SeriesSlot]:
        """All filtered images of a series."""
        plan = self._setup.plans[i_series]
        with self._store.load_once(i_series, lambda flat: self._begin(i_series, flat)) as flat:
            load = int(self._loads[i_series])
            slot = self._slot(i_series, load, flat)
            n = len(plan.tilts)
            first = self._runtime.node_rank * n // self._runtime.node_size
            for k in np.roll(np.arange(n), -first).tolist():
                if not slot.is_done[k]:
                    key = (load * len(self._setup.plans) + i_series) * self._most + k
                    with self._turns.load_once(
                            key, lambda _, k=k: self._fill(i_series, k, slot)):
                        pass
            yield slot

    def _begin(self, i_series: int, flat: NDArray[np.float32]) -> None:
        m, h, w = self._setup.plans[i_series].framed_shape
        flat[: m * (4 + h * w)] = 0
        self._loads[i_series] += 1

    def _slot(self, i_series: int, load: int, flat: NDArray[np.float32]) -> SeriesSlot:
        """The same object for the same content: a GPU keeps a copy of its images."""
        if self._kept is None or self._kept[0] != (i_series, load):
            slot = SeriesSlot(self._setup.plans[i_series], flat)
            self._kept = (i_series, load), slot
        return self._kept[1]

    def _fill(self, i_series: int, k: int, slot: SeriesSlot) -> None:
        """Filter one image."""
        if slot.is_done[k]:
            return
        plan = self._setup.plans[i_series]
        if self._filter is None or self._filter[0] != i_series:
            self._filter = i_series, ImageFilter(
                plan.series, plan.grid, plan.size_px[2], self._setup.options, self._plans)
        image = self._read(plan, k)
        inside = frame_inside(slot.images)[k]
        if plan.is_turned:
            inside = inside.T
        slot.n_bad[k] = self._filter[1].filtered(plan.tilts[k], image, inside)
        if slot.n_bad[k] == image.size:
            raise DataError(f"tilt series {plan.series.name}, tilt {plan.tilts[k] + 1}: image "
                            f"{plan.image_names[k]} holds no number. Exclude this tilt.")
        slot.variance[k] = inside.var(dtype=np.float64)
        slot.largest[k] = max(inside.max(), -inside.min())
        slot.is_done[k] = 1

    def _read(self, plan: SeriesPlan, k: int) -> NDArray[np.float32]:
        """One raw image. A packed stack stays open until another is needed; others are closed, as
        the pages of a mapped file count as memory of this process."""
        number, name = split_stack_name(plan.image_names[k])
        path = resolve_path(name, [self._setup.source])
        if self._stack is None or self._stack[0] != path or path.suffix != ".gz":
            self._stack = path, open_stack(path)
        stack = self._stack[1]
        width, height = plan.grid.image_px
        place = 1 if number is None else number
        if not 1 <= place <= len(stack) or stack.shape[1:] != (height, width):
            raise DataError(
                f"tilt series {plan.series.name}, tilt {plan.tilts[k] + 1}: image "
                f"{plan.image_names[k]} is number {place} of {len(stack)} images of "
                f"{stack.shape[2]} x {stack.shape[1]} px, expected {width} x {height} px. Use "
                "images of one size.")
        image = np.asarray(stack[place - 1])
        if path.suffix != ".gz":
            stack.close()
        return image
