"""Tomograms, template and seeds of `match`: read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_header, read_mrc
from sta_mpi.formats.reconstructed_tomograms import ReconstructedTomogram
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.jobs.foreign_tomograms import ForeignTomogram, foreign_tomogram_set
from sta_mpi.jobs.parameters.match import MatchParameters
from sta_mpi.jobs.reference_files import refuse_flat
from sta_mpi.jobs.source_volumes import MadeAs
from sta_mpi.jobs.volume_setup import made_as
from sta_mpi.signal.masks import soft_sphere

Real = NDArray[np.float32]
Floats = NDArray[np.float64]

FEWEST_VOXELS = 16
"""Smallest edge of a tomogram on the grid of the search."""


@dataclass(frozen=True)
class Seeds:
    """Places of one tomogram to search near."""

    xyz_A: Floats
    R_p2t: Floats


@dataclass(frozen=True)
class MatchSource:
    """One tomogram to search."""

    volume: ReconstructedTomogram
    series: TiltSeries
    made: MadeAs
    seeds: Seeds | None

    @property
    def name(self) -> str:
        """rlnTomoName."""
        return self.volume.name


@dataclass(frozen=True)
class MatchInput:
    """All tomograms of a search and its template."""

    tomograms: TomogramSet
    tomogram_file: Path | None
    sources: list[MatchSource]
    template: Real
    template_voxel_A: float


def tomogram_file(p: MatchParameters) -> Path | None:
    """The tomogram table given by an option or by the set; None for plain volumes."""
    if p.tomogram:
        return None
    path = p.tomograms
    if path is None and p.optimisation_set is not None:
        path = read_optimisation_set(p.optimisation_set).tomograms
    if path is None:
        raise UsageError("no tomograms given: pass --tomograms FILE.star or --tomogram VOLUME.mrc.")
    if not path.is_file():
        raise InputError(f"no file {path}. Check the path or start in the project folder.")
    return path


def input_files(p: MatchParameters) -> list[Path]:
    """Files whose content the fingerprint covers: tables and template, not the tomograms."""
    path = tomogram_file(p)
    files = [p.reference] if path is None else [p.reference, path,
                                                *read_tomograms(path).table_files()]
    return files + ([p.particles] if p.particles is not None else [])


def load_input(p: MatchParameters) -> MatchInput:
    """Read and check everything but the voxels of the tomograms."""
    path = tomogram_file(p)
    if path is None:
        tomograms = foreign_tomogram_set([
            ForeignTomogram(file, file.stem, (p.tilt_min_deg, p.tilt_max_deg))
            for file in p.tomogram])
    else:
        tomograms = read_tomograms(path)
    names = _chosen(tomograms, p.series)
    volumes = {i: _volume(tomograms, name) for i, name in enumerate(names)}
    made = made_as(volumes, p)
    seeds = _seeds(p, tomograms)
    if seeds is not None:
        volumes = {i: v for i, v in volumes.items() if v.name in seeds}
        if not volumes:
            raise InputError(f"{p.particles}: none of the seeds lies in the tomograms searched "
                             f"({', '.join(names[:5])}). Check rlnTomoName.")
    sources = [MatchSource(v, tomograms.tilt_series(v.name), made[v.name],
                           None if seeds is None else seeds[v.name]) for v in volumes.values()]
    template, voxel_A = read_template(p)
    return MatchInput(tomograms, path, sources, template, voxel_A)


def read_volume(source: MatchSource) -> Real:
    """Voxels of a tomogram, protein bright."""
    maps = [read_mrc(path, permissive=True, pixel_A=source.volume.pixel_A).data
            for path in source.volume.require()]
    data = maps[0] if len(maps) == 1 else np.asarray(np.mean(maps, axis=0), np.float32)
    if not np.isfinite(data.sum(dtype=np.float64)):
        raise InputError(f"{source.volume.paths[0]}: NaN or Inf among the voxels. Make the "
                         "tomogram again.")
    refuse_flat(data, source.volume.paths[0], "tomogram")
    return np.asarray(-data if source.made.is_dark else data, np.float32)


def read_template(p: MatchParameters) -> tuple[Real, float]:
    """The template, protein bright, and its voxel."""
    header = read_header(p.reference, permissive=True)
    voxel_A = p.reference_voxel_A or float(header.pixel_xyz_A[0])
    if not voxel_A > 0:
        raise InputError(f"{p.reference}: no voxel size in the header. Pass --reference-voxel-A.")
    data = read_mrc(p.reference, permissive=True, pixel_A=voxel_A).data
    n = data.shape[0]
    if len(set(data.shape)) != 1 or n < 8:
        raise InputError(f"{p.reference}: {data.shape[::-1]} voxels, expected a cube with an edge "
                         "of at least 8. Crop or pad the template.")
    if n % 2:
        data = np.pad(data, ((1, 0),) * 3, mode="edge")   # keeps the centre voxel the centre
    if p.mask_diameter_A > n * voxel_A:
        raise InputError(
            f"{p.reference}: {n} voxels of {voxel_A:g} Å cover {n * voxel_A:.0f} Å but "
            f"mask_diameter_A is {p.mask_diameter_A:g}. Use a smaller mask or a larger box.")
    refuse_flat(data, p.reference, "template")
    data = -data if p.invert_reference else data
    _refuse_dark(p, data, voxel_A)
    return np.ascontiguousarray(data, np.float32), voxel_A


def _refuse_dark(p: MatchParameters, data: Real, voxel_A: float) -> None:
    """A dark template would find holes."""
    radius_px = 0.5 * p.mask_diameter_A / voxel_A
    outer = soft_sphere(len(data), radius_px, max(2.0, 0.1 * radius_px))
    inner = soft_sphere(len(data), 0.5 * radius_px, 1.0) > 0.5
    level = float(data[(outer > 0) & (outer < 1)].mean())
    if float(data[inner].mean()) < level:
        other = "Leave out --invert-reference." if p.invert_reference else \
            "Pass --invert-reference, or give a map with bright protein."
        raise InputError(f"{p.reference}: the density inside is lower than at the rim of the mask: "
                         f"protein is dark in it. {other}")


def _chosen(tomograms: TomogramSet, series: tuple[str, ...]) -> list[str]:
    unknown = [name for name in series if name not in tomograms]
    if unknown:
        raise InputError(f"--series {unknown[0]}: no such tomogram among {len(tomograms)} "
                         f"({', '.join(tomograms.names[:5])}). Correct the name.")
    names = list(series) or tomograms.names
    if not names:
        raise InputError("the tomogram table is empty. Give at least one tomogram.")
    return names


def _volume(tomograms: TomogramSet, name: str) -> ReconstructedTomogram:
    volume = tomograms.reconstructed(name)
    if volume is None:
        raise InputError(f"tomogram {name} names no reconstructed volume "
                         "(rlnTomoReconstructedTomogram). Make it with sta-mpi tomogram, or give "
                         "volumes with --tomogram.")
    for path in volume.require():
        shape = read_header(path, permissive=True).shape_zyx
        if shape[::-1] != volume.size_px:
            raise InputError(f"{path}: {shape[::-1]} voxels, expected {volume.size_px} (tomogram "
                             f"{name} at binning {volume.binning:g}). Correct the tomogram table.")
    return volume


def _seeds(p: MatchParameters, tomograms: TomogramSet) -> dict[str, Seeds] | None:
    """Seeds by tomogram; None where the whole tomogram is searched."""
    if p.particles is None:
        return None
    particles: Any = read_particles(p.particles, tomograms)
    if len(particles) == 0:
        raise InputError(f"{p.particles}: no particles to search near. Give at least one.")
    found = {}
    for i in np.unique(particles.i_tomo):
        rows = particles.i_tomo == i
        found[particles.tomo_names[i]] = Seeds(particles.position_A[rows], particles.R_p2t[rows])
    return found
