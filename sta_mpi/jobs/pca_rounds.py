"""The parallel rounds of the principal components of aligned particles."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_maps import masked_band, particle_band
from sta_mpi.align.pca import (
    Coordinates,
    coordinates,
    maximise,
    moment_products,
    principal_axes,
    shrink,
    unit_variance,
)
from sta_mpi.align.voxel_band import MergedBand, VoxelBand
from sta_mpi.errors import ParticleError
from sta_mpi.jobs.averaging import Setup, make_plans, make_units, n_slices
from sta_mpi.jobs.reconstruction import SAMPLE_BOUND
from sta_mpi.jobs.sources import refuse_all_bad
from sta_mpi.parallel.job import Partial, SumSpec, Unit

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

FARTHEST = 30.0
"""Coordinates [standard deviations] beyond which a particle counts as one at that distance."""

CACHE_BYTES = 1 << 30
"""Merged bands that a rank keeps between rounds."""


@dataclass(frozen=True)
class PcaModel:
    """Mean (v,), components (q, v) and their power (q,) over the voxels of a band."""

    mean: Complexes
    components: Complexes
    power: Floats


class BandCache:
    """Merged bands of the particles of this rank; what does not fit is merged again."""

    def __init__(self, limit_bytes: float = CACHE_BYTES) -> None:
        self._bands: dict[int, MergedBand | None] = {}
        self._room = limit_bytes

    def get(self, row: int, make: Any) -> MergedBand | None:
        """The band of a particle; None where no tilt sees it."""
        if row in self._bands:
            return self._bands[row]
        band = make()
        size = 0 if band is None else band.data.nbytes + band.weight.nbytes
        if size <= self._room:
            self._room -= size
            self._bands[row] = band
        return band  # type: ignore[no-any-return]


class PcaRound:
    """One E and M step over all particles at their given poses.

    `is_shrunk` scales shells of noise down; not in early rounds, where weak components would not
    grow any more. Without a model the coordinates are random numbers, so that the first
    components are random mixtures of the particles themselves.
    """

    def __init__(self, setup: Setup, band: VoxelBand, model: PcaModel | None, n_components: int,
                 mask: NDArray[np.float32], cache: BandCache, tag: str,
                 is_shrunk: bool = False) -> None:
        self.name = f"components {tag.rpartition('/')[2]}"
        self.setup, self.band, self.model = setup, band, model
        self.n_components, self._mask, self._cache, self._tag = n_components, mask, cache, tag
        self._is_shrunk = is_shrunk

    def units(self) -> list[Unit]:
        """Chunks of one series and half."""
        return make_units(self.setup)

    def sum_specs(self) -> dict[str, SumSpec]:
        """Numerators, products and the squares of coordinates."""
        q, v = self.n_components + 1, len(self.band.index)
        bound = SAMPLE_BOUND * 4.0 * n_slices(self.setup) * FARTHEST**2
        return {"numerators": SumSpec((v, q, 2), bound),
                "products": SumSpec((v, q * (q + 1) // 2), bound),
                "squares": SumSpec((q - 1, q - 1), 2.0 * FARTHEST**2 * len(self.setup.half))}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Coordinates of each particle and what they add to its log-likelihood."""
        n = len(self.setup.half)
        return {"z": ((n, self.n_components), "float64"), "gain": ((n,), "float64")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag

    def prepare(self, runtime: Any) -> None:
        """Plans and images."""
        self.setup.source.prepare(runtime, make_plans(self.setup, runtime))

    def work(self, context: None, unit: Unit) -> Partial:
        """Coordinates and sums of a unit's particles."""
        half, rows = unit.payload
        gain = self.setup.source.gain(half)
        q, v = self.n_components, len(self.band.index)
        numerators = np.zeros((q + 1, v), np.complex128)
        products = np.zeros(((q + 1) * (q + 2) // 2, v))
        squares = np.zeros((q, q))
        z, gains = np.full((len(rows), q), np.nan), np.full(len(rows), np.nan)
        left_out: list[tuple[int, str]] = []
        for i, row in enumerate(rows):
            try:
                merged = self._cache.get(int(row), lambda row=int(row): self._merge(row))
            except ParticleError as error:
                left_out.append((int(row), str(error)))
                continue
            if merged is None:
                continue
            # data were X / sigma^2 with both on the scale of gain: undo it in each
            data = merged.data.astype(np.complex128) * gain
            weight = merged.weight.astype(np.float64) * gain**2
            own = self._coordinates(int(row), data, weight)
            first, second = moment_products(own)
            numerators += first[:, None] * data
            products += second[:, None] * weight
            squares += own.covariance + np.outer(own.mean, own.mean)
            z[i], gains[i] = own.mean, own.gain
        refuse_all_bad(left_out, len(rows))
        parts = np.stack([numerators.real, numerators.imag], axis=-1)
        return Partial({"numerators": np.ascontiguousarray(parts.transpose(1, 0, 2)),
                        "products": np.ascontiguousarray(products.T), "squares": squares},
                       rows, {"z": z, "gain": gains}, left_out)

    def _merge(self, row: int) -> MergedBand | None:
        particles = self.setup.inputs.particles
        observation = self.setup.source.observe(row, particles.offset_A[row])
        if observation is None:
            return None
        samples = observation.samples(self.setup.sizes.box_px)
        return particle_band(samples, particles.R_p2t[row], self.band)

    def _coordinates(self, row: int, data: Complexes, weight: Floats) -> Coordinates:
        if self.model is None:
            seed = [self.setup.parameters.seed, row, 0x9CA]
            draw = np.random.default_rng(seed).normal(size=self.n_components)
            return Coordinates(draw, np.zeros((self.n_components,) * 2), 0.0)
        found = coordinates(data, weight, self.model.mean, self.model.components)
        return replace(found, mean=np.clip(found.mean, -FARTHEST, FARTHEST))

    def finish(self, reduced: Any, runtime: Any) -> tuple[PcaModel, Floats, Floats]:
        """The next model, and coordinates and gain in the model of this round."""
        z, gain = reduced.rows("z"), reduced.rows("gain")
        sums = {name: reduced.shared(name) for name in ("numerators", "products", "squares")}
        model = None
        if runtime.is_root:
            n_used = max(int(np.isfinite(z[:, 0]).sum()), 1)
            parts = sums["numerators"].transpose(1, 0, 2)
            products = np.ascontiguousarray(sums["products"].T)
            mean, components = maximise(parts[..., 0] + 1j * parts[..., 1], products)
            components = np.stack([masked_band(c, self._mask, self.band) for c in components])
            if self._is_shrunk:
                radius = np.linalg.norm(self.band.K_xyz, axis=1)
                components = shrink(components, products, radius, float(np.mean(self._mask**2)))
            model = PcaModel(mean, *principal_axes(
                unit_variance(components, sums["squares"] / n_used)))
        for shared in sums.values():
            runtime.barrier()
            runtime.release_shared(shared)
        return runtime.bcast(model), z, gain
