"""`import`: a RELION 5 project of tilt series that another program aligned. Rank 0 alone works."""

from pathlib import Path
from typing import Any

import numpy as np

from sta_mpi.errors import InputError
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.import_output import report_sections, write_project
from sta_mpi.jobs.import_relion import import_relion, relion_files
from sta_mpi.jobs.import_series import import_series
from sta_mpi.jobs.import_sources import RELION, find_series
from sta_mpi.jobs.parameters.project_import import ImportParameters


def input_files(parameters: ImportParameters) -> list[Path]:
    """Files whose content the fingerprint covers: all but the images."""
    series = find_series(parameters)
    if series[0].kind == RELION:
        return relion_files(series, parameters)
    return [path for s in series for path in s.files]


def run(parameters: ImportParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Read all series, then write: a bad file leaves no half project."""
    if not runtime.is_root:
        return JobOutcome()
    found = find_series(parameters)
    if found[0].kind == RELION:
        return import_relion(found, parameters, folder)
    series = [import_series(files, parameters) for files in found]
    compressed = [s for s in series if s.stack.path.name.endswith(".gz")]
    if compressed and not parameters.copy_stacks:
        raise InputError(f"{compressed[0].stack.path}: a compressed stack would be unpacked by "
                         "every command. Pass --copy-stacks, or unpack it.")
    outputs = write_project(folder, series, parameters)
    tilts = np.concatenate([s.nominal_deg for s in series])
    results = {"tilt_series": len(series), "tilts": int(sum(s.ts.n_tilts for s in series)),
               "pixel_A": series[0].ts.pixel_A, "tilt_min_deg": float(tilts.min()),
               "tilt_max_deg": float(tilts.max())}
    warnings = [line for s in series for line in s.notes.warnings]
    return JobOutcome(results, outputs, report_sections(series), warnings)
