"""Particles that stay on their rank between rounds: nothing is read or cut twice.

A `ParticleStore` stands where a `Source` does. It asks the source for a particle the first
time, and again when the offset at which the particle is cut (its anchor) has changed;
otherwise it makes the observation from what it kept. Memory is filled first, then the scratch
file, and what fits neither is cut again each time (`store_plan` says how much that is).

The precision decides the bits of an observation, where it is kept never does: single
precision is what the source gives, half precision is rounded when a particle is cut, whether
it is kept or not. So results do not depend on ranks, on memory or on a resume.
"""

import math
import warnings
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.kept import Kept, Observation, keep, restore
from sta_mpi.align.observe import TiltObservation
from sta_mpi.align.transfer import TransferModel
from sta_mpi.errors import InputWarning
from sta_mpi.jobs.particle_shelves import MemoryShelf, ScratchShelf, Shelf
from sta_mpi.jobs.sources import Source
from sta_mpi.jobs.store_plan import StorePlan
from sta_mpi.signal.fft import FftPlans, Shape

Floats = NDArray[np.float64]


@dataclass
class StoreCounts:
    """What a store has done so far on this rank.

    Parameters
    ----------
    hits, cuts : int                     observations that were kept, and that the source made
    memory_bytes, scratch_bytes : int    held now
    particles : int                      held now
    """

    hits: int = 0
    cuts: int = 0
    memory_bytes: int = 0
    scratch_bytes: int = 0
    particles: int = 0


MODELS_BYTES = 64 << 20
"""Images of transfer models that are kept between stages, beside those of the last series."""


@dataclass(frozen=True)
class _Entry:
    """At which anchor a particle was cut and where it is; no shelf: it is on no tilt."""

    anchor: bytes
    shelf: Shelf | None


class ParticleStore:
    """The particles that one rank keeps for a whole command; a `Source` itself.

    Parameters
    ----------
    source : Source        where particles come from
    plan : StorePlan       precision and room
    """

    def __init__(self, source: Source, plan: StorePlan) -> None:
        self.source, self.plan = source, plan
        self.kind = source.kind
        self._dtype = np.float16 if plan.precision == "float16" else np.float32
        self._memory = MemoryShelf(plan.memory_limit_bytes)
        self._scratch: ScratchShelf | None = None
        self._entries: dict[int, _Entry] = {}
        # those used last stand at the end
        self._models: dict[Hashable, TransferModel] = {}
        self._group: Hashable = None
        self._plans: Any = None
        self._hits = self._cuts = 0
        self._has_warned = False

    def __enter__(self) -> "ParticleStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and disk space back; the store must not be used afterwards."""
        self._entries.clear()
        self._memory.close()
        if self._scratch is not None:
            self._scratch.close()

    # ---- a source -----------------------------------------------------------------

    def prepare(self, runtime: Any, plans: FftPlans) -> None:
        """Prepare the source; kept particles use the new plans too."""
        self.source.prepare(runtime, plans)
        self._plans = plans

    def fft_shapes(self) -> list[Shape]:
        """Those of the source."""
        return self.source.fft_shapes()

    def gain(self, half: int) -> float:
        """That of the source."""
        return self.source.gain(half)

    def check(self) -> None:
        """Let the source check itself."""
        self.source.check()

    def bytes_shared(self) -> int:
        """Node-shared memory of the source; the store's own is in its plan."""
        return self.source.bytes_shared()

    def model_group(self, row: int) -> Hashable:
        """That of the source."""
        return self.source.model_group(row)

    def observe(self, row: int, offset_A: Floats) -> Observation | None:
        """The observation of particle `row` cut at its position plus `offset_A`, the anchor."""
        anchor = (np.asarray(offset_A, np.float64) + 0.0).tobytes()    # -0.0 is 0.0
        entry = self._entries.get(row)
        if entry is not None and entry.anchor == anchor:
            if entry.shelf is None:
                self._hits += 1
                return None
            kept = entry.shelf.get(row)
            if kept is not None:
                self._hits += 1
                return restore(kept, self._model(row), self._plans)
        self._drop(row)
        return self._cut(row, offset_A, anchor)

    def _cut(self, row: int, offset_A: Floats, anchor: bytes) -> Observation | None:
        observation = self.source.observe(row, offset_A)
        self._cuts += 1
        if observation is None:
            self._entries[row] = _Entry(anchor, None)
            return None
        if isinstance(observation, TiltObservation):
            # not the model that cut it: that one holds filters of the size of windows
            self._models.setdefault(self.source.model_group(row), observation.model.fresh())
        kept = keep(observation, self._dtype)
        shelf = self._put(row, kept)
        if shelf is not None:
            self._entries[row] = _Entry(anchor, shelf)
        return restore(kept, self._model(row), self._plans)

    def _put(self, row: int, kept: Kept) -> Shelf | None:
        if self._memory.put(row, kept):
            return self._memory
        if self.plan.scratch_limit_bytes < kept.nbytes:
            return None
        if self._scratch is None:
            self._scratch = ScratchShelf(
                Path(self.plan.scratch_dir), self.plan.scratch_limit_bytes,
                math.ceil(self.plan.largest_bytes))
        if self._scratch.put(row, kept):
            return self._scratch
        if self._scratch.is_full and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the scratch folder {self.plan.scratch_dir} is full: particles that do not fit "
                "are cut again in each round. Give a larger --scratch-dir.", InputWarning)
        return None

    def _model(self, row: int) -> TransferModel | None:
        """The transfer model of a kept particle."""
        group = self.source.model_group(row)
        if group not in self._models:
            return None
        if group != self._group:
            self._group = group
            self._models[group] = self._models.pop(group)
            self._forget_images()
        return self._models[group]

    def _forget_images(self) -> None:
        """Let the models used longest ago drop their images; the one in use does not count."""
        total = 0
        for group in list(self._models)[-2::-1]:
            total += self._models[group].nbytes
            if total > MODELS_BYTES:
                total -= self._models[group].nbytes
                self._models[group] = self._models[group].fresh()

    # ---- what is held --------------------------------------------------------------

    def keep_only(self, rows: Collection[int]) -> None:
        """Drop all other particles: another rank has taken them over."""
        wanted = set(rows)
        for row in [row for row in self._entries if row not in wanted]:
            self._drop(row)

    def _drop(self, row: int) -> None:
        entry = self._entries.pop(row, None)
        if entry is not None and entry.shelf is not None:
            entry.shelf.drop(row)

    @property
    def counts(self) -> StoreCounts:
        """Hits, cuts and what is held now on this rank."""
        return StoreCounts(
            self._hits, self._cuts, self._memory.nbytes,
            0 if self._scratch is None else self._scratch.nbytes,
            sum(entry.shelf is not None for entry in self._entries.values()))
