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

_MAPS = ("merged.mrc", "run_class001.mrc", "reference.mrc", "postprocess_masked.mrc")
"""Maps that commands write, which a page of several jobs shows."""


def find_jobs(paths: list[Path], depth: int = 3) -> list[Path]:
    """Job folders (those with a job.json or job.toml) in or below the given folders."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"no folder {path}. Give job folders or a folder that holds them.")
        found += _below(path, depth)
    return list(dict.fromkeys(found))


def _below(folder: Path, depth: int) -> list[Path]:
    found: list[Path] = []
    if (folder / "job.json").exists() or (folder / "job.toml").exists():
        if (read_json(folder / "job.json") or {}).get("command") != "run":
            return [folder]
        found.append(folder)      # a chain: its stages are jobs of their own
    if depth == 0:
        return found
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            found += _below(child, depth - 1)
    return found


def read_rows(folders: list[Path]) -> list[JobRow]:
    """State of each folder from its job.json and progress.json."""
    now = datetime.now(UTC)
    rows = []
    for folder in folders:
        rows.append(job_row(str(folder), read_json(folder / "job.json"),
                            read_json(folder / "progress.json"), now=now,
                            modified=_last_change(folder)))
    return rows


def _last_change(folder: Path) -> datetime | None:
    """When job.json, or a file of a chain's stages, was last written."""
    files = [folder / "job.json", *folder.glob("*/job.json"), *folder.glob("*/progress.json")]
    times = [file.stat().st_mtime for file in files if file.exists()]
    return datetime.fromtimestamp(max(times), UTC) if times else None


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
        quantities=[quantity(k, v) for k, v in results.items()], figures=job_figures(folder))


def job_figures(folder: Path) -> list[Figure]:
    """Map and curve of a job folder, where it has them."""
    figures = []
    try:
        for name in _MAPS:
            if not (folder / name).exists():
                continue
            volume = read_mrc(folder / name)
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
