"""Tables and report of `extract`: RELION's particle set, and a row for every raw image.

    particles.star, optimisation_set.star    what RELION 5 opens
    particles_filtered.star                  the CTF-corrected subtomograms, with --snr
    tilt_images.star                         one row an image: CTF, dose and pose of that tilt (raw)
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.formats.mrc import open_stack, read_mrc
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import write_optimisation_set
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.geometry.euler import relion_angles_from_matrix
from sta_mpi.jobs.extract_setup import ExtractSetup, particle_files, series_file
from sta_mpi.jobs.set_output import given_members
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import score_histogram
from sta_mpi.report.figures.gallery import image_gallery

SHOWN = 12
"""Particles in the gallery of the report."""

DOSE_TO_B_FACTOR_A2 = -4.0
"""rlnCtfBfactor of an image over its dose, as Warp writes it and others read the dose from."""


def write_set(setup: ExtractSetup, written: NDArray[np.bool_]) -> dict[str, str]:
    """Write all tables; name -> path in the job folder."""
    particles = extracted_particles(setup, written)
    inputs, folder = setup.inputs, setup.folder
    write_particles(folder / "particles.star", particles, inputs.tomograms)
    members = replace(given_members(setup.parameters), particles=folder / "particles.star",
                      tomograms=inputs.paths.tomograms, trajectories=inputs.paths.trajectories)
    write_optimisation_set(folder / "optimisation_set.star", members)
    outputs = {"particles": "particles.star", "optimisation_set": "optimisation_set.star"}
    if setup.parameters.snr is not None:
        names = [image_name(path) for path in particle_files(inputs, folder, "filtered.mrc")]
        filtered = replace(particles, image_names=np.array(names, object)[written],
                           weight_names=None, is_premultiplied=False)
        optics = None if filtered.optics is None else filtered.optics.copy()
        if optics is not None:
            optics["rlnCtfDataAreCtfCorrected"] = [1] * len(optics)
        write_particles(folder / "particles_filtered.star", filtered, inputs.tomograms, optics)
        outputs["particles_filtered"] = "particles_filtered.star"
    if setup.parameters.form == "raw":
        write_star(folder / "tilt_images.star", [tilt_image_table(setup, particles)])
        outputs["tilt_images"] = "tilt_images.star"
    return outputs


def extracted_particles(setup: ExtractSetup, written: NDArray[np.bool_]) -> RelionParticles:
    """The particles that were written, with their images."""
    p, particles, folder = setup.parameters, setup.inputs.particles, setup.folder
    assert isinstance(particles, RelionParticles)
    is_box = p.form == "boxes"
    files = particle_files(setup.inputs, folder, "data.mrc" if is_box else "stack2d.mrcs")
    names = [image_name(path) for path in files]
    if p.layout == "series":
        stacks = [image_name(series_file(name, folder)) for name in particles.tomo_names]
        names = [f"{first + 1}@{stacks[i]}" for first, i in
                 zip(setup.first.tolist(), particles.i_tomo.tolist(), strict=True)]
    weights = [image_name(f) for f in particle_files(setup.inputs, folder, "weights.mrc")]
    changed = replace(
        particles, xyz_A=setup.xyz_A, R_box2t=setup.R_box2t, columns=dict(particles.columns),
        offset_A=np.zeros_like(particles.offset_A) if p.apply_offsets else particles.offset_A,
        image_names=np.array(names, object),
        weight_names=np.array(weights, object) if is_box else None,
        visible=None if is_box else setup.visible, is_2d_stack=not is_box,
        image_pixel_A=setup.frame.voxel_A, image_size_px=setup.frame.box_px,
        is_premultiplied=p.form != "raw" and p.ctf, image_folder="")
    return changed.select(written)


def image_name(path: Path) -> str:
    """How the tables name an image: from the current folder, which is the project's, if below."""
    absolute, here = path.resolve(), Path().resolve()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def tilt_image_table(setup: ExtractSetup, particles: RelionParticles) -> StarTable:
    """One row an image: what programs for heterogeneity ask of a single-particle table.

    The pose is that of the projection: A = M_f R_p2t in RELION's angles. Rows of a particle are
    together, in the order of its stack; rlnGroupName is the particle.
    """
    parts = [_images_of(setup, particles, int(row)) for row in range(len(particles))]
    table = StarTable("", {label: np.concatenate([part[label] for part in parts])
                           for label in parts[0]})
    table["rlnDetectorPixelSize"] = [setup.frame.voxel_A] * len(table)
    # pixel = detector pixel x 10^4 / magnification
    table["rlnMagnification"] = [10000.0] * len(table)
    return table


def _images_of(setup: ExtractSetup, particles: RelionParticles, row: int) -> dict[str, Any]:
    ts = setup.inputs.series[int(particles.i_tomo[row])]
    assert particles.visible is not None
    assert particles.image_names is not None
    tilts = np.flatnonzero(particles.visible[row, : ts.n_tilts] == 1)
    number, _, path = str(particles.image_names[row]).rpartition("@")
    first, m = int(number or 1), len(tilts)
    xyz_A = particles.xyz_A[row] if setup.parameters.apply_offsets else particles.position_A[row]
    depth, position_px = ts.defocus_offset_A(xyz_A)[tilts], ts.position_px(xyz_A)[tilts]
    angles = relion_angles_from_matrix(ts.rotation[tilts] @ particles.R_p2t[row])
    shift_A = (ts.rotation[tilts] @ particles.offset_A[row])[:, :2]
    names = [ts.image_names[t] if ts.image_names else f"{ts.name}_{t + 1}" for t in tilts]
    columns: dict[str, Any] = {
        "rlnImageName": text_column([f"{first + i:06d}@{path}" for i in range(m)]),
        "rlnGroupName": text_column([str(particles.names[row])] * m),
        "rlnTomoName": text_column([ts.name] * m),
        "rlnMicrographName": text_column(names), "rlnTiltName": text_column(names),
        "rlnAngleRot": angles[:, 0], "rlnAngleTilt": angles[:, 1], "rlnAnglePsi": angles[:, 2],
        "rlnCoordinateX": position_px[:, 0], "rlnCoordinateY": position_px[:, 1],
        # both units: readers of tables without optics groups look for pixels
        "rlnOriginXAngst": -shift_A[:, 0], "rlnOriginYAngst": -shift_A[:, 1],
        "rlnOriginX": -shift_A[:, 0] / setup.frame.voxel_A,
        "rlnOriginY": -shift_A[:, 1] / setup.frame.voxel_A,
        "rlnDefocusU": ts.defocus_u_A[tilts] + depth,
        "rlnDefocusV": ts.defocus_v_A[tilts] + depth, "rlnDefocusAngle": ts.astig_deg[tilts],
        "rlnPhaseShift": ts.phase_shift_deg[tilts],
        "rlnMicrographPreExposure": ts.pre_dose_e_per_A2[tilts],
        "rlnCtfBfactor": DOSE_TO_B_FACTOR_A2 * ts.pre_dose_e_per_A2[tilts],
        "rlnCtfScalefactor": _scale(ts)[tilts],
        "rlnVoltage": np.full(m, ts.optics.voltage_kV),
        "rlnSphericalAberration": np.full(m, ts.optics.cs_mm),
        "rlnAmplitudeContrast": np.full(m, ts.optics.amp_contrast)}
    if particles.half.any():
        columns["rlnRandomSubset"] = np.full(m, int(particles.half[row]))
    return columns


def _scale(ts: TiltSeries) -> NDArray[np.float64]:
    """Signal scale of the tilts; the cosine of the tilt where the table has none."""
    return ts.ctf_scale if np.ptp(ts.ctf_scale) > 0 else ts.rotation[:, 2, 2]


def extract_sections(setup: ExtractSetup, written: NDArray[np.bool_]) -> list[Section]:
    """Gallery, visible tilts, a table of the series."""
    particles = setup.inputs.particles
    shown = np.flatnonzero(written)
    shown = shown[np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(int)]
    images, titles = [], []
    for row in shown:
        images.append(_picture(setup, int(row)))
        titles.append(str(particles.names[row]))
    kind = ("central slices (mean of 5) of the boxes" if setup.parameters.form == "boxes" else
            "images at the lowest tilt, low-passed")
    rows = [(ts.name, int((own := particles.i_tomo == i).sum()), int((own & written).sum()),
             int(setup.n_images[own & written].sum()))
            for i, ts in enumerate(setup.inputs.series) if (particles.i_tomo == i).any()]
    return [
        Section("Particles", figures=[
            Figure("Gallery", image_gallery(images, titles), f"Evenly chosen: {kind}; protein is "
                   f"{'bright' if setup.parameters.invert else 'dark'}."),
            Figure("Tilts", score_histogram(
                setup.n_images[written].astype(float), None, particles.i_tomo[written],
                particles.tomo_names, "tilts of a particle"))]),
        Section("Tilt series", tables=[Table(
            "Particles", ("tilt series", "given", "written", "images"), rows)])]


def _picture(setup: ExtractSetup, row: int) -> NDArray[np.float32]:
    """One image that shows a particle."""
    inputs, p = setup.inputs, setup.parameters
    i_tomo = int(inputs.particles.i_tomo[row])
    if p.form == "boxes":
        path = particle_files(inputs, setup.folder, "data.mrc")[row]
        n = setup.frame.box_px
        data = read_mrc(path).data[max(n // 2 - 2, 0): n // 2 + 3]
        return np.asarray(data.mean(axis=0), np.float32)
    tilts = np.flatnonzero(setup.visible[row] == 1)
    lowest = int(np.argmax(inputs.series[i_tomo].rotation[tilts, 2, 2]))
    if p.layout == "series":
        with open_stack(series_file(inputs.series[i_tomo].name, setup.folder)) as stack:
            return np.asarray(stack[int(setup.first[row]) + lowest], np.float32)
    with open_stack(particle_files(inputs, setup.folder, "stack2d.mrcs")[row]) as stack:
        return np.asarray(stack[lowest], np.float32)

