"""The tomogram table of a job whose input had none: it is written into the job's folder."""

from dataclasses import replace
from pathlib import Path

from sta_mpi.jobs.inputs import InputSet


def with_own_table(inputs: InputSet, folder: Path) -> InputSet:
    """The input set with `tomograms.star` in `folder` as its table, which is written."""
    path = folder / "tomograms.star"
    inputs.tomograms.write(path, allow_odd=True)
    return replace(inputs, paths=replace(inputs.paths, tomograms=path))


def with_table(inputs: InputSet, folder: Path) -> InputSet:
    """The input set as it is, or with its own table where volumes came without one."""
    return inputs if inputs.tomograms.source is not None else with_own_table(inputs, folder)
