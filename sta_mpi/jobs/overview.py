"""What `status` and `report` show of job folders: their JSON files, maps and curves."""

from datetime import UTC, datetime
from pathlib import Path

from sta_mpi.errors import InputError, StaMpiError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_fsc import read_postprocess
from sta_mpi.jobs.folder import read_json
from sta_mpi.jobs.job_page import quantity
from sta_mpi.report.content import Figure, FileLink, ReportContent, Section, Table
from sta_mpi.report.figures import fsc_curves, map_slices
from sta_mpi.report.page import write_report
from sta_mpi.report.status import JobRow, job_row, job_table
from sta_mpi.version import __version__


def find_jobs(paths: list[Path], depth: int = 3) -> list[Path]:
    """Job folders (those with a job.json or job.toml) in or below the given folders."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"no folder {path}. Give job folders or a folder that holds them.")
        found += _below(path, depth)
    return list(dict.fromkeys(found))


def _below(folder: Path, depth: int) -> list[Path]:
    if (folder / "job.json").exists() or (folder / "job.toml").exists():
        return [folder]
    if depth == 0:
        return []
    found: list[Path] = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            found += _below(child, depth - 1)
    return found


def read_rows(folders: list[Path]) -> list[JobRow]:
    """State of each folder from its job.json and progress.json."""
    now = datetime.now(UTC)
    rows = []
    for folder in folders:
        file = folder / "job.json"
        modified = datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.exists() else None
        rows.append(job_row(str(folder), read_json(file), read_json(folder / "progress.json"),
                            now=now, modified=modified))
    return rows


def status_text(paths: list[Path], width: int, is_coloured: bool) -> str:
    """The table that `status` prints."""
    folders = find_jobs(paths)
    if not folders:
        return "no jobs found\n"
    return job_table(read_rows(folders), width, is_coloured)


def write_overview(paths: list[Path], output: Path) -> Path:
    """One page of several jobs: table, results, warnings, maps and FSC of each."""
    folders = find_jobs(paths)
    if not folders:
        raise InputError(f"no jobs in {', '.join(map(str, paths))}. Give job folders.")
    rows = read_rows(folders)
    table = Table("Jobs", ["job", "command", "status", "resolution [Å]", "core hours"], [
        [r.folder, r.command, r.status, r.resolution_A, r.core_hours] for r in rows])
    sections = [Section("Jobs", tables=[table]), *map(_job_section, folders)]
    links = [FileLink(str(f), (f / "report.html").absolute()) for f in folders
             if (f / "report.html").exists()]
    content = ReportContent(
        command="report", status="finished", version=__version__,
        title=f"{len(folders)} jobs", sections=sections, outputs=links,
        finished=datetime.now(UTC).isoformat(timespec="seconds"))
    return write_report(output, content)


def _job_section(folder: Path) -> Section:
    job = read_json(folder / "job.json") or {}
    results = job.get("results") or {}
    text = str(job.get("message", ""))
    warnings = [str(w) for w in job.get("warnings", [])]
    return Section(
        f"{folder} ({job.get('command', 'unknown')})", " ".join([text, *warnings]).strip(),
        quantities=[quantity(k, v) for k, v in results.items()], figures=_figures(folder))


def _figures(folder: Path) -> list[Figure]:
    """Map and curve of a folder, where it has them."""
    figures = []
    try:
        if (folder / "merged.mrc").exists():
            volume = read_mrc(folder / "merged.mrc")
            figures.append(Figure("Merged map", map_slices(volume.data, volume.voxel_A)))
        if (folder / "fsc.star").exists():
            table = read_postprocess(folder / "fsc.star")
            step = float(table.s_per_A[1])
            n_shells = len(table.s_per_A)
            box = 2 * (n_shells - 1)
            figures.append(Figure("FSC", fsc_curves(table.curves, 1 / (box * step), box)))
    except StaMpiError as error:
        figures.append(Figure("Maps", None, str(error)))
    return figures
