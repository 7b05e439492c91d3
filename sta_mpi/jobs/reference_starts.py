"""The parallel stages of `reference`: particles in a low band, and starts in competition."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_maps import particle_band
from sta_mpi.align.band_set import BandSet, Rows
from sta_mpi.align.denovo import StartSettings, run_start
from sta_mpi.align.first_maps import particle_map, random_map
from sta_mpi.align.reference_tree import fair_reference
from sta_mpi.align.voxel_band import VoxelBand
from sta_mpi.errors import ParticleError
from sta_mpi.jobs.averaging import Setup, make_plans
from sta_mpi.jobs.sources import refuse_all_bad
from sta_mpi.jobs.wisdom import shared_plans
from sta_mpi.parallel.job import Partial, SumSpec, Unit, chunk_rows
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

TREE_SHELL, TREE_ORDER = 5.0, 1
"""Band and list of rotations in which pairs of particles are aligned."""


@dataclass(frozen=True)
class Drawn:
    """Particles of the competition.

    Parameters
    ----------
    rows : (m,) int             rows of the particle file, rising
    frames : (n, 3, 3)          axes of each particle's frame to those of the tomogram, all rows
    """

    rows: Rows
    frames: Floats


class BandJob:
    """Merge the drawn particles into the voxels of a low band."""

    name = "low band"

    def __init__(self, setup: Setup, band: VoxelBand, drawn: Drawn, tag: str) -> None:
        self.setup, self.band, self.drawn, self._tag = setup, band, drawn, tag

    def units(self) -> list[Unit]:
        """Chunks of one series; the payload is places in the list of drawn rows."""
        particles = self.setup.inputs.particles
        series = particles.i_tomo[self.drawn.rows]
        units: list[Unit] = []
        for i_tomo in np.unique(series):
            name = self.setup.inputs.series[i_tomo].name
            for places in chunk_rows(np.flatnonzero(series == i_tomo),
                                     self.setup.parameters.unit_particles):
                units.append(Unit(len(units), name, float(len(places)), places))
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Data, weights, and whether a tilt sees the particle."""
        m, k = len(self.drawn.rows), len(self.band.index)
        return {"data": ((m, k, 2), "float32"), "weight": ((m, k), "float32"),
                "is_seen": ((m,), "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._tag + "low band"

    def prepare(self, runtime: Any) -> None:
        """Plans and images."""
        self.setup.source.prepare(runtime, make_plans(self.setup, runtime))

    def work(self, context: None, unit: Unit) -> Partial:
        """Cut and merge the particles of a unit."""
        places, k = unit.payload, len(self.band.index)
        values = {"data": np.zeros((len(places), k, 2), np.float32),
                  "weight": np.zeros((len(places), k), np.float32),
                  "is_seen": np.zeros(len(places), np.int32)}
        left_out: list[tuple[int, str]] = []
        for i, row in enumerate(self.drawn.rows[places]):
            try:
                observation = self.setup.source.observe(
                    int(row), self.setup.inputs.particles.offset_A[row])
            except ParticleError as error:
                left_out.append((int(row), str(error)))
                continue
            if observation is None:
                continue
            merged = particle_band(observation.samples(self.setup.sizes.box_px),
                                   self.drawn.frames[row], self.band)
            # data were X / sigma^2 with both on the scale of gain: undo it in each
            gain = np.float32(self.setup.source.gain(int(self.setup.half[row])))
            values["data"][i, :, 0] = merged.data.real * gain
            values["data"][i, :, 1] = merged.data.imag * gain
            values["weight"][i] = merged.weight * gain**2
            values["is_seen"][i] = 1
        refuse_all_bad(left_out, len(places))
        return Partial({}, places, values, left_out)

    def finish(self, reduced: Any, runtime: Any) -> tuple[BandSet, NDArray[np.bool_]]:
        """All drawn particles on all ranks, and which of them were seen."""
        data, weight = reduced.rows("data"), reduced.rows("weight")
        bands = BandSet(self.band, np.ascontiguousarray(data[..., 0] + 1j * data[..., 1]), weight)
        return bands, reduced.rows("is_seen") > 0


@dataclass(frozen=True)
class Entrants:
    """What the competition is about.

    Parameters
    ----------
    bands : BandSet             m particles
    half : (m,)                 1 and 2
    train, test : rows of bands
    settings : StartSettings
    first : (K, ...) int        rows of bands that a start begins with: one for a particle, 2^k for
                                a tree, none for random poses
    method : str
    seed : int
    """

    bands: BandSet
    half: NDArray[np.int8]
    train: Rows
    test: Rows
    settings: StartSettings
    first: Rows
    method: str
    seed: int


class StartsJob:
    """One unit is one start, from its first map to the evidence of unseen particles."""

    name = "starts"

    def __init__(self, entrants: Entrants, n_levels: int, tag: str, folder: Any) -> None:
        self.entrants, self.n_levels, self._tag, self._folder = entrants, n_levels, tag, folder

    def units(self) -> list[Unit]:
        """The starts."""
        return [Unit(i, "starts", 1.0, i) for i in range(len(self.entrants.first))]

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Maps and evidence of each start; `firsts` are the maps it came from, level by level."""
        n, g = len(self.entrants.first), self.entrants.bands.band.grid_px
        m = len(self.entrants.test)
        rounds = sum(stage.rounds for stage in self.entrants.settings.stages)
        return {"map": ((n, g, g, g), "float32"),
                "firsts": ((n, self.n_levels, g, g, g), "float32"),
                "gain": ((n, m), "float64"), "inverted": ((n, m), "float64"),
                "blob": ((n, m), "float64"),
                "course": ((n, rounds), "float64")}

    def fingerprint(self) -> str:
        """Digest of inputs and parameters."""
        return self._tag + "starts"

    def prepare(self, runtime: Any) -> FftPlans:
        """Plans of the small boxes."""
        g = self.entrants.bands.band.grid_px
        return shared_plans(runtime, [(g,) * 3, (2 * g,) * 3], self._folder)

    def work(self, context: FftPlans, unit: Unit) -> Partial:
        """Run one start."""
        e, i = self.entrants, unit.id
        rng = np.random.default_rng([e.seed, i, 0x5EED])
        firsts = first_maps_of(e, i, rng, context)
        found = run_start(e.bands, firsts[-1], e.half, e.train, e.test, e.settings, rng, context)
        values: dict[str, NDArray[Any]] = {
            "map": found.map, "firsts": np.stack(firsts), "gain": found.gain,
            "inverted": found.inverted, "blob": found.blob,
            "course": found.course}
        return Partial({}, np.array([i]), {name: v[None] for name, v in values.items()})

    def finish(self, reduced: Any, runtime: Any) -> dict[str, NDArray[Any]]:
        """All starts on all ranks."""
        return {name: reduced.rows(name) for name in self.row_specs()}


def first_maps_of(e: Entrants, i: int, rng: np.random.Generator, plans: FftPlans) -> list[Map]:
    """The map that a start begins with; of a tree, those of its levels before it."""
    if e.method == "particle":
        return [particle_map(e.bands, int(e.first[i, 0]), e.settings, plans)]
    if e.method == "tree":
        low = e.bands.within(max(
            min(TREE_SHELL, e.settings.stages[-1].r_max), e.settings.stages[0].r_max))
        return fair_reference(low, e.first[i], e.settings, TREE_ORDER, plans).maps
    return [random_map(e.bands, e.half, e.train, e.settings, rng, plans)]
