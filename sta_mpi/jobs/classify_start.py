"""First classes: random ones, or clusters of the principal components of aligned particles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_maps import map_of_band
from sta_mpi.align.classes import random_labels
from sta_mpi.align.clusters import gaussian_mixture, k_means
from sta_mpi.align.voxel_band import VoxelBand, make_voxel_band
from sta_mpi.errors import UsageError
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.align_loop import RoundLoop
from sta_mpi.jobs.averaging import Setup, check_any_seen, memory_plan
from sta_mpi.jobs.engine import run_stage
from sta_mpi.jobs.parameters.classify import ClassifyParameters
from sta_mpi.jobs.pca_rounds import CACHE_BYTES, BandCache, PcaModel, PcaRound
from sta_mpi.jobs.reconstruction import fsc_mask
from sta_mpi.parallel.memory import MemoryPlan

Floats = NDArray[np.float64]

LARGEST_BAND_PX = 10.0
"""Largest Fourier index of the components where none is asked for: 2100 voxels."""


def start_classes(parameters: ClassifyParameters, loop: RoundLoop,
                  mask: NDArray[np.float32] | None) -> NDArray[np.intp]:
    """Labels (n,) on all ranks; -1: no tilt sees the particle."""
    setup, runtime = loop.setup, loop.runtime
    if parameters.method == "em" and parameters.start == "random":
        rng = np.random.default_rng([parameters.seed, 0xC1A55])
        return random_labels(setup.half, parameters.n_classes, rng)
    if mask is None:
        mask = fsc_mask(setup.sizes, parameters.mask_diameter_A)
    band = component_band(parameters, setup)
    model, z, gain = _find_components(parameters, loop, band, mask)
    used = np.isfinite(z[:, 0])
    check_any_seen(used.astype(np.int32), setup)
    labels = None
    if runtime.is_root:
        cluster = gaussian_mixture if parameters.cluster == "gmm" else k_means
        labels = np.full(len(z), -1, np.intp)
        labels[used] = cluster(z[used], parameters.n_classes, parameters.seed)
        _write_components(loop, band, model, z, gain, labels)
    return runtime.bcast(labels)  # type: ignore[no-any-return]


def component_band(parameters: ClassifyParameters, setup: Setup) -> VoxelBand:
    """Voxels of the components."""
    box, span_A = setup.sizes.box_px, setup.sizes.box_px * setup.sizes.voxel_A
    r_max = min(span_A / parameters.lowpass_A, LARGEST_BAND_PX)
    if parameters.pca_lowpass_A is not None:
        r_max = span_A / parameters.pca_lowpass_A
        if not 2.0 <= r_max <= box / 2:
            raise UsageError(
                f"--pca-lowpass-A {parameters.pca_lowpass_A:g}: expected "
                f"{2 * setup.sizes.voxel_A:.4g} (Nyquist) to {span_A / 2:.4g} Å (2 Fourier shells "
                "of the box).")
    r_min = 0.0 if parameters.highpass_A is None else span_A / parameters.highpass_A
    return make_voxel_band(box, min(r_max, box / 2 - 3.0), r_min)


def _find_components(parameters: ClassifyParameters, loop: RoundLoop, band: VoxelBand,
                     mask: NDArray[np.float32]) -> tuple[PcaModel, Floats, Floats]:
    """Components, and the coordinates of all particles in them."""
    model: PcaModel | None = None
    cache = BandCache()
    setup, runtime = loop.setup, loop.runtime
    bytes_all = 12.0 * len(band.index) * len(setup.half)
    memory: MemoryPlan | None = memory_plan(setup).plus(MemoryPlan(
        {"bands of particles": min(float(CACHE_BYTES), bytes_all)}))
    z = gain = np.zeros(0)
    # the last round gives the coordinates in the components of the one before
    for i in range(parameters.pca_iterations + 2):
        job = PcaRound(setup, band, model, parameters.components, mask, cache,
                       f"{loop.folder.fingerprint}/{i + 1}", 2 * i > parameters.pca_iterations)
        result = run_stage(job, loop.folder, runtime, parameters, loop.checkpoints, memory,
                           loop.holders)
        memory = None
        loop.keep_holders(result)
        following, z, gain = result.outputs
        if i < parameters.pca_iterations + 1:
            model = following
    assert model is not None
    return model, z, gain


def _write_components(loop: RoundLoop, band: VoxelBand, model: PcaModel, z: Floats, gain: Floats,
                      labels: NDArray[np.intp]) -> None:
    """Mean and components as maps, coordinates as a container."""
    voxel_A, folder = loop.setup.sizes.voxel_A, loop.folder
    write_mrc(folder.file("component_mean.mrc"), map_of_band(model.mean, band), voxel_A)
    for i, component in enumerate(model.components, 1):
        write_mrc(folder.file(f"component{i:02d}.mrc"), map_of_band(component, band), voxel_A)
    arrays: dict[str, Any] = {
        "coordinates": z, "gain": gain, "power": model.power, "cluster": labels}
    write_h5(folder.file("components.h5"), arrays, {"what": "principal components of classify"})
