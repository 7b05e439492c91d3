"""Which series an import was given, and which files belong to each."""

import glob
from dataclasses import dataclass, field
from pathlib import Path

from sta_mpi.errors import InputError, UsageError
from sta_mpi.jobs.parameters.project_import import ImportParameters

STACK_ENDINGS = (".st", ".mrc", ".mrcs", ".mrc.gz", ".mrcs.gz", ".st.gz", ".ali")
IMOD, WARP, ARETOMO, RELION = "IMOD", "Warp", "AreTomo", "RELION"
KINDS = {".xf": IMOD, ".xml": WARP, ".aln": ARETOMO, ".star": RELION}
_UNUSED = {
    IMOD: ("first_section", "particles", "coordinate_pixel_A"),
    WARP: ("first_section", "particles", "coordinate_pixel_A", "binning", "tilt_angles"),
    ARETOMO: ("particles", "coordinate_pixel_A", "tilt_angles"),
    RELION: (
        "stack", "tilt_angles", "ctf", "mdoc", "dose_file", "pixel_A", "binning", "voltage_kV",
        "cs_mm", "amplitude_contrast", "dose_per_tilt_e_per_A2", "tilt_order", "defocus_A", "hand",
        "tomogram_size_px", "thickness_A", "first_section", "exclude_tilts", "mirror_z",
        "copy_stacks"),
}
"""Options that say what the files of a kind say themselves, or that it cannot follow."""
_LARGEST_COUNT = 100_000
"""Files that a pattern may match."""


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series.

    Parameters
    ----------
    name : str
    kind : str                  IMOD, WARP, ARETOMO or RELION
    alignment : Path            .xf, .xml, .aln or .star
    others : dict               role -> file: stack, tilt_angles, x_tilt, z_factors, tilt_com, ctf,
                                mdoc, dose_file; only those that exist
    """

    name: str
    kind: str
    alignment: Path
    others: dict[str, Path] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """All files but the stack."""
        return [self.alignment, *(p for role, p in self.others.items() if role != "stack")]

    def require(self, role: str, option: str, what: str) -> Path:
        """The file of a role; InputError where the series has none."""
        if role not in self.others:
            raise InputError(f"series {self.name}: no {what} beside {self.alignment}. Give it with "
                             f"--{option}; {{name}} stands for the name of the series.")
        return self.others[role]


def find_series(parameters: ImportParameters) -> list[SeriesFiles]:
    """All series of the input, in the order given; InputError where there is none."""
    alignments: list[tuple[str, Path]] = []
    for text in parameters.input:
        for path in _expand(text):
            found = _alignments_of_folder(path) if path.is_dir() else [path]
            alignments += [(_kind(p), p) for p in found]
    if len({kind for kind, _ in alignments}) > 1:
        kinds = ", ".join(sorted({kind for kind, _ in alignments}))
        raise InputError(f"the input holds alignments of {kinds}. Import one kind at a time: a "
                         "series must not come in twice.")
    _refuse_unused(alignments[0][0], parameters)
    series = [_series(kind, path, parameters) for kind, path in dict.fromkeys(alignments)]
    names = [s.name for s in series]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"series {', '.join(repeated)} more than once in the input. Names of "
                         "series must be unique; rename files or import them apart.")
    return series


def _refuse_unused(kind: str, parameters: ImportParameters) -> None:
    """UsageError for options that this kind of alignment has no use for."""
    for name in _UNUSED[kind]:
        if getattr(parameters, name) not in (None, (), False):
            raise UsageError(f"{name} does not go with an alignment of {kind}, whose files say it. "
                             "Leave it out.")


def _expand(text: str) -> list[Path]:
    """Paths that a pattern matches, sorted; InputError where there is none."""
    if Path(text).exists():
        return [Path(text)]
    found = sorted(glob.glob(text, recursive=True))
    if not found:
        raise InputError(f"no file or folder {text}. Check the path or start in the folder that it "
                         "is relative to.")
    if len(found) > _LARGEST_COUNT:
        raise InputError(f"{text} matches {len(found)} files. Give a narrower pattern.")
    return [Path(name) for name in found]


def _kind(path: Path) -> str:
    if path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: not known, expected a folder or one of {', '.join(KINDS)}. Give "
                         "the alignment; the stack goes to --stack.")
    return KINDS[path.suffix.lower()]


def _alignments_of_folder(folder: Path) -> list[Path]:
    """The alignments of a folder: those named like a stack in it, else the only one."""
    stacks = {stack_stem(path) for path in folder.iterdir()}
    for ending in (".xf", ".aln", ".xml"):
        files = sorted(folder.glob(f"*{ending}"))
        named = [path for path in files if _name_of(path) in stacks]
        if named or len(files) == 1:
            return named or files
        if files:
            raise InputError(f"{folder}: {len(files)} files {ending} and none called like a stack "
                             f"in it. Name the one to use, for example {files[0].name}.")
    raise InputError(f"{folder}: no alignment (.xf, .aln, .xml) in it. Give a folder of IMOD, "
                     "AreTomo or Warp, or a STAR file of RELION.")


def stack_stem(path: Path) -> str | None:
    """Name of a stack without its ending, None for other files."""
    for ending in sorted(STACK_ENDINGS, key=len, reverse=True):
        if path.name.endswith(ending):
            return path.name[:-len(ending)]
    return None


def _name_of(alignment: Path) -> str:
    """The name of a series: that of its alignment, without the ending of a stack in it."""
    name = alignment.name[:-len(alignment.suffix)]
    for ending in (".mrc", ".mrcs", ".st"):
        name = name.removesuffix(ending)
    return name


def _series(kind: str, alignment: Path, parameters: ImportParameters) -> SeriesFiles:
    name = _name_of(alignment)
    if kind == RELION:
        return SeriesFiles(name, kind, alignment)
    folder = alignment.parent
    stack_names = [name + ending for ending in STACK_ENDINGS]
    guesses: dict[str, list[str]] = {
        "stack": stack_names,
        "tilt_angles": [f"{name}.tlt", f"{name}.rawtlt"],
        "x_tilt": [f"{name}.xtilt"], "z_factors": [f"{name}.zfac"], "tilt_com": ["tilt.com"],
        "ctf": [f"{name}.defocus"],
        "mdoc": [f"{name}.mdoc", *(f"{stack}.mdoc" for stack in stack_names)],
        "dose_file": [],
    }
    if kind == WARP:
        guesses = {role: [] for role in guesses} | {"stack": stack_names}
    others: dict[str, Path] = {}
    for role, beside in guesses.items():
        given = getattr(parameters, role, None)
        if given is not None:
            path = Path(str(given).replace("{name}", name))
            if not path.is_file():
                raise InputError(f"series {name}: no file {path} (--{role.replace('_', '-')}). "
                                 "Check the path; {name} stands for the name of the series.")
            others[role] = path
        else:
            found = next((folder / n for n in beside if (folder / n).is_file()), None)
            if found is not None:
                others[role] = found
    return SeriesFiles(name, kind, alignment, others)
