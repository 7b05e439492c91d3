"""`postprocess`: half maps to a sharpened, filtered map and its resolution."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import HalfMaps
from sta_mpi.formats.emdb_fsc import write_fsc_xml
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_fsc import Postprocess, write_postprocess
from sta_mpi.formats.relion_mtf import read_mtf
from sta_mpi.jobs.final_fsc import FinalFsc, final_fsc
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.fsc_report import all_curves, curves_section, particle_factors
from sta_mpi.jobs.half_maps import half_map_files, read_half_maps, same_map_warning
from sta_mpi.jobs.map_report import fsc_results
from sta_mpi.jobs.parameters.postprocess import PostprocessParameters
from sta_mpi.jobs.postprocess_report import map_section, sharpening_section
from sta_mpi.jobs.resolution_report import other_curves, resolution_report
from sta_mpi.post.guinier import b_factor_beyond_doubt
from sta_mpi.post.sharpen import Sharpened, Sharpening, mtf_of_shells, sharpen
from sta_mpi.signal.fsc import fsc_weight

Map = NDArray[np.float32]
Floats = NDArray[np.float64]


def input_files(parameters: PostprocessParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    p = parameters
    files = half_map_files(p.half1, p.half2)
    for other in (*p.subset_half1, *p.split_half1):
        files += half_map_files(other, None)
    return files + [path for path in (p.mask, p.mtf) if path is not None]


def run(parameters: PostprocessParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Compute and write map, tables and report; rank 0 alone works."""
    if not runtime.is_root:
        return JobOutcome()
    p = parameters
    halves = read_half_maps(p.half1, p.half2, p.voxel_A)
    curves = final_fsc(p, halves)
    others = other_curves(p, halves, curves.mask)
    how = _sharpening(p, curves)
    done = sharpen(halves.merged.data, curves.voxel_A, how)
    factors = particle_factors(curves.mask, p.molecular_weight_kDa,
                               curves.box_px * curves.voxel_A)
    columns = {**all_curves(curves.fsc, factors), "corrected": curves.final}
    outputs = _write(p, folder, curves, done, columns, factors)
    if p.write_half_maps:
        same = replace(how, auto_b_factor=False, b_factor_A2=done.b_factor_A2)
        outputs |= _write_halves(folder, halves, same)
    results = {"box_px": curves.box_px, "voxel_A": curves.voxel_A, **fsc_results(curves.fsc),
               "resolution_A": curves.resolution_A, "b_factor_A2": done.b_factor_A2}
    sections = [curves_section(curves.fsc, columns), map_section(done.map, curves),
                sharpening_section(done, curves)]
    warnings = same_map_warning(halves) + _warnings(p, curves, done)
    outcome = JobOutcome(results, outputs, sections, warnings)
    resolution_report(p, halves, curves, others, outcome)
    return outcome


def _sharpening(p: PostprocessParameters, curves: FinalFsc) -> Sharpening:
    mtf = None
    if p.mtf is not None:
        mtf = mtf_of_shells(*read_mtf(p.mtf), p.mtf_pixel_A or curves.voxel_A, curves.box_px,
                            curves.voxel_A)
    lowpass_A = p.lowpass_A
    if p.lowpass_at_resolution:
        # without any resolution nothing but the first shell is left
        lowpass_A = min(curves.resolution_A, curves.box_px * curves.voxel_A)
    return Sharpening(
        weight=fsc_weight(curves.final) if p.fsc_weighting else None, mtf=mtf,
        b_factor_A2=p.b_factor_A2, auto_b_factor=p.auto_b_factor, fit_low_A=p.b_fit_low_A,
        fit_high_A=p.b_fit_high_A, lowpass_A=lowpass_A,
        lowpass_edge_shells=p.lowpass_edge_shells)


def _write_halves(folder: JobFolder, halves: HalfMaps, how: Sharpening) -> dict[str, str]:
    """Both half maps, treated as the merged map."""
    outputs = {}
    for i, half in ((1, halves.half1), (2, halves.half2)):
        outputs[f"half{i}"] = f"postprocess_half{i}.mrc"
        write_mrc(folder.file(outputs[f"half{i}"]), sharpen(half.data, half.voxel_A, how).map,
                  half.voxel_A)
    return outputs


def _write(p: PostprocessParameters, folder: JobFolder, curves: FinalFsc, done: Sharpened,
           columns: dict[str, Floats], factors: dict[str, float]) -> dict[str, str]:
    outputs = {"map": "postprocess.mrc", "map_masked": "postprocess_masked.mrc",
               "mask": "mask.mrc", "postprocess": "postprocess.star", "fsc_xml": "fsc.xml"}
    voxel_A = curves.voxel_A
    write_mrc(folder.file(outputs["map"]), done.map, voxel_A)
    write_mrc(folder.file(outputs["map_masked"]), done.map * curves.mask, voxel_A)
    write_mrc(folder.file(outputs["mask"]), curves.mask, voxel_A)
    s_per_A = np.sqrt(done.s2_per_A2)
    write_fsc_xml(folder.file(outputs["fsc_xml"]), s_per_A, curves.final)
    files = half_map_files(p.half1, p.half2)
    general: dict[str, Any] = {
        "final_resolution_A": min(curves.resolution_A, 999.0), "b_factor_A2": done.b_factor_A2,
        "half1": str(files[0]), "half2": str(files[1]), "map": str(folder.path / outputs["map"])}
    if p.molecular_weight_kDa is not None:
        general["molecular_weight"] = p.molecular_weight_kDa  # RELION counts in kDa
        general["fraction_molecular_weight"] = factors["particle_mol_weight"]
    general |= {"fraction_solvent_mask": factors["particle_mask_fraction"],
                "mask": str(p.mask or folder.path / outputs["mask"])}
    if curves.fsc.randomised_from_shell is not None:
        general["randomise_from_A"] = curves.box_px * voxel_A / curves.fsc.randomised_from_shell
    general["map_masked"] = str(folder.path / outputs["map_masked"])
    guinier = dict(done.log_amplitudes)
    if done.fit is not None:
        general |= {"guinier_slope": done.fit.slope_A2, "guinier_intercept": done.fit.intercept,
                    "guinier_correlation": done.fit.r_squared}
        guinier["intercept"] = np.full(len(s_per_A), done.fit.intercept)
    write_postprocess(folder.file(outputs["postprocess"]), Postprocess(
        s_per_A, columns, general, done.s2_per_A2, guinier))
    return outputs


def _warnings(p: PostprocessParameters, curves: FinalFsc, done: Sharpened) -> list[str]:
    texts = []
    limit_A = curves.resolution_A
    if not np.isfinite(limit_A):
        texts.append("the FSC is below 0.143 from the first shell on: the half maps share nothing "
                     "that can be seen. Check that they are halves of one reconstruction.")
    elif limit_A < 2.02 * curves.voxel_A:
        texts.append(f"the FSC stays above 0.143 up to Nyquist ({2 * curves.voxel_A:.3g} Å): the "
                     "voxel limits the resolution, or the halves are not independent. Use a "
                     "smaller binning.")
    if curves.used_unmasked:
        texts.append("the mask makes the resolution worse, so the unmasked FSC is used "
                     "(--force-mask keeps the masked one). Look whether the mask fits the map.")
    start = curves.fsc.randomised_from_shell
    if start is not None and start + 2 < len(curves.fsc.randomised):
        shell = min(start + 2, len(curves.fsc.randomised) - 1)
        at_limit = round(curves.box_px * curves.voxel_A / limit_A) if np.isfinite(limit_A) else 0
        if at_limit > shell and curves.fsc.randomised[at_limit] > 0.143:
            texts.append(
                f"phase-randomised maps still correlate by {curves.fsc.randomised[at_limit]:.2f} "
                "at the resolution: the mask is too tight or its edge too sharp. Use a wider mask "
                "with a softer edge (sta-mpi mask).")
    return texts + _b_factor_warning(p, curves, done)


def _b_factor_warning(p: PostprocessParameters, curves: FinalFsc, done: Sharpened) -> list[str]:
    """Whether the B-factor depends on how far beyond the resolution the line is fitted."""
    limit_A = curves.resolution_A
    if done.fit is None or p.b_fit_high_A is not None or not np.isfinite(limit_A):
        return []
    plot = done.log_amplitudes.get("weighted", done.log_amplitudes["original"])
    within = b_factor_beyond_doubt(done.s2_per_A2, plot, done.fit, p.b_fit_low_A, limit_A)
    if within is None:
        return []
    return [f"the B-factor is {done.b_factor_A2:.1f} Å² fitted to all shells with a weight, but "
            f"{within:.1f} Å² up to the resolution ({limit_A:.3g} Å). Compare both "
            "maps (--b-fit-high-A)."]
