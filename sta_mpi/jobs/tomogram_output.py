"""Tables and report of `tomogram`, on rank 0."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.mrc import StackReader, open_stack
from sta_mpi.formats.relion_sets import read_optimisation_set, write_optimisation_set
from sta_mpi.jobs.tomogram_setup import SeriesPlan, TomogramSetup, volume_name
from sta_mpi.parallel.job import Unit
from sta_mpi.prepare.preview import lowpassed_slice, mean_power
from sta_mpi.prepare.tomogram_grid import tilt_angles_deg
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures.tomograms import power_picture, tomogram_slices

SHOWN = 4
"""Tomograms with pictures in the report."""
SHOWN_LOWPASS_A = 60.0
SLAB_A = 100.0
_POWER_PLANES = 16


def write_tables(setup: TomogramSetup, complete: list[SeriesPlan]) -> dict[str, str]:
    """Write tomograms.star, its tilt series, and the set where one was given."""
    named = {}
    for plan in complete:
        paths = [setup.folder / volume_name(plan.series.name, kind) for kind in setup.kinds]
        named[plan.series.name] = tuple(project_name(path) for path in paths)
    tables = setup.tomograms.with_volumes(named, setup.binning)
    tables.write(setup.folder / "tomograms.star")
    outputs = {"tomograms": "tomograms.star"}
    for plan in complete[:1]:
        outputs["first_tomogram"] = volume_name(plan.series.name, "")
    given = setup.parameters.optimisation_set
    if given is not None:
        members = replace(read_optimisation_set(given), tomograms=setup.folder / "tomograms.star")
        write_optimisation_set(setup.folder / "optimisation_set.star", members)
        outputs["optimisation_set"] = "optimisation_set.star"
    return outputs


def project_name(path: Path) -> str:
    """How tables name a file: from the current folder, which is the project's, if below."""
    absolute, here = path.resolve(), Path().resolve()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def tomogram_sections(setup: TomogramSetup, units: list[Unit], rows: dict[str, NDArray[Any]],
                      complete: list[SeriesPlan]) -> list[Section]:
    """A table of all tomograms, and pictures of the first ones."""
    of_series = np.array([unit.payload[0] for unit in units])
    lines = []
    for i, plan in enumerate(setup.plans):
        if plan not in complete:
            continue
        own = of_series == i
        factor = float(rows["factor"][own][0])
        sd = _sd(rows["statistics"][own, 0], float(np.prod(plan.size_px)))
        lines.append((plan.series.name, "{} x {} x {}".format(*plan.size_px),
                      plan.series.n_tilts, factor, sd / factor))
    contrast = "bright" if setup.parameters.invert else "dark, as on the raw images"
    table = Table(
        "Tomograms", ("name", "voxels x, y, z", "tilts", "stored number per density",
                      "s.d. of the density"), lines,
        f"Protein is {contrast}. Densities are on the grey scale of the images: voxels summed "
        "along a beam give the image back. Stored numbers are densities times the factor.")
    return [Section("What was made", tables=[table]),
            *(_pictures(setup, plan) for plan in complete[:SHOWN])]


def _sd(statistics: NDArray[np.float64], n_voxels: float) -> float:
    mean = statistics[:, 2].sum() / n_voxels
    return float(np.sqrt(max(statistics[:, 3].sum() / n_voxels - mean * mean, 0.0)))


def _pictures(setup: TomogramSetup, plan: SeriesPlan) -> Section:
    voxel_A, name = setup.voxel_A, plan.series.name
    _, y, z = plan.size_px
    with open_stack(setup.folder / volume_name(name, "")) as stack:
        # a yz slice would touch every page of the file
        xy, xz = stack[z // 2], stack[:, y // 2]
        slab = central_slab(stack, SLAB_A / voxel_A)
        rows = np.unique(np.linspace(0, y - 1, min(y, _POWER_PLANES)).astype(int))
        power = mean_power(np.stack([stack[:, row] for row in rows]))
    lowpass_A = max(SHOWN_LOWPASS_A, 4.0 * voxel_A)
    smooth = [lowpassed_slice(planes, voxel_A, lowpass_A) for planes in (slab, xz[None])]
    tilts = tilt_angles_deg(plan.series.rotation)
    return Section(name, figures=[
        Figure("Slices", tomogram_slices(xy, xz, voxel_A),
               "Through the centre, as they are."),
        Figure("Low-passed slices", tomogram_slices(smooth[0], smooth[1], voxel_A),
               f"The xy slice is the mean over {len(slab) * voxel_A:.0f} Å; all are low-passed at "
               f"{lowpass_A:.0f} Å."),
        Figure("Power in xz", power_picture(power, voxel_A, (tilts.min(), tilts.max())),
               "Logarithm of the mean power of xz slices. The dark cone is the missing wedge; "
               "lines mark the first and last tilt.")])


def central_slab(stack: StackReader, planes: float) -> NDArray[np.float32]:
    """The middle planes of a volume, at least one."""
    z, m = stack.shape[0], max(1, round(planes))
    first = max(0, z // 2 - m // 2)
    return stack[first : first + m]
