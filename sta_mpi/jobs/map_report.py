"""Numbers and report sections about half maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.reconstruction import Maps
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import (
    angular_coverage,
    ctf_weight,
    fsc_curves,
    map_comparison,
    map_slices,
)
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.fsc import FscResult, resolution_A


def fsc_results(fsc: FscResult) -> dict[str, Any]:
    """Resolutions for job.json."""
    at = {name: resolution_A(curve, fsc.voxel_A, fsc.box_px)
          for name, curve in (("unmasked", fsc.unmasked), ("masked", fsc.masked))}
    return {"resolution_A": fsc.resolution_A(), "resolution_0.5_A": fsc.resolution_A(0.5),
            "resolution_unmasked_A": at["unmasked"], "resolution_masked_A": at["masked"]}


def map_results(maps: Maps) -> dict[str, Any]:
    """Sizes and resolutions for job.json."""
    return {"box_px": maps.merged.box_px, "voxel_A": maps.merged.voxel_A, **fsc_results(maps.fsc)}


def fsc_section(fsc: FscResult) -> Section:
    """The four curves."""
    curves: Mapping[str, Any] = {
        "unmasked": fsc.unmasked, "masked": fsc.masked, "randomised": fsc.randomised,
        "corrected": fsc.corrected}
    marks = [(t, fsc.resolution_A(t)) for t in (0.143, 0.5) if np.isfinite(fsc.resolution_A(t))]
    return Section("Fourier shell correlation", figures=[Figure(
        "FSC of the half maps", fsc_curves.later(curves, fsc.voxel_A, fsc.box_px, marks),
        "Corrected is the masked curve after subtracting what the mask itself correlates "
        "(randomised). It should fall to zero and stay there; a masked curve far above the "
        "unmasked one means a tight mask or much solvent.")])


def _filtered_halves(maps: Maps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Half maps low-passed at the resolution, for drawing; unfiltered where there is none."""
    limit_A = maps.fsc.resolution_A()
    half1, half2 = maps.halves.half1, maps.halves.half2
    if not np.isfinite(limit_A):
        return half1.data, half2.data
    return (lowpass_map(half1.data, half1.voxel_A, limit_A),
            lowpass_map(half2.data, half2.voxel_A, limit_A))


def map_sections(maps: Maps, particles: Particles, symmetry: str) -> list[Section]:
    """Slices, FSC, angular coverage, weights."""
    voxel_A, box = maps.merged.voxel_A, maps.merged.box_px
    pictures = [
        Figure("Merged map", map_slices.later(maps.merged.data, voxel_A),
               "Filtered by the FSC-derived signal-to-noise ratio; central slices above, "
               "projections below."),
        Figure("Half maps", map_comparison.later(*_filtered_halves(maps), voxel_A=voxel_A),
               "Half maps, here low-passed at the resolution (the files are unfiltered), and their "
               "difference in one grey scale. The difference should look like noise.")]
    weights = dict(zip(("half 1", "half 2", "both"), maps.weights, strict=True))
    coverage = angular_coverage.later(particles.R_p2t, symmetry_matrices(symmetry), symmetry)
    return [
        Section("Maps", figures=pictures), fsc_section(maps.fsc),
        Section("Sampling", figures=[
            Figure("Angular coverage", coverage,
                   "Where the beam at zero tilt comes from, seen from the particle. Gaps that the "
                   "tilts do not fill make the resolution differ with direction."),
            Figure("Weight per shell", ctf_weight.later(weights, voxel_A, box),
                   "Mean weight (scale, dose, CTF, noise) of a Fourier voxel. Dips are CTF zeros "
                   "that the defocus spread does not fill.")])]
