"""`convert`: particle sets between PEET, Dynamo, STOPGAP, TOM/AV3 and RELION. Rank 0 alone works.

All go through one form: positions in Å from the tomogram centre, offsets in tomogram axes,
matrices. What a format cannot hold is listed in `lost.txt`, the report and the results.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.foreign_particles import ForeignParticles
from sta_mpi.formats.peet_prm import PrmFile
from sta_mpi.formats.relion_particle_table import RelionParticles, new_names
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import OptimisationSet, read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star_table import text_column
from sta_mpi.formats.text_files import write_text
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.convert_frames import (
    Frame,
    input_frames,
    set_frame,
    set_of_frames,
    volume_grids,
)
from sta_mpi.jobs.convert_maps import convert_maps
from sta_mpi.jobs.convert_read import input_files_of, named_tomograms, program_of, read_foreign
from sta_mpi.jobs.convert_write import (
    CLASS,
    check_numbers,
    foreign_of_particles,
    without_offsets,
    write_corner_star,
    write_foreign,
)
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.parameters.convert import ConvertParameters
from sta_mpi.jobs.set_output import write_particle_set
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import angular_coverage

SCORE = "rlnAutopickFigureOfMerit"
_EQUAL_PIXELS = 1e-4

PLACEHOLDERS = {"voltage_kV": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}
"""What stands in RELION's optics table where nothing is known."""


def input_files(parameters: ConvertParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [file for path in parameters.input for file in input_files_of(path)]
    files += [*parameters.model]
    for path in (parameters.tomogram_list, parameters.optimisation_set, parameters.particles,
                 parameters.tomograms):
        if path is not None:
            files.append(path)
    if parameters.optimisation_set is not None and parameters.optimisation_set.is_file():
        members = read_optimisation_set(parameters.optimisation_set)
        files += [p for p in (members.particles, members.tomograms) if p is not None]
    return list(dict.fromkeys(files))


@dataclass
class _Given:
    """What is converted.

    Parameters
    ----------
    particles : RelionParticles
    tomograms : TomogramSet
    tomogram_path : Path or None     file of the set; None for a set made of volumes
    frames : dict                    frames that --input counts, by name; empty for RELION sets
    lost : list of str
    members : OptimisationSet        what the given set names besides particles and tomograms
    """

    particles: RelionParticles
    tomograms: TomogramSet
    tomogram_path: Path | None
    frames: dict[str, Frame]
    lost: list[str]
    program: str
    prm: PrmFile | None = None
    members: OptimisationSet = field(default_factory=OptimisationSet)


def run(parameters: ConvertParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Read, move, write, and say what was lost."""
    if not runtime.is_root:
        return JobOutcome()
    if parameters.to == "mrc":
        return convert_maps(parameters, folder)
    given = _read_relion(parameters) if not parameters.input else _read_other(parameters)
    check_numbers(given.particles, (parameters.input or (parameters.output,))[0])
    particles = _moved(given.particles, parameters)
    if parameters.apply_offsets:
        particles = replace(particles, xyz_A=without_offsets(particles).xyz_A,
                            offset_A=np.zeros_like(particles.offset_A))
    frames = _output_frames(particles, given, parameters)
    warnings: list[str] = []
    if parameters.to == "relion":
        outputs, lost = _write_relion(folder, particles, given, warnings, parameters), []
    elif parameters.to == "relion4":
        write_corner_star(folder.file(f"{parameters.name}.star"), particles, given.tomograms)
        outputs, lost = {"particles": f"{parameters.name}.star"}, _image_columns(particles)
    else:
        written = write_foreign(folder, foreign_of_particles(particles, frames, parameters), frames,
                                parameters, given.prm, given.tomograms)
        outputs, lost = written.outputs, written.lost + _image_columns(particles)
    lost = given.lost + lost
    write_text(folder.file("lost.txt"), "".join(f"{line}\n" for line in lost) or "nothing\n")
    outputs["lost"] = "lost.txt"
    results = {"particles": len(particles), "tomograms": len(np.unique(particles.i_tomo)),
               "from": given.program, "to": parameters.to, "lost": len(lost)}
    return JobOutcome(results, outputs, _sections(particles, frames, lost, parameters), warnings)


def _read_relion(p: ConvertParameters) -> _Given:
    """A set of RELION."""
    members = OptimisationSet() if p.optimisation_set is None else \
        read_optimisation_set(p.optimisation_set)
    path, table = p.particles or members.particles, p.tomograms or members.tomograms
    if path is None:
        raise UsageError("no particles given: pass --optimisation-set or --particles.")
    if p.tomogram:
        grids = volume_grids(p.tomogram)
        tomograms = set_of_frames({name: Frame(g.pixel_A or 1.0, np.array(g.size_px) / 2.0,
                                               g.size_px or (1, 1, 1), g.path)
                                   for name, g in grids.items()}, _optics(p))
        table = None
    elif table is None:
        raise UsageError("no tomograms given: pass --optimisation-set, --tomograms or --tomogram.")
    else:
        tomograms = read_tomograms(table)
    particles = read_particles(path, tomograms, coordinate_pixel_A=p.coordinate_pixel_A)
    if len(particles) == 0:
        raise InputError(f"{path}: no particles. Give a set with particles.")
    lost = ["trajectories of particles (motion.star)"] \
        if p.trajectories or members.trajectories else []
    return _Given(particles, tomograms, table, {}, lost, "relion",
                  members=replace(members, trajectories=None))


def _read_other(p: ConvertParameters) -> _Given:
    """Files of another program."""
    foreign, prm = read_foreign(p)
    tomograms = None if p.tomograms is None else read_tomograms(p.tomograms)
    volumes = volume_grids(p.tomogram)
    known = list(tomograms.names) if tomograms is not None else list(volumes)
    foreign = named_tomograms(foreign, known, p)
    frames = input_frames(foreign, tomograms, volumes, p)
    if tomograms is None:
        tomograms = set_of_frames(frames, _optics(p))
    return _Given(_particles(foreign, frames, tomograms), tomograms, p.tomograms, frames,
                  list(foreign.lost), program_of(p), prm)


def _particles(foreign: ForeignParticles, frames: dict[str, Frame], tomograms: TomogramSet
               ) -> RelionParticles:
    """Particles in Å from the centres of their tomograms."""
    n = len(foreign)
    i_tomo = np.array([tomograms.names.index(name) if name in tomograms else -1
                       for name in foreign.tomo_names], np.int32)[foreign.i_tomo]
    xyz_A, offset_A = np.zeros((n, 3)), np.zeros((n, 3))
    for name, frame in frames.items():
        rows = foreign.i_tomo == foreign.tomo_names.index(name)
        xyz_A[rows] = frame.xyz_A(foreign.index_px[rows])
        offset_A[rows] = foreign.offset_px[rows] * frame.pixel_A
    columns: dict[str, NDArray] = {
        "rlnTomoName": text_column(tomograms.names[i] for i in i_tomo)}
    if np.isfinite(foreign.score).any():
        columns[SCORE] = np.nan_to_num(foreign.score)
    if foreign.class_number.any():
        columns[CLASS] = foreign.class_number
    eye = np.tile(np.eye(3), (n, 1, 1))
    return RelionParticles(
        tomo_names=list(tomograms.names), i_tomo=i_tomo,
        names=new_names(tomograms.names, i_tomo), xyz_A=xyz_A, offset_A=offset_A,
        R_p2t=foreign.R_p2t, R_box2t=eye, half=foreign.half, optics_group=np.ones(n, np.int32),
        columns=columns)


def _moved(particles: RelionParticles, p: ConvertParameters) -> RelionParticles:
    """Centres moved to a point of the reference, then the reference turned."""
    R, offset = particles.R_p2t, particles.offset_A
    if p.centre_A:
        offset = offset + R @ np.array(p.centre_A)
    if p.rotate_deg:
        R = R @ matrix_from_relion_angles(np.array(p.rotate_deg)).T
    return replace(particles, R_p2t=R, offset_A=offset)


def _output_frames(particles: RelionParticles, given: _Given, p: ConvertParameters
                   ) -> dict[str, Frame]:
    """Volumes that foreign coordinates are written for, in the order of the input."""
    frames = {}
    used = [particles.tomo_names[i] for i in np.unique(particles.i_tomo)]
    for name in given.frames or used:
        own = given.frames.get(name)
        wanted = p.output_pixel_A
        if own is not None and (wanted is None or abs(wanted / own.pixel_A - 1) < _EQUAL_PIXELS):
            frames[name] = own
        else:
            frames[name] = set_frame(name, given.tomograms, wanted, p.binned_voxels)
    return frames


def _write_relion(folder: JobFolder, particles: RelionParticles, given: _Given,
                  warnings: list[str], p: ConvertParameters) -> dict[str, str]:
    members, outputs = replace(given.members, tomograms=given.tomogram_path), {}
    if given.tomogram_path is None:
        assumed = [f"{name} ({value:g})" for name, value in PLACEHOLDERS.items()
                   if getattr(p, name) is None]
        if assumed:
            warnings.append(f"there are no tilt series: {', '.join(assumed)} of the optics table "
                            "are placeholders. Give --tomograms, or the options of these names.")
        odd = [name for name in given.tomograms.names
               if any(side % 2 for side in given.tomograms.size_px(name))]
        if odd:
            warnings.append(
                f"tomograms.star is not written: tomogram {odd[0]} has an odd size, which RELION "
                "reads half a pixel off. Use the particles with --tomogram VOLUME.mrc.")
        else:
            given.tomograms.write(folder.file("tomograms.star"))
            members = replace(members, tomograms=folder.path / "tomograms.star")
            outputs["tomograms"] = "tomograms.star"
    return outputs | write_particle_set(folder, particles, given.tomograms, members)


def _optics(p: ConvertParameters) -> Optics:
    """What is known of the microscope where there are no tilt series."""
    known = {name: getattr(p, name) for name in PLACEHOLDERS}
    voltage_kV, cs_mm, contrast = (
        PLACEHOLDERS[name] if value is None else value for name, value in known.items())
    return Optics(voltage_kV, cs_mm, contrast)


def _image_columns(particles: RelionParticles) -> list[str]:
    """What RELION's table says of images and statistics."""
    named = {"rlnTomoName", SCORE, CLASS, "rlnTomoParticleName", "rlnRandomSubset",
             "rlnOpticsGroup"}
    others = [label for label in particles.columns if label not in named and not label.startswith((
        "rlnAngle", "rlnOrigin", "rlnCenteredCoordinate", "rlnCoordinate", "rlnTomoSubtomogram"))]
    return [f"RELION's columns {', '.join(others)}"] if others else []


def _sections(particles: RelionParticles, frames: dict[str, Frame], lost: list[str],
              p: ConvertParameters) -> list[Section]:
    rows = []
    for name, frame in frames.items():
        here = particles.i_tomo == particles.tomo_names.index(name)
        offset = np.linalg.norm(particles.offset_A[here], axis=1)
        rows.append((name, int(here.sum()), round(frame.pixel_A, 4),
                     " x ".join(map(str, frame.size_px)), round(float(np.median(offset)), 2)))
    tables = [Table("Tomograms", ("tomogram", "particles", "voxel [Å]", "size [voxels]",
                                  "median offset [Å]"), rows,
                    f"Voxels of a binned volume are {p.binned_voxels}.")]
    tables.append(Table("Without a counterpart", ("", ), [(line,) for line in lost or ["nothing"]]))
    coverage = Figure("Angular coverage", angular_coverage(
        particles.R_p2t, symmetry_matrices("C1"), "C1"), "Directions of the reference's z axis.")
    return [Section("What was converted", tables=tables, figures=[coverage])]
