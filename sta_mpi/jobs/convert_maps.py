"""Maps of EM files as MRC, for `convert --to mrc`."""

from typing import Any

import numpy as np

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.em_files import read_em
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.parameters.convert import ConvertParameters


def convert_maps(p: ConvertParameters, folder: JobFolder) -> JobOutcome:
    """Write every map of --input as an MRC file of the same name, in float32."""
    if p.pixel_A is None:
        raise UsageError("--to mrc: EM files do not say their voxel. Give --pixel-A.")
    outputs: dict[str, str] = {}
    for path in p.input:
        data: Any = read_em(path).data
        if np.iscomplexobj(data) or not np.isfinite(data).all():
            raise InputError(f"{path}: complex numbers, NaN or Inf. Give a map of finite numbers.")
        name = f"{path.stem}.mrc"
        if name in outputs.values():
            raise UsageError(f"--input: two maps are named {path.stem}. Convert them one by one.")
        write_mrc(folder.file(name), data.astype(np.float32), p.pixel_A, is_volume=True)
        outputs[path.stem] = name
    return JobOutcome({"maps": len(outputs), "to": "mrc"}, outputs)
