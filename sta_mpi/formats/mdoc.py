"""SerialEM's `.mdoc`: what the microscope said of every view.

A file holds `key = value` lines, titles `[T = ...]` and sections `[ZValue = n]`. Lines are kept as
they stand, so that a file that is read and written is the same file, unknown keys and line ends
included; an edit replaces one line.
"""

import os
import re
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.atomic import atomic_file
from sta_mpi.formats.number_table import PathLike, numbers_of, read_limited

Floats = NDArray[np.float64]

_WHAT = "a SerialEM mdoc"
_DATE_FORMATS = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y-%b-%d %H:%M:%S",
                 "%Y-%m-%d %H:%M:%S")


@dataclass
class MdocSection:
    """The lines of one section; its first line is its heading (none for the global one)."""

    lines: list[str]
    number: int | None = None

    def get(self, key: str) -> str | None:
        """The value of a key, None where absent."""
        for line in self.lines:
            name, equals, value = line.partition("=")
            if equals and name.strip() == key and not line.startswith("["):
                return value.strip()
        return None

    def set(self, key: str, value: str) -> None:
        """Replace the line of a key, or add one after the last line that is not blank."""
        for i, line in enumerate(self.lines):
            name, equals, _ = line.partition("=")
            if equals and name.strip() == key and not line.startswith("["):
                self.lines[i] = f"{key} = {value}"
                return
        last = max((i for i, line in enumerate(self.lines) if line.strip()), default=-1)
        self.lines.insert(last + 1, f"{key} = {value}")


@dataclass
class Mdoc:
    """A file: the global section, then one section a view.

    Parameters
    ----------
    head : MdocSection               lines before the first view, titles included
    views : list of MdocSection      in the order of the file
    source : str                     file it was read from, for messages
    newline, encoding : str          line end and encoding of the file
    titles : list of str             `[T = ...]` lines
    """

    head: MdocSection
    views: list[MdocSection]
    source: str = "mdoc"
    newline: str = "\n"
    encoding: str = "utf-8"
    titles: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.views)

    def numbers(self, key: str) -> Floats:
        """A key of all views as (n,) numbers; InputError where a view lacks it."""
        values = []
        for section in self.views:
            text = section.get(key)
            if text is None:
                raise InputError(f"{self.source}, ZValue {section.number}: no {key}. Add it, or "
                                 "give the value as an option.")
            values += numbers_of([text], f"{self.source}, ZValue {section.number}, {key}", _WHAT,
                                 1)
        return np.array(values, np.float64)

    def has(self, key: str) -> bool:
        """Whether every view has the key."""
        return bool(self.views) and all(section.get(key) is not None for section in self.views)

    def global_number(self, key: str) -> float | None:
        """A number of the global section, else that of the first view, None where absent."""
        text = self.head.get(key) or (self.views[0].get(key) if self.views else None)
        return None if text is None else numbers_of(
            text.split()[:1], f"{self.source}, {key}", _WHAT, 1)[0]

    @property
    def tilt_axis_deg(self) -> float | None:
        """The angle of the tilt axis in SerialEM's titles [degrees], None where there is none."""
        for title in self.titles:
            found = re.search(r"Tilt axis angle = ([-+]?[0-9.]{1,12})\b", title)
            if found:
                return numbers_of([found[1]], f"{self.source}, Tilt axis angle", _WHAT, 1)[0]
        return None

    def with_dose(self, dose_e_per_A2: float) -> "Mdoc":
        """A copy in which every view has this ExposureDose [e/Å^2].

        Where the views have a PriorRecordDose, it becomes what follows from this dose and DateTime.
        """
        views = [MdocSection(list(section.lines), section.number) for section in self.views]
        for section in views:
            section.set("ExposureDose", f"{dose_e_per_A2:g}")
        if self.has("PriorRecordDose"):
            for section, dose in zip(views, pre_exposure(self, dose_e_per_A2), strict=True):
                section.set("PriorRecordDose", f"{dose:g}")
        return replace(self, head=MdocSection(list(self.head.lines)), views=views)


def read_mdoc(path: PathLike) -> Mdoc:
    """Read an mdoc file.

    Raises
    ------
    InputError     no such file, or no view in it
    FormatError    not text, or a ZValue that is no number or repeated
    """
    source = os.fspath(path)
    raw = read_limited(path, _WHAT)
    if b"\0" in raw:
        raise FormatError(f"{source}: binary data, expected {_WHAT}. Give the text file.")
    try:
        text, encoding = raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text, encoding = raw.decode("latin-1"), "latin-1"
    newline = "\r\n" if "\r\n" in text else "\n"
    head, views = MdocSection([]), []
    current = head
    for line in text.split(newline):
        if line.strip().startswith("[ZValue"):
            current = MdocSection([], _section_number(line, source))
            views.append(current)
        current.lines.append(line)
    if not views:
        raise InputError(f"{source}: no [ZValue = ...] section, expected {_WHAT} of a tilt series. "
                         "Check that this is the right file.")
    numbers = [section.number for section in views]
    repeated = next((n for n in numbers if numbers.count(n) > 1), None) \
        if len(set(numbers)) < len(numbers) else None
    if repeated is not None:
        raise FormatError(f"{source}: ZValue {repeated} more than once. Remove the section that "
                          "is not in the stack.")
    titles = [line.strip() for line in head.lines if line.strip().startswith("[T")]
    return Mdoc(head, views, source, newline, encoding, titles)


def write_mdoc(path: PathLike, mdoc: Mdoc) -> None:
    """Write an mdoc; lines that were not edited are the bytes that were read."""
    lines = [line for section in (mdoc.head, *mdoc.views) for line in section.lines]
    with atomic_file(path) as stream:
        stream.write(mdoc.newline.join(lines).encode(mdoc.encoding))


def pre_exposure(mdoc: Mdoc, dose_per_tilt_e_per_A2: float | None = None) -> Floats:
    """Dose before each view, (n,) [e/Å^2], in the order of the sections.

    PriorRecordDose where every view has it and it is not 0 throughout, else the doses of the views
    that DateTime says were taken earlier. A dose given by the caller replaces those of the file,
    which many set-ups leave at 0.

    Raises
    ------
    InputError    a dose of 0 or less, no dates to order by, or no doses at all
    """
    n = len(mdoc)
    if dose_per_tilt_e_per_A2 is None and mdoc.has("PriorRecordDose"):
        prior = mdoc.numbers("PriorRecordDose")
        if n > 1 and prior.any() and (prior >= 0).all():
            return prior
    dose = np.full(n, dose_per_tilt_e_per_A2) if dose_per_tilt_e_per_A2 is not None \
        else mdoc.numbers("ExposureDose")
    bad = np.flatnonzero(~(dose > 0))
    if len(bad):
        raise InputError(f"{mdoc.source}, ZValue {mdoc.views[bad[0]].number}: ExposureDose is "
                         f"{dose[bad[0]]:g} e/Å^2 ({len(bad)} of {n} views), expected more than 0. "
                         "The microscope's dose was not calibrated: give the dose of a tilt with "
                         "--dose-per-tilt-e-per-A2.")
    order = acquisition_order(mdoc)
    before = np.zeros(n)
    before[order] = np.concatenate([[0.0], np.cumsum(dose[order])[:-1]])
    return before


def acquisition_order(mdoc: Mdoc) -> NDArray[np.intp]:
    """Indices of the sections in the order in which they were taken, by DateTime."""
    dates = []
    for section in mdoc.views:
        text = " ".join((section.get("DateTime") or "").split())
        for pattern in _DATE_FORMATS:
            try:
                dates.append(datetime.strptime(text, pattern))
                break
            except ValueError:
                continue
        else:
            raise InputError(f"{mdoc.source}, ZValue {section.number}: DateTime is {text!r}, "
                             "expected for example 30-Nov-15 15:21:38. Without it the order of the "
                             "views is unknown: give it with --tilt-order.")
    return np.argsort(np.array(dates, "datetime64[s]"), kind="stable")


def _section_number(line: str, source: str) -> int:
    text = line.strip().strip("[]").partition("=")[2].strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise FormatError(f"{source}: section {line.strip()!r}, expected [ZValue = n] with a whole "
                          "number. Mend the line.")
    return int(text)
