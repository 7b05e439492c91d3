"""Maps, numbers and report of `local-resolution`, on rank 0."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import HalfMaps
from sta_mpi.errors import InputError
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_mtf import read_mtf
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.parameters.local_resolution import LocalResolutionParameters
from sta_mpi.post.local_filter import filter_locally, frequency_map
from sta_mpi.post.sharpen import Sharpening, mtf_of_shells, sharpen
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import map_slices
from sta_mpi.report.figures.local_resolution import (
    local_curves,
    local_histogram,
    resolution_slices,
)
from sta_mpi.signal.fsc import fsc_weight

if TYPE_CHECKING:
    from sta_mpi.jobs.local_resolution import Plan

Map = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LocalResult:
    """Curves of all windows and what follows from them.

    Parameters
    ----------
    curves : (m, n_shells)        at the points; NaN where a window has no power
    null_curves : (p, n_shells)   of unrelated places
    thresholds : (n_shells,)
    s_per_A : (m,)                local frequency; NaN as above
    """

    curves: Floats
    null_curves: Floats
    thresholds: Floats
    s_per_A: Floats


def finish_maps(p: LocalResolutionParameters, plan: "Plan", halves: HalfMaps, mask: Map,
                found: LocalResult, folder: JobFolder) -> JobOutcome:
    """Interpolate, filter, write, report."""
    usable = np.isfinite(found.s_per_A)
    if not usable.any():
        raise InputError("no window of the half maps holds any density: are they masked, and the "
                         "mask elsewhere? Give unmasked half maps.")
    voxel_A = halves.half1.voxel_A
    n = halves.half1.box_px
    s_map = frequency_map(found.s_per_A, plan.points, plan.step_px, (n, n, n))
    resolution = (1.0 / s_map).astype(np.float32)
    merged, b_factor_A2 = _sharpened(p, plan, halves)
    filtered = filter_locally(merged, s_map, voxel_A)
    outputs = {"local_resolution": "local_resolution.mrc", "map": "local_filtered.mrc",
               "curves": "local_fsc.h5"}
    write_mrc(folder.file(outputs["local_resolution"]), resolution, voxel_A)
    write_mrc(folder.file(outputs["map"]), filtered, voxel_A)
    write_h5(folder.file(outputs["curves"]), {
        "points_zyx": plan.points, "curves": found.curves.astype(np.float32),
        "null_curves": found.null_curves.astype(np.float32), "thresholds": found.thresholds,
        "s_per_A": found.s_per_A}, {"voxel_A": voxel_A, "window_px": plan.window.edge_px})
    values = 1.0 / found.s_per_A[usable]
    quantiles = np.percentile(values, (5, 25, 50, 75, 95))
    results: dict[str, Any] = {
        "local_median_A": float(quantiles[2]), "local_best_5_percent_A": float(quantiles[0]),
        "local_worst_5_percent_A": float(quantiles[4]), "b_factor_A2": b_factor_A2}
    sections = [
        _resolution_section(plan, halves.merged.data, mask, resolution, values),
        _noise_section(p, plan, found),
        Section("Filtered map", figures=[Figure(
            "Locally filtered map", map_slices.later(filtered, voxel_A),
            "Merged map, every voxel low-passed at its own resolution.")])]
    return JobOutcome(results, outputs, sections, _warnings(plan, found, values))


def _sharpened(p: LocalResolutionParameters, plan: "Plan", halves: HalfMaps
               ) -> tuple[Map, float]:
    """Merged map over the MTF and sharpened; the local filter takes the place of FSC weights."""
    mtf = None
    voxel_A, n = halves.half1.voxel_A, halves.half1.box_px
    if p.mtf is not None:
        mtf = mtf_of_shells(*read_mtf(p.mtf), p.mtf_pixel_A or voxel_A, n, voxel_A)
    b_factor_A2 = p.b_factor_A2
    if p.auto_b_factor:
        weighted = sharpen(halves.merged.data, voxel_A, Sharpening(
            weight=fsc_weight(plan.fsc.corrected), mtf=mtf, auto_b_factor=True,
            fit_low_A=p.b_fit_low_A))
        b_factor_A2 = weighted.b_factor_A2
    done = sharpen(halves.merged.data, voxel_A, Sharpening(mtf=mtf, b_factor_A2=b_factor_A2))
    return done.map, done.b_factor_A2


def _warnings(plan: "Plan", found: LocalResult, values: Floats) -> list[str]:
    texts = []
    empty = int((~np.isfinite(found.s_per_A)).sum())
    if empty:
        texts.append(f"{empty} of {len(found.s_per_A)} windows hold no density: were the half maps "
                     "masked? Local resolution needs unmasked, unfiltered half maps.")
    limit_A, window_A = plan.fsc.resolution_A(), plan.window.diameter_px * plan.fsc.voxel_A
    if window_A < 5.0 * limit_A:
        texts.append(f"the window of {window_A:.3g} Å is less than 5 times the resolution "
                     f"({limit_A:.3g} Å): local values scatter by tens of percent. A larger box or "
                     "--window-A helps.")
    return texts


def _resolution_section(plan: "Plan", merged: Map, mask: Map, resolution: Map, values: Floats
                        ) -> Section:
    return Section("Local resolution", figures=[
        Figure("Local resolution on the map",
               resolution_slices.later(merged, resolution, mask, plan.fsc.voxel_A),
               "Central slices of the merged map, coloured by local resolution inside the "
               "mask."),
        Figure("Histogram", local_histogram.later(values, plan.fsc.resolution_A()),
               "Resolution at the measured points. The dashed line is the resolution of the whole "
               "map: it should lie among the better half of the points.")])


def _noise_section(p: LocalResolutionParameters, plan: "Plan", found: LocalResult) -> Section:
    return Section("Noise", figures=[Figure(
        "Curves of the windows",
        local_curves.later(found.curves, found.null_curves, found.thresholds, p.threshold,
                           plan.window.edge_px, plan.fsc.voxel_A),
        "Blue: middle half and nine tenths of the local curves. Grey: the same for windows at "
        "unrelated places, whose true FSC is zero. The threshold follows the upper end of "
        "the grey where that is above the nominal one.")])
