"""The HTML page of a job: one file with pictures inside, readable with no network.

The template escapes every value, so names from user files cannot become markup; a page
holds no script.
"""

import base64
import os
from pathlib import Path
from urllib.parse import quote

from sta_mpi.errors import ResourceError
from sta_mpi.report.content import (
    Drawable,
    Figure,
    FileLink,
    Quantity,
    ReportContent,
    Section,
    Table,
)
from sta_mpi.report.wording import format_duration, format_number

__all__ = [
    "Figure",
    "FileLink",
    "Quantity",
    "ReportContent",
    "Section",
    "Table",
    "render_report",
    "write_report",
]

_TEMPLATE = "job.html"


def write_report(path: str | os.PathLike[str], content: ReportContent) -> Path:
    """Write the page of a job, through a temporary name and a rename.

    Parameters
    ----------
    path : path              of the HTML file; links are relative to its folder
    content : ReportContent

    Returns
    -------
    path : Path

    Raises
    ------
    ResourceError   where the file cannot be written; an earlier page is left as it was
    """
    path = Path(path)
    text = render_report(content, path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ResourceError(
            f"report {path} cannot be written: {error.strerror}. Free space or choose another "
            "folder, then run `sta-mpi report` on the job's folder.") from None
    return path


def render_report(content: ReportContent, folder: str | os.PathLike[str]) -> str:
    """The page as a string, with links relative to `folder`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sta_mpi.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = format_number
    environment.filters["duration"] = format_duration
    environment.filters["picture"] = _data_url
    environment.filters["link"] = lambda link: _relative_link(link, Path(folder))
    environment.filters["is_numeric"] = _is_numeric
    environment.filters["numeric_columns"] = _numeric_columns
    return environment.get_template(_TEMPLATE).render(job=content)


def _data_url(picture: bytes | Drawable) -> str:
    png = picture if isinstance(picture, bytes) else picture.png()
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _relative_link(link: FileLink, folder: Path) -> str:
    """The path of a file as seen from the page, quoted for a URL; never a URL scheme."""
    path = Path(link.path)
    relative = os.path.relpath(path, folder.absolute()) if path.is_absolute() else str(path)
    return "./" + quote(relative.replace(os.sep, "/"))


def _numeric_columns(table: Table) -> list[bool]:
    """Whether the first value of each column that is not missing is a number."""
    first = [next((row[i] for row in table.rows if row[i] is not None), None)
             for i in range(len(table.columns))]
    return [_is_numeric(value) for value in first]


def _is_numeric(value: object) -> bool:
    """Whether a value is set in the right-aligned style of numbers."""
    is_scalar = hasattr(value, "item") and getattr(value, "ndim", None) == 0
    return (isinstance(value, int | float) and not isinstance(value, bool)) or is_scalar
