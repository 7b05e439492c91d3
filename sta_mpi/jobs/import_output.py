"""Files and report of `import`."""

from pathlib import Path

import numpy as np

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError
from sta_mpi.formats.imod_alignment import Transforms, write_tilt_angles, write_xf
from sta_mpi.formats.imod_defocus import ASTIGMATISM, PHASE, DefocusTable, write_defocus
from sta_mpi.formats.mdoc import write_mdoc
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.mrc_sections import SectionWriter
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star_table import text_column
from sta_mpi.geometry.imod import imod_from_projection
from sta_mpi.geometry.projection import tilt_angles_from_rotation
from sta_mpi.geometry.rotations import nearest_rotation
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.import_series import ImportedSeries
from sta_mpi.jobs.parameters.project_import import ImportParameters
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import tilt_geometry

_DRAWN_SERIES = 12


def write_project(folder: JobFolder, series: list[ImportedSeries], parameters: ImportParameters
                  ) -> dict[str, str]:
    """Write tables, the optimisation set and, where asked for, the images; name -> file."""
    tomograms = TomogramSet.from_tilt_series([s.ts for s in series])
    table = tomograms.table.copy()
    table["rlnMicrographOriginalPixelSize"] = np.array([s.stack.pixel_A for s in series])
    tilts = {}
    for s in series:
        tilts[s.ts.name] = tomograms.tilt_table(s.ts.name).copy()
        tilts[s.ts.name]["rlnTomoNominalStageTiltAngle"] = s.nominal_deg
        if parameters.copy_stacks:
            path = folder.file(f"tilt_images/{s.ts.name}.mrcs")
            copy_stack(path, s, parameters)
            name = path_in_project(path)
            tilts[s.ts.name]["rlnMicrographName"] = text_column(
                [f"{i + 1}@{name}" for i in range(s.ts.n_tilts)])
    TomogramSet(table, tilts).write(folder.file("tomograms.star"))
    write_optimisation_set(folder.file("optimisation_set.star"),
                           OptimisationSet(tomograms=folder.path / "tomograms.star"))
    outputs = {"tomograms": "tomograms.star", "optimisation_set": "optimisation_set.star"}
    dose = parameters.dose_per_tilt_e_per_A2
    for s in series:
        if s.mdoc is not None and dose is not None:
            write_mdoc(folder.file(f"mdoc/{s.ts.name}.mdoc"), s.mdoc.with_dose(dose))
            outputs["mdoc"] = "mdoc"
    if parameters.export_imod:
        outputs |= write_imod(folder, [s.ts for s in series])
    return outputs


def path_in_project(path: Path) -> str:
    """A name relative to the current folder (RELION's project folder), absolute outside of it.

    Tables of later jobs keep the name, so it must not depend on the folder of this job.
    """
    absolute, project = path.resolve(), Path().resolve()
    return str(absolute.relative_to(project) if absolute.is_relative_to(project) else absolute)


def write_imod(folder: JobFolder, series: list[TiltSeries]) -> dict[str, str]:
    """Write `imod/NAME.xf`, `.tlt`, `.xtilt` and `.defocus` of every series; name -> folder.

    Images are counted in pixels of the stack; views are the tilts of the project, from 1.
    """
    for ts in series:
        if ts.image_size_px is None or not ts.has_positions:
            raise InputError(f"series {ts.name}: its images are not at hand, so IMOD's shifts "
                             "cannot be computed. Start where the images can be found.")
        matrix, shift_A, tilt_deg, x_tilt_deg = imod_from_projection(
            ts.P, ts.image_size_px, ts.pixel_A)
        base = folder.file(f"imod/{ts.name}.xf").parent / ts.name
        write_xf(f"{base}.xf", Transforms(matrix, shift_A / ts.pixel_A))
        write_tilt_angles(f"{base}.tlt", tilt_deg)
        write_tilt_angles(f"{base}.xtilt", x_tilt_deg)
        view = np.arange(1, ts.n_tilts + 1)
        flags = ASTIGMATISM | (PHASE if ts.phase_shift_deg.any() else 0)
        write_defocus(f"{base}.defocus", DefocusTable(
            np.stack([view, view], axis=1), np.stack([tilt_deg, tilt_deg], axis=1), ts.defocus_u_A,
            ts.defocus_v_A, ts.astig_deg, ts.phase_shift_deg, None, 3, flags))
    return {"imod": "imod"}


def copy_stack(path: Path, series: ImportedSeries, parameters: ImportParameters) -> None:
    """Write the kept views of a stack, times the grey scale."""
    width, height = series.stack.image_size_px
    mode = 12 if parameters.image_type == "float16" else 2
    writer = SectionWriter(path, (series.ts.n_tilts, height, width), series.stack.pixel_A, mode)
    writer.discard()
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    with open_stack(series.stack.path, permissive=True) as stack:
        for i, view in enumerate(series.views):
            image = stack[int(view)] * np.float32(parameters.grey_scale)
            if not np.isfinite(image).all():
                raise InputError(f"{series.stack.path}, image {view + 1}: holds NaN or Inf. Mend "
                                 "the stack, or leave the view out with --exclude-tilts.")
            writer.write(i, image)
            low, high = min(low, float(image.min())), max(high, float(image.max()))
            total += float(image.mean(dtype=np.float64))
            squares += float(np.square(image, dtype=np.float64).mean())
    mean = total / series.ts.n_tilts
    variance = max(squares / series.ts.n_tilts - mean ** 2, 0.0)
    writer.finish((low, high, mean, variance ** 0.5))


def report_sections(series: list[ImportedSeries]) -> list[Section]:
    """A table of the series, what came from where, and a picture a series."""
    columns = ["series", "stack", "views", "of", "tilt range [°]", "dose before [e/Å²]",
               "defocus [Å]", "axis [°]", "hand", "not held by angles [px]"]
    rows = []
    for s in series:
        ts = s.ts
        axis = tilt_angles_from_rotation(nearest_rotation(ts.rotation))[2]
        mean = 0.5 * (ts.defocus_u_A + ts.defocus_v_A)
        rows.append([ts.name, str(s.stack.path), ts.n_tilts, s.stack.n_images,
                     f"{s.nominal_deg.min():.1f} .. {s.nominal_deg.max():.1f}",
                     f"{ts.pre_dose_e_per_A2.min():.1f} .. {ts.pre_dose_e_per_A2.max():.1f}",
                     f"{mean.min():.0f} .. {mean.max():.0f}",
                     f"{axis.min():.2f} .. {axis.max():.2f}", ts.hand, f"{s.lost_px:.2f}"])
    sections = [Section("Imported series", tables=[Table("Series", columns, rows)])]
    for s in series[:_DRAWN_SERIES]:
        figure = Figure("Dose, defocus and shift of the views", tilt_geometry.later(
            s.nominal_deg, s.ts.pre_dose_e_per_A2, s.ts.defocus_u_A, s.ts.defocus_v_A,
            s.ts.P[:, :2, 3], title=s.ts.name))
        sections.append(Section(s.ts.name, figures=[figure], tables=[
            Table("What was taken from where", ["what", "value", "from"], s.notes.rows)]))
    return sections
