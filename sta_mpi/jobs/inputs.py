"""Find, read and check the input set of a job: particles and tilt series."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.half_sets import cluster_labels, halves_of_clusters
from sta_mpi.data import Particles, TiltSeries
from sta_mpi.errors import InputError, InputWarning, UsageError
from sta_mpi.formats.relion_motion import read_motion
from sta_mpi.formats.relion_particles import read_particles, tilt_series_with_aberrations
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.jobs.foreign_tomograms import ForeignTomogram, foreign_tomogram_set
from sta_mpi.jobs.parameters.base import InputSetParameters
from sta_mpi.jobs.parameters.volumes import VolumeParameters

OPTICS_RANGES = {
    ("voltage_kV", "rlnVoltage"): (10.0, 3000.0, " kV"),
    ("cs_mm", "rlnSphericalAberration"): (0.0, 100.0, " mm"),
    ("amp_contrast", "rlnAmplitudeContrast"): (0.0, 1.0, ""),
}
TILT_RANGES = {
    ("defocus_u_A", "rlnDefocusU"): (-1e6, 1e6, " Å"),
    ("defocus_v_A", "rlnDefocusV"): (-1e6, 1e6, " Å"),
    ("pre_dose_e_per_A2", "rlnMicrographPreExposure"): (0.0, 1e5, " e/Å²"),
    ("ctf_scale", "rlnCtfScalefactor"): (0.0, 1e3, ""),
    ("ctf_b_factor_A2", "rlnCtfBfactor"): (-1e4, 1e4, " Å²"),
}
"""Attribute and label -> smallest and largest value that a run accepts, and their unit."""


@dataclass(frozen=True)
class SetPaths:
    """Where the members of an input set are."""

    particles: Path
    tomograms: Path
    trajectories: Path | None


@dataclass(frozen=True)
class InputSet:
    """Particles and the tilt series they are in.

    `motion_A` (n, max_tilts, 3) moves particles at each tilt, in tomogram axes.
    `series[i]` belongs to particles with `i_tomo == i`; some may have no particles.
    `wedges` says by name what weighs boxes cut from tomograms (`source_volumes.WedgeSpec`) where
    it is not for the options to say.
    """

    paths: SetPaths
    particles: Particles
    tomograms: TomogramSet
    series: list[TiltSeries]
    motion_A: NDArray[np.float64] | None = None
    wedges: Mapping[str, Any] | None = None

    @property
    def pixel_A(self) -> float:
        """Pixel of the tilt series, one for all."""
        return self.used_series[0].pixel_A

    @property
    def used_series(self) -> list[TiltSeries]:
        """The tilt series that particles are in."""
        return [self.series[i] for i in np.unique(self.particles.i_tomo)]

    def resolve(self, name: str) -> Path:
        """An image path of the particle file, relative to the set's project folder."""
        return resolve_path(name, [self.paths.particles, self.paths.tomograms])


def resolve_path(name: str, beside: Sequence[Path]) -> Path:
    """A path as it stands, else relative to the folders of `beside` and their parents."""
    path = Path(name)
    if path.is_absolute() or path.exists():
        return path
    for file in beside:
        for folder in file.resolve().parents:
            if (folder / path).exists():
                return folder / path
    return path


def find_set(parameters: InputSetParameters) -> SetPaths:
    """Paths of the input set: the optimisation set's members, overridden by options."""
    particles, tomograms = parameters.particles, parameters.tomograms
    trajectories = parameters.trajectories
    if parameters.optimisation_set is not None:
        members = read_optimisation_set(parameters.optimisation_set)
        particles = particles or members.particles
        tomograms = tomograms or members.tomograms
        trajectories = trajectories or members.trajectories
    foreign = _foreign(parameters)
    if foreign:
        if tomograms is not None:
            raise UsageError("--tomogram names volumes without a tomogram table: leave out "
                             "--tomograms and --optimisation-set.")
        tomograms = foreign[0].path
    if particles is None or tomograms is None:
        missing = "particles" if particles is None else "tomograms"
        raise UsageError(f"no {missing} given: pass --optimisation-set SET.star or "
                         f"--{missing} FILE.star.")
    for path in (particles, tomograms):
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder, expected a STAR file. Correct the name.")
        if not Path(path).is_file():
            raise InputError(f"no file {path}. Check the path or start in the project folder.")
    return SetPaths(Path(particles), Path(tomograms), trajectories)


def set_files(parameters: InputSetParameters) -> list[Path]:
    """Files whose content decides what a job computes: all tables of the set, not the images."""
    paths = find_set(parameters)
    if _foreign(parameters):
        return [paths.particles]    # volumes are images: they are not read for it
    files = [p for p in (paths.particles, paths.tomograms, paths.trajectories) if p is not None]
    return files + read_tomograms(paths.tomograms).table_files()


def _foreign(parameters: InputSetParameters) -> list[ForeignTomogram]:
    """Tomograms that are given as volumes alone."""
    if not isinstance(parameters, VolumeParameters):
        return []
    tilts = (parameters.tilt_min_deg, parameters.tilt_max_deg)
    return [ForeignTomogram(path, path.name.removesuffix(".gz").rsplit(".", 1)[0],
                            None if parameters.wedge in ("none", "file") else tilts)
            for path in parameters.tomogram]


def load_set(parameters: InputSetParameters) -> InputSet:
    """Read and check particles and tilt series."""
    paths = find_set(parameters)
    foreign = _foreign(parameters)
    tomograms = foreign_tomogram_set(foreign) if foreign else read_tomograms(paths.tomograms)
    if len(tomograms) == 0:
        raise InputError(f"{paths.tomograms}: the tomogram table is empty. Give the tomograms "
                         "that the particles are in.")
    particles = read_particles(paths.particles, tomograms,
                               coordinate_pixel_A=parameters.coordinate_pixel_A)
    if len(particles) == 0:
        raise InputError(f"{paths.particles}: the particle table is empty. "
                         "Give a file with at least one particle.")
    series = [tilt_series_with_aberrations(tomograms, name, particles)
              for name in particles.tomo_names]
    used = np.unique(particles.i_tomo)
    check_series(paths.tomograms, [series[i] for i in used])
    motion_A = None
    if paths.trajectories is not None:
        motion_A = read_motion(paths.trajectories, particles, tomograms)
    return InputSet(paths, particles, tomograms, series, motion_A)


def check_series(path: Path, series: list[TiltSeries]) -> None:
    """Refuse sets whose tilt series cannot be averaged together."""
    first = series[0]
    for ts in series:
        if abs(ts.pixel_A - first.pixel_A) > 1e-3 * first.pixel_A:
            raise InputError(
                f"{path}: tilt series {ts.name} has pixel {ts.pixel_A:.4f} Å, {first.name} has "
                f"{first.pixel_A:.4f} Å. Average sets of one pixel size.")
        if ts.n_tilts == 0:
            raise InputError(f"{path}: tilt series {ts.name} has no tilts. Remove it.")
        _check_ranges(path, ts)


def _check_ranges(path: Path, ts: TiltSeries) -> None:
    """Refuse numbers that no microscope has: wrong units, shifted columns, slips of the pen."""
    for (name, label), (low, high, unit) in OPTICS_RANGES.items():
        value = getattr(ts.optics, name)
        if not low <= value <= high:
            raise InputError(f"{path}: tilt series {ts.name}: {label} is {value:g}{unit}, expected "
                             f"{low:g} to {high:g}{unit}. Correct the tables.")
    for (name, label), (low, high, unit) in TILT_RANGES.items():
        values = getattr(ts, name)
        bad = np.flatnonzero(~((values >= low) & (values <= high)))
        if len(bad):
            raise InputError(
                f"{path}: tilt series {ts.name}, tilt {bad[0] + 1} of {ts.n_tilts}: {label} is "
                f"{values[bad[0]]:g}{unit}, expected {low:g} to {high:g}{unit}. Correct its tilt "
                "table.")


def assign_halves(particles: Particles, mode: str, seed: int, cluster_distance_A: float
                  ) -> NDArray[np.int8]:
    """Half-set of every particle: the file's, balanced random halves, or whole clusters.

    A file that assigns only some of its particles is refused. One half-set may be empty (a set
    of one particle): there is a warning then.
    """
    half = _assigned_halves(particles, mode, seed, cluster_distance_A)
    filled = np.unique(half)
    if len(filled) == 1:
        warnings.warn(
            f"all {len(half)} particles are in half-set {filled[0]}: the map of half-set "
            f"{3 - filled[0]} stays empty, so there is no FSC and no resolution. Give both "
            "half-sets (rlnRandomSubset), or pass --halves random.", InputWarning)
    return half


def require_both_halves(half: NDArray[np.int8]) -> None:
    """InputError where a half-set is empty, for commands that live from the FSC."""
    if len(np.unique(half)) == 1:
        raise InputError(f"all {len(half)} particles are in half-set {half[0]} "
                         "(rlnRandomSubset), expected both 1 and 2. Give both half-sets, or "
                         "pass --halves random.")


def _assigned_halves(particles: Particles, mode: str, seed: int, cluster_distance_A: float
                     ) -> NDArray[np.int8]:
    half = particles.half
    if mode == "keep" and (half > 0).any():
        if (half == 0).any():
            row = int(np.flatnonzero(half == 0)[0]) + 1
            raise InputError(
                f"particle row {row} ({particles.names[row - 1]}) has no half-set "
                "(rlnRandomSubset) while others have. Assign all, or pass --halves random.")
        return half
    if mode == "clusters":
        labels = cluster_labels(
            particles.position_A, particles.i_tomo.astype(np.intp), cluster_distance_A)
        return halves_of_clusters(labels, seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x48A1F]))
    assigned = (np.arange(len(particles)) % 2 + 1).astype(np.int8)
    rng.shuffle(assigned)
    return assigned
