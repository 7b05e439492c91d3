"""Geometry and particles of a real RELION project, for a simulated twin of it.

The tilt geometry is taken from the columns of the tables as they stand and interpreted by
`simulate.tilts`, not by the reader that the rest of the program uses, so that a wrong sign in
one of them shows. Images are not needed.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sta_mpi.data import Particles, TiltSeries
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star_table import StarTable
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.simulate.tilts import Floats, SeriesGeometry, tilt_matrix

ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")


def project_files(parameters: SimulateParameters) -> tuple[Path, Path]:
    """The tomogram and the particle file of `--like`, or those given by themselves."""
    tomograms, particles = parameters.tomograms, parameters.particles
    if parameters.like is not None:
        members = read_optimisation_set(parameters.like)
        tomograms = tomograms or members.tomograms
        particles = particles or members.particles
    if tomograms is None or particles is None:
        missing = "tomograms" if tomograms is None else "particles"
        raise UsageError(f"no {missing} given: pass --like SET.star or --{missing} FILE.star.")
    return Path(tomograms), Path(particles)


def load_project(parameters: SimulateParameters) -> tuple[list[SeriesGeometry], Particles]:
    """Geometries of the chosen series, unbinned, and all particles."""
    tomogram_file, particle_file = project_files(parameters)
    tomograms = read_tomograms(tomogram_file)
    unknown = [name for name in parameters.series if name not in tomograms]
    if unknown:
        raise InputError(f"--series {unknown[0]}: {tomogram_file} has no such series "
                         f"({', '.join(tomograms.names[:8])}). Correct the name.")
    particles = read_particles(particle_file, tomograms)
    used = {particles.tomo_names[i] for i in np.unique(particles.i_tomo)}
    names = list(parameters.series) or [name for name in tomograms.names if name in used]
    if not names:
        raise InputError(f"{particle_file}: no particle lies in a series of {tomogram_file}. "
                         "Give the tomograms that belong to the particles.")
    return [real_geometry(tomograms, name) for name in names], particles


def real_geometry(tomograms: TomogramSet, name: str) -> SeriesGeometry:
    """One series of a real project, from the columns of its tables."""
    row, table, ts = tomograms.row(name), tomograms.tilt_table(name), tomograms.tilt_series(name)
    x_tilt, tilt, axis, shift_A = _angles_and_shifts(table, ts)
    size = tuple(int(row.integers(f"rlnTomoSize{a}")[0]) for a in "XYZ")
    geometry = SeriesGeometry(
        name=name, pixel_A=float(row.finite("rlnTomoTiltSeriesPixelSize")[0]), optics=ts.optics,
        x_tilt_deg=x_tilt, tilt_deg=tilt, axis_deg=axis, shift_A=shift_A,
        pre_dose_e_per_A2=table.finite("rlnMicrographPreExposure"),
        defocus_u_A=table.finite("rlnDefocusU"), defocus_v_A=table.finite("rlnDefocusV"),
        astig_deg=table.finite("rlnDefocusAngle"),
        phase_shift_deg=table.finite("rlnPhaseShift", 0.0),
        scale=table.finite("rlnCtfScalefactor", 1.0),
        b_factor_A2=table.finite("rlnCtfBfactor", 0.0),
        hand=int(row.finite("rlnTomoHand")[0]),
        defocus_slope=float(row.finite("rlnTomoDefocusSlope", 1.0)[0]),
        b_factor_per_dose_A2=float(row.finite("rlnCtfBfactorPerElectronDose", 0.0)[0]),
        tomogram_size_px=(size[0], size[1], size[2]),
        image_size_px=ts.image_size_px or (size[0], size[1]))
    return _with_even_tomogram(geometry)


def _angles_and_shifts(table: StarTable, ts: TiltSeries
                       ) -> tuple[Floats, Floats, Floats, Floats]:
    """X tilt, Y tilt, Z rotation [°] and shifts (n, 2) [Å] of a table, or of RELION 4 matrices."""
    if "rlnTomoYTilt" in table:
        x_tilt, tilt, axis = (table.finite(label, 0.0) for label in ANGLES)
        shifts = [table.finite(f"rlnTomo{a}ShiftAngst") for a in "XY"]
        return x_tilt, tilt, axis, np.stack(shifts, axis=1)
    if not ts.has_positions:
        raise InputError(f"tilt series {ts.name}: projection matrices of RELION 4 need the size "
                         "of the images, which are not there. Convert the set to RELION 5 first.")
    M = ts.rotation
    angles = (np.arctan2(M[:, 2, 1], M[:, 2, 2]), -np.arcsin(np.clip(M[:, 2, 0], -1, 1)),
              np.arctan2(M[:, 1, 0], M[:, 0, 0]))
    x_tilt, tilt, axis = (np.degrees(angle) for angle in angles)
    return x_tilt, tilt, axis, ts.P[:, :2, 3]


def _with_even_tomogram(geometry: SeriesGeometry) -> SeriesGeometry:
    """The same series with even tomogram sizes.

    RELION turns a tomogram about the integer half of its size but counts coordinates from the
    floating half: half a pixel apart where a size is odd. Here that becomes part of the shift.
    """
    size = np.array(geometry.tomogram_size_px)
    if not (size % 2).any():
        return geometry
    apart_A = 0.5 * geometry.pixel_A * (size % 2)
    moved = np.stack([tilt_matrix(*angles)[:2] @ apart_A for angles in zip(
        geometry.x_tilt_deg, geometry.tilt_deg, geometry.axis_deg, strict=True)])
    even = size + size % 2
    return replace(geometry, shift_A=geometry.shift_A + moved,
                   tomogram_size_px=(int(even[0]), int(even[1]), int(even[2])))
