"""`fsc`: Fourier shell correlation of two half maps, by shell and direction, and with a model."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import HalfMaps, Volume
from sta_mpi.formats.emdb_fsc import write_fsc_xml
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_fsc import Postprocess, write_postprocess
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.fsc_report import (
    all_curves,
    curves_section,
    directional_results,
    directional_section,
    particle_factors,
    write_directional,
)
from sta_mpi.jobs.half_maps import (
    half_map_files,
    map_sizes,
    read_fsc_mask,
    read_half_maps,
    same_map_warning,
)
from sta_mpi.jobs.map_model import MapModel, compare_with_model, model_section
from sta_mpi.jobs.map_report import fsc_results
from sta_mpi.jobs.parameters.fsc import FscParameters
from sta_mpi.jobs.reference_files import refuse_flat
from sta_mpi.post.directional import directional_fsc
from sta_mpi.signal.fsc import FscResult, corrected_fsc

Map = NDArray[np.float32]


def input_files(parameters: FscParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    p = parameters
    files = half_map_files(p.half1, p.half2) if p.half1 is not None else []
    return files + [path for path in (p.map, p.mask, p.model) if path is not None]


def run(parameters: FscParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Compute, write the curves and the report; rank 0 alone works."""
    if not runtime.is_root:
        return JobOutcome()
    p = parameters
    if p.half1 is None:
        assert p.map is not None
        volume = read_mrc(p.map, pixel_A=p.voxel_A)
        refuse_flat(volume.data, p.map, "map")
        found = _against_model(p, volume, p.map)
        outcome = JobOutcome({"voxel_A": volume.voxel_A})
    else:
        halves = read_half_maps(p.half1, p.half2, p.voxel_A)
        # before anything is written: a model that does not fit leaves no half-done folder
        found = _against_model(p, halves.merged, half_map_files(p.half1, p.half2)[0])
        outcome = _half_map_curves(p, folder, halves)
    if found is not None:
        _add_model(found, folder, outcome)
    return outcome


def _half_map_curves(p: FscParameters, folder: JobFolder, halves: HalfMaps) -> JobOutcome:
    map1, map2 = halves.half1.data, halves.half2.data
    voxel_A, box = halves.half1.voxel_A, halves.half1.box_px
    mask = read_fsc_mask(p.mask, p.mask_diameter_A, map_sizes(halves.half1), p.voxel_A)
    fsc = corrected_fsc(map1, map2, mask, voxel_A, np.random.default_rng(p.seed),
                        p.randomise_at_A, p.randomise_at_fsc)
    factors = particle_factors(mask, p.molecular_weight_kDa, box * voxel_A)
    curves = all_curves(fsc, factors)
    outputs = write_curves(folder, fsc, curves)
    results = {"box_px": box, "voxel_A": voxel_A, **fsc_results(fsc)}
    outcome = JobOutcome(results, outputs, [curves_section(fsc, curves)], same_map_warning(halves))
    if p.directional:
        cones = directional_fsc(map1, map2, mask, voxel_A, randomised=fsc.randomised,
                                from_shell=fsc.randomised_from_shell, cone_deg=p.cone_deg)
        results.update(directional_results(cones))
        outputs["fsc_directional"] = "fsc_directional.star"
        write_directional(folder.file("fsc_directional.star"), cones)
        outcome.sections.append(directional_section(cones, fsc))
    return outcome


def write_curves(folder: JobFolder, fsc: FscResult, curves: dict[str, NDArray[np.float64]]
                 ) -> dict[str, str]:
    """Write fsc.star and fsc.xml; returns name -> file name."""
    s_per_A = np.arange(len(fsc.corrected)) / (fsc.box_px * fsc.voxel_A)
    write_postprocess(folder.file("fsc.star"), Postprocess(
        s_per_A, curves, {"final_resolution_A": fsc.resolution_A()}))
    write_fsc_xml(folder.file("fsc.xml"), s_per_A, fsc.corrected)
    return {"fsc": "fsc.star", "fsc_xml": "fsc.xml"}


def _against_model(p: FscParameters, volume: Volume, frame: Path) -> MapModel | None:
    if p.model is None:
        return None
    return compare_with_model(volume, frame, p.model, p.model_radius_A, p.model_b_factor_A2)


def _add_model(found: MapModel, folder: JobFolder, outcome: JobOutcome) -> None:
    s_per_A = np.arange(len(found.curve)) / (found.box_px * found.voxel_A)
    write_fsc_xml(folder.file("fsc_model.xml"), s_per_A, found.curve, "sta-mpi map-model FSC")
    outcome.outputs["fsc_model_xml"] = "fsc_model.xml"
    outcome.results.update({"resolution_model_0.5_A": found.resolution_A,
                            "model_correlation": found.correlation})
    outcome.sections.append(model_section(found))
