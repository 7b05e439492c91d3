"""What a report page holds, as plain dataclasses; `page.py` turns them into HTML.

All texts are plain text: whatever characters a path or a tilt-series name holds are shown as
they are. Order is kept: sections, figures, tables and rows stand as they were given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Drawable(Protocol):
    """A picture that is not drawn yet, such as `drawing.Drawing`."""

    def png(self) -> bytes:
        """Draw it."""


@dataclass(frozen=True)
class Quantity:
    """One number, or short text, with its unit.

    Parameters
    ----------
    name : str     what it is, in words
    value : object  number, text, bool, list or None
    unit : str     "Å", "s", "GiB", "" ...
    note : str     how it was found, or what to think of it
    """

    name: str
    value: object
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture with a caption.

    Parameters
    ----------
    title : str
    png : bytes, Drawable or None   from report.figures; None shows title and caption alone,
                                    to say why there is no picture
    caption : str         what is drawn and what to look for
    """

    title: str
    png: bytes | Drawable | None
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table; beyond `max_rows` rows, the rest is counted and not shown.

    Parameters
    ----------
    title : str
    columns : names, with units
    rows : one sequence of values a row, as long as columns
    caption : str
    max_rows : int
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    max_rows: int = 200

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r} row {number}: {len(row)} values for "
                                 f"{len(self.columns)} columns")


@dataclass(frozen=True)
class Section:
    """A heading with text, quantities, figures and tables under it."""

    title: str
    text: str = ""
    quantities: Sequence[Quantity] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class FileLink:
    """A file of the job, linked relative to the page.

    Parameters
    ----------
    name : str          what the file is
    path : str or Path  absolute, or relative to the folder of the page
    """

    name: str
    path: str | Path


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page of one job.

    Parameters
    ----------
    command : str              as in "average"
    status : str               finished, running, stopped or failed
    version : str              of sta_mpi
    title : str                heading; empty for the command
    summary : str              one or two sentences: what came out
    finished : str             date and time, ISO 8601
    elapsed_s : float or None  wall time of the job
    ranks, threads : int       threads a rank
    hosts : names of the machines
    results : Quantity items   the first table
    warnings : texts, one each
    error : str                why the job failed, for a failed one
    sections : Section items
    parameters : name to value
    inputs, outputs : FileLink items
    timing : Quantity items    wall time of the steps, memory predicted and measured
    timing_figures : Figure items
    quarantined : (unit, reason) pairs   units left out because their data are bad
    command_line : str         repeats the job when pasted into a shell
    """

    command: str
    status: str
    version: str
    title: str = ""
    summary: str = ""
    finished: str = ""
    elapsed_s: float | None = None
    ranks: int = 1
    threads: int = 1
    hosts: Sequence[str] = ()
    results: Sequence[Quantity] = ()
    warnings: Sequence[str] = ()
    error: str = ""
    sections: Sequence[Section] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    inputs: Sequence[FileLink] = ()
    outputs: Sequence[FileLink] = ()
    timing: Sequence[Quantity] = ()
    timing_figures: Sequence[Figure] = ()
    quarantined: Sequence[tuple[str, str]] = ()
    command_line: str = ""
