"""Sizes and source of a job whose particles are cut from tomograms."""

import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observe import Frame
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.reconstructed_tomograms import ReconstructedTomogram
from sta_mpi.jobs.inputs import InputSet
from sta_mpi.jobs.reconstruction import MapSizes, padded_grid_px
from sta_mpi.jobs.source_volumes import MadeAs, VolumeOptions, VolumeSource, WedgeSpec
from sta_mpi.jobs.sources import ObservationOptions
from sta_mpi.jobs.window_size import cut_size_px

DARK_SKEW = -0.3
"""Skewness of the middle of an average from which it looks inverted: protein is few bright voxels
among many of solvent, whatever its shape."""


def volumes_of(inputs: InputSet) -> dict[int, ReconstructedTomogram]:
    """The volumes of the tomograms that particles are in; InputError where one has none."""
    volumes = {}
    for i in np.unique(inputs.particles.i_tomo).tolist():
        name = inputs.particles.tomo_names[i]
        volume = inputs.tomograms.reconstructed(name)
        if volume is None:
            raise InputError(
                f"{inputs.paths.tomograms}: tomogram {name} names no reconstructed volume "
                "(rlnTomoReconstructedTomogram). Make it with sta-mpi tomogram, or give volumes "
                "with --tomogram.")
        volumes[i] = volume
    return volumes


def volume_sizes(inputs: InputSet, parameters: Any) -> tuple[MapSizes, Frame]:
    """Sizes of maps and windows; the voxel is that of the volumes."""
    volumes = volumes_of(inputs)
    voxels = np.array([v.pixel_A for v in volumes.values()])
    voxel_A = float(voxels[0])
    if np.ptp(voxels) > 1e-3 * voxel_A:
        raise InputError(
            f"{inputs.paths.tomograms}: volumes with voxels from {voxels.min():.4f} to "
            f"{voxels.max():.4f} Å. Average tomograms of one voxel size.")
    box = parameters.box_px
    if box is None:
        raise UsageError("--box-px is needed when particles are cut from tomograms.")
    if box % 2:
        raise UsageError(f"--box-px is {box}, expected an even number. Use for example {box + 1}.")
    if parameters.binning != 1:
        raise UsageError(
            f"--binning {parameters.binning}: tomograms are used at their own voxel "
            f"({voxel_A:.4g} Å). Leave it out, or make tomograms of that binning.")
    kinds = wedge_specs(inputs, parameters)
    has_ctf = (parameters.ctf and any(m.ctf != "flipped" for m in made_as(volumes, parameters
                                                                          ).values())
               and any(spec.kind == "tilts" for spec in kinds.values()))
    cut = cut_size_px(box, voxel_A, inputs.used_series) if has_ctf else box
    sizes = MapSizes(box, padded_grid_px(box, parameters.pad), voxel_A)
    return sizes, Frame(box, cut, 1, voxel_A)


def wedge_specs(inputs: InputSet, parameters: Any) -> dict[str, WedgeSpec]:
    """What is known of the measured region of each tomogram, by name."""
    if inputs.wedges is not None:
        return dict(inputs.wedges)
    kind = parameters.wedge
    if kind == "auto":
        kind = "binary" if parameters.tomogram else "tilts"
    spec = WedgeSpec(kind, (parameters.tilt_min_deg, parameters.tilt_max_deg),
                     parameters.wedge_mask, parameters.edge_shift_px)
    return dict.fromkeys(inputs.particles.tomo_names, spec)


def make_volume_source(inputs: InputSet, options: ObservationOptions, half: NDArray[np.int8],
                       grid_px: int, parameters: Any) -> VolumeSource:
    """The source of a job with --source tomograms."""
    if inputs.motion_A is not None:
        raise UsageError("--trajectories move particles between tilts, which a tomogram has none "
                         "of any more. Use --source tilt-series, or leave them out.")
    volumes = volumes_of(inputs)
    return VolumeSource(inputs, options, half, volumes, VolumeOptions(
        wedge_specs(inputs, parameters), made_as(volumes, parameters)), grid_px)


def made_as(volumes: dict[int, ReconstructedTomogram], parameters: Any) -> dict[str, MadeAs]:
    """How each tomogram was made, by name: from the job that made it, unless options say."""
    found = {}
    for volume in volumes.values():
        job = _tomogram_job(volume)
        made = MadeAs() if job is None else MadeAs(
            not job.get("invert", False), str(job.get("ctf", "none")),
            bool(job.get("dose_weighting", True)), job.get("tilt_weights") == "scale")
        if parameters.tomogram_contrast != "auto":
            made = replace(made, is_dark=parameters.tomogram_contrast == "dark")
        if parameters.tomogram_ctf != "auto":
            made = replace(made, ctf=parameters.tomogram_ctf)
        if parameters.tomogram_dose != "auto":
            made = replace(made, is_dose_weighted=parameters.tomogram_dose == "weighted")
        found[volume.name] = made
    return found


def contrast_warnings(kind: str, merged: NDArray[np.float32]) -> list[str]:
    """One line where an average of boxes from tomograms looks inverted, else none."""
    if kind != "tomograms":
        return []
    n = len(merged)
    axis = np.arange(n) - n // 2
    radius2 = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    middle = merged[radius2 < (0.3 * n) ** 2].astype(np.float64)
    spread = float(middle.std())
    if spread == 0 or float(np.mean((middle - middle.mean()) ** 3)) > DARK_SKEW * spread**3:
        return []
    return ["the average looks inverted: its strongest voxels are dark, but protein has to be "
            "bright. Compare with the other --tomogram-contrast (dark or bright)."]


def _tomogram_job(volume: ReconstructedTomogram) -> dict[str, Any] | None:
    """Parameters of the `tomogram` job in whose folder a volume lies; None: another program's."""
    for path in volume.paths:
        for folder in list(path.resolve().parents)[:2]:
            file = folder / "job.toml"
            if not file.is_file():
                continue
            try:
                values = tomllib.loads(file.read_text())
            except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
                continue
            if values.get("command") == "tomogram":
                return values
    return None
