"""Warp's and M's XML of a tilt series: geometry, dose and CTF of every tilt.

Lists hold one value a tilt, in the order of the stack; grids hold values at nodes, those that
describe tilts along their depth. Defocus and its difference are in micrometres, the phase shift in
units of pi, offsets in Å. Deformations (image and volume warp, per-tilt angle corrections,
magnification) are not part of the imaging model here: they are read only so far that what is left
out can be told. No entity of the XML is expanded, a document type is refused.
"""

import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.number_table import PathLike, numbers_of, read_text

Floats = NDArray[np.float64]

_WHAT = "the XML of a Warp tilt series"
_NOT_APPLIED = {
    "GridVolumeWarpX": "Å", "GridVolumeWarpY": "Å", "GridVolumeWarpZ": "Å",
    "GridAngleX": "°", "GridAngleY": "°", "GridAngleZ": "°",
    "GridDoseBfacs": "Å²", "GridLocationBfacs": "Å²",
}
_NEUTRAL_MAGNIFICATION = ((1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 0.0))
"""2x2 matrix of newer versions; mean, difference and angle of older ones."""


@dataclass(frozen=True)
class WarpSeries:
    """A tilt series as Warp's XML describes it; arrays have one row a tilt.

    Parameters
    ----------
    angle_deg, axis_deg : (n,)            tilt angle as stored, angle of the tilt axis
    offset_A : (n, 2)                     of the axis; image movement that is the same over the
                                          image is taken into it
    dose_e_per_A2 : (n,)                  dose before the tilt
    use : (n,) bool                       UseTilt
    defocus_A, defocus_delta_A, astig_deg, phase_shift_deg : (n,) or None    None: not estimated
    level_x_deg, level_y_deg : float
    are_angles_inverted : bool            defocus falls with depth
    pixel_A : float or None               pixel of the movies, None where it was never set
    voltage_kV, cs_mm, amp_contrast : float or None
    image_size_A, volume_size_A : tuple or None
    movie_names : tuple of str
    not_applied : list of str             what is in the file but not in these numbers
    """

    angle_deg: Floats
    axis_deg: Floats
    offset_A: Floats
    dose_e_per_A2: Floats
    use: NDArray[np.bool_]
    defocus_A: Floats | None
    defocus_delta_A: Floats | None
    astig_deg: Floats | None
    phase_shift_deg: Floats | None
    level_x_deg: float = 0.0
    level_y_deg: float = 0.0
    are_angles_inverted: bool = False
    pixel_A: float | None = None
    voltage_kV: float | None = None
    cs_mm: float | None = None
    amp_contrast: float | None = None
    image_size_A: tuple[float, float] | None = None
    volume_size_A: tuple[float, float, float] | None = None
    movie_names: tuple[str, ...] = ()
    not_applied: list[str] = field(default_factory=list)

    @property
    def hand(self) -> int:
        """+1 where defocus grows with depth in Warp's volume."""
        return -1 if self.are_angles_inverted else 1


def read_warp_xml(path: PathLike) -> WarpSeries:
    """Read the XML of a tilt series.

    Raises
    ------
    InputError     no such file, or no tilts
    FormatError    broken XML, a document type, lists of different lengths, NaN
    """
    return _Reader(path).series()


class _Reader:
    """The elements of one file, with messages that name it."""

    def __init__(self, path: PathLike) -> None:
        self.source = os.fspath(path)
        text = read_text(path, _WHAT)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise FormatError(f"{self.source}: has a document type or entities, expected plain "
                              "XML of Warp. Remove them.")
        try:
            self.root = ET.fromstring(text)
        except ET.ParseError as error:
            raise FormatError(f"{self.source}: broken XML ({error}). Copy the file "
                              "again.") from None
        if self.root.tag != "TiltSeries":
            raise FormatError(f"{self.source}: the XML holds <{self.root.tag}>, expected "
                              "<TiltSeries>. Give the file of a tilt series, not of a movie.")

    def series(self) -> WarpSeries:
        """Everything that is used, and a list of what is not."""
        angle_deg = self.numbers("Angles")
        n = len(angle_deg)
        offset_A = np.stack([self.numbers(f"AxisOffset{axis}", n) for axis in "XY"], axis=1)
        movement_A, left_out = self._movement(n)
        parameters = {p.get("Name", ""): p.get("Value", "") for p in self.root.findall("CTF/Param")}
        options = {p.get("Name", ""): p.get("Value", "")
                   for p in self.root.findall("OptionsCTF/Param")}
        has_ctf = bool(options) or np.any(self.grid("GridCTF", n))
        return WarpSeries(
            angle_deg, self.numbers("AxisAngle", n), offset_A - movement_A,
            self.numbers("Dose", n), self._use(n), **self._ctf(n),
            level_x_deg=self.attribute("LevelAngleX"), level_y_deg=self.attribute("LevelAngleY"),
            are_angles_inverted=self.root.get("AreAnglesInverted", "False") == "True",
            pixel_A=self.value(parameters, "PixelSize") if has_ctf else None,
            voltage_kV=self.value(parameters, "Voltage") if has_ctf else None,
            cs_mm=self.value(parameters, "Cs") if has_ctf else None,
            amp_contrast=self.value(parameters, "Amplitude") if has_ctf else None,
            image_size_A=self._size("ImageDimensionsAngstrom", 2),
            volume_size_A=self._size("VolumeDimensionsAngstrom", 3),
            movie_names=tuple(self._lines("MoviePath")),
            not_applied=left_out + self._not_applied())

    def numbers(self, tag: str, n: int | None = None) -> Floats:
        """A list of numbers, one a tilt."""
        cells = self._lines(tag)
        if not cells:
            raise InputError(f"{self.source}: no <{tag}>, expected one value a tilt. Import the "
                             "tilt series in Warp again.")
        if n is not None and len(cells) != n:
            raise FormatError(f"{self.source}: <{tag}> has {len(cells)} values, <Angles> has {n}. "
                              "The file is damaged.")
        return np.array(numbers_of(cells, f"{self.source} <{tag}>", _WHAT, len(cells)))

    def attribute(self, name: str) -> float:
        """A number among the attributes of the root, 0 where absent."""
        return numbers_of([self.root.get(name, "0")], f"{self.source} {name}", _WHAT, 1)[0]

    def value(self, parameters: dict[str, str], name: str) -> float | None:
        """A parameter of the CTF."""
        if name not in parameters:
            return None
        return numbers_of([parameters[name]], f"{self.source} CTF {name}", _WHAT, 1)[0]

    def nodes(self, tag: str) -> tuple[tuple[int, int, int], Floats]:
        """Width, height, depth (times duration) and node values (depth, height * width)."""
        element = self.root.find(tag)
        if element is None:
            return (1, 1, 1), np.zeros((1, 1))
        shape = [int(element.get(name, "1")) if element.get(name, "1").isdecimal() else 0
                 for name in ("Width", "Height", "Depth")]
        if element.get("Duration", "1").isdecimal():
            shape[2] *= int(element.get("Duration", "1"))
        cells = [node.get("Value", "") for node in element.findall("Node")]
        if shape[0] * shape[1] * shape[2] != len(cells) or not cells:
            raise FormatError(f"{self.source}: <{tag}> of {' x '.join(map(str, shape))} nodes "
                              f"holds {len(cells)} values. The file is damaged.")
        values = numbers_of(cells, f"{self.source} <{tag}>", _WHAT, len(cells))
        return (shape[0], shape[1], shape[2]), np.array(values).reshape(shape[2], -1)

    def grid(self, tag: str, n: int) -> Floats:
        """One value a tilt of a grid: its mean over the image; (n,)."""
        shape, values = self.nodes(tag)
        if shape[2] not in (1, n):
            raise FormatError(f"{self.source}: <{tag}> has {shape[2]} nodes along the tilts, "
                              f"expected 1 or {n}. Estimate the CTF of every tilt in Warp.")
        return np.array(np.broadcast_to(values.mean(axis=1), (n,)))

    def _ctf(self, n: int) -> dict[str, Floats | None]:
        """Defocus of every tilt, or None for all where it was not estimated."""
        defocus_um = self.grid("GridCTF", n)
        if not np.any(defocus_um):
            return dict.fromkeys(("defocus_A", "defocus_delta_A", "astig_deg", "phase_shift_deg"))
        return {"defocus_A": 1e4 * defocus_um,
                "defocus_delta_A": 1e4 * self.grid("GridCTFDefocusDelta", n),
                "astig_deg": self.grid("GridCTFDefocusAngle", n),
                "phase_shift_deg": 180.0 * self.grid("GridCTFPhase", n)}

    def _movement(self, n: int) -> tuple[Floats, list[str]]:
        """Image movement (n, 2) [Å] of the whole image, and what of it is local."""
        left_out, columns = [], []
        for tag in ("GridMovementX", "GridMovementY"):
            shape, values = self.nodes(tag)
            mean = values.mean(axis=1)
            local = float(np.abs(values - mean[:, None]).max())
            if local > 0 or shape[2] not in (1, n):
                left_out.append(f"{tag}: local movement of up to {np.abs(values).max():.2g} Å")
            columns.append(np.broadcast_to(mean, (n,)) if shape[2] in (1, n) else np.zeros(n))
        return np.stack(columns, axis=1), left_out

    def _not_applied(self) -> list[str]:
        """What the file describes and a rigid tilt cannot."""
        lines = []
        for tag, unit in _NOT_APPLIED.items():
            largest = float(np.abs(self.nodes(tag)[1]).max())
            if largest > 0:
                lines.append(f"{tag}: up to {largest:.3g} {unit}")
        correction = self.root.get("MagnificationCorrection", "1, 0, 0, 1")
        if not any(_same(correction, neutral) for neutral in _NEUTRAL_MAGNIFICATION):
            lines.append(f"MagnificationCorrection: {correction}")
        return lines

    def _use(self, n: int) -> NDArray[np.bool_]:
        cells = self._lines("UseTilt") or ["True"] * n
        wrong = [cell for cell in cells if cell not in ("True", "False")]
        if wrong or len(cells) != n:
            raise FormatError(f"{self.source}: <UseTilt> has {len(cells)} values"
                              f"{f', one of them {wrong[0]!r}' if wrong else ''}, expected {n} of "
                              "True or False. The file is damaged.")
        return np.array([cell == "True" for cell in cells])

    def _size(self, name: str, n: int) -> tuple | None:
        text = self.root.get(name)
        if text is None:
            return None
        return tuple(numbers_of(text.replace(",", " ").split(), f"{self.source} {name}", _WHAT, n))

    def _lines(self, tag: str) -> list[str]:
        element = self.root.find(tag)
        text = element.text if element is not None and element.text else ""
        return [line.strip() for line in text.split("\n") if line.strip()]


def _same(text: str, values: tuple[float, ...]) -> bool:
    """Whether a list of numbers holds these values."""
    cells = text.split(",")
    try:
        return len(cells) == len(values) and all(
            abs(float(cell) - value) < 1e-6 for cell, value in zip(cells, values, strict=True))
    except ValueError:
        return False
