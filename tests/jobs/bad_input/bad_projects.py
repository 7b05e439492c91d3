"""Small projects to break, the commands run on them, and what a clear refusal looks like."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from sta_mpi.cli.main import cli

ROOT = Path(__file__).resolve().parents[3]
BOX_PX = 24
AVERAGE = ("average", "--optimisation-set", "optimisation_set.star", "--box-px", str(BOX_PX),
           "--pad", "1", "--quiet", "-o", "out")
ALIGN = ("align", "--optimisation-set", "optimisation_set.star", "--box-px", str(BOX_PX),
         "--pad", "1", "--lowpass-A", "40", "--angle-range-deg", "0", "--shift-range-A", "0",
         "--reference", "maps/merged.mrc", "--oracle-particles", "0", "--quiet", "-o", "out")
CHECK = ("check", "--optimisation-set", "optimisation_set.star", "--box-px", str(BOX_PX),
         "--draw-series", "0", "--quiet", "-o", "out")
FSC = ("fsc", "--half1", "maps/half1.mrc", "--quiet", "-o", "out")

BOOKKEEPING = {"job.toml", "job.json", "run.log", "progress.json"}
"""What a refused job may leave in a folder of its own, so that `status` can say why."""

OUTPUT_ENDINGS = (".mrc", ".star", ".h5", ".html")


@dataclass(frozen=True)
class Outcome:
    """Exit code and streams of one command."""

    code: int
    out: str
    err: str

    @property
    def faults(self) -> list[str]:
        """Lines of stderr that are not warnings."""
        return [line for line in self.err.splitlines()
                if line.strip() and not line.startswith("warning: ")]

    @property
    def warnings(self) -> list[str]:
        """Texts of the warnings."""
        return [line.removeprefix("warning: ") for line in self.err.splitlines()
                if line.startswith("warning: ")]


def run(*arguments: str) -> Outcome:
    """A command in this process."""
    result = CliRunner().invoke(cli, list(arguments), prog_name="sta-mpi")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"the command raised {result.exception!r}") from result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def run_process(*arguments: str, folder: Path | None = None) -> Outcome:
    """A command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "sta_mpi", *arguments], capture_output=True, text=True, timeout=60,
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_refused(outcome: Outcome, code: int, *words: str, faults: int = 1) -> None:
    """The exit code, and `faults` clear lines that hold all `words` (regular expressions)."""
    text = outcome.err
    assert outcome.code == code, f"exit code {outcome.code}, expected {code}; stderr:\n{text}"
    assert len(outcome.faults) == faults, f"{len(outcome.faults)} lines, expected {faults}:\n{text}"
    for bad in ("Traceback", "FAILED:", ".py", "Errno", "nan Å", "array(", "dtype", "NoneType"):
        assert bad not in text, f"{bad!r} is nothing for a user:\n{text}"
    for word in words:
        assert re.search(word, text), f"the message does not say {word!r}:\n{text}"
    for line in outcome.faults:
        assert len(line) < 700, f"{len(line)} characters are no clear line:\n{line}"
    # the last sentence says what to do, so there are two at least, and it ends as one
    last = outcome.faults[-1]
    assert last.endswith((".", ")")), last
    assert len(re.findall(r"[.:;] [A-Z`a-z]", last)) >= 1, f"no next step:\n{last}"


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder by its relative name."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and os.access(path, os.R_OK)}


@dataclass(frozen=True)
class Project:
    """A copy of the valid project that a test breaks.

    Files: optimisation_set.star, particles.star, tomograms.star, tilt_series/TS_0{1,2}.star,
    tilt_images/TS_0{1,2}.mrcs, maps/{half1,half2,merged,mask_fsc}.mrc.
    """

    folder: Path

    @staticmethod
    def copy(good: Path, folder: Path) -> "Project":
        """Copy the valid project."""
        shutil.copytree(good, folder)
        return Project(folder)

    def path(self, name: str) -> Path:
        """A file of the project."""
        return self.folder / name

    def refuses(self, command: Sequence[str], code: int, *words: str, faults: int = 1) -> Outcome:
        """Run a command that must be refused: one clear line, no output, nothing touched."""
        before = snapshot(self.folder)
        outcome = run(*command)
        assert_refused(outcome, code, *words, faults=faults)
        after = snapshot(self.folder)
        assert {k: after.get(k) for k in before} == before, "a file that was there has changed"
        new = {Path(name).name for name in set(after) - set(before)}
        assert not {n for n in new - BOOKKEEPING if n.endswith(OUTPUT_ENDINGS)}, f"wrote {new}"
        return outcome

    def accepts(self, command: Sequence[str]) -> Outcome:
        """Run a command that must work."""
        outcome = run(*command)
        assert outcome.code == 0, outcome.err
        return outcome

    # ---- ways to break STAR files --------------------------------------------------

    def replace(self, name: str, old: str, new: str, count: int = 1) -> None:
        """Replace text that must be there."""
        path = self.path(name)
        text = path.read_bytes()
        assert old.encode() in text, f"{old!r} is not in {name}"
        path.write_bytes(text.replace(old.encode(), new.encode(), count))

    def edit(self, name: str, table: str,
             change: Callable[[list[str], list[list[str]]], tuple[list[str], list[list[str]]]],
             ) -> None:
        """Change labels and rows of one loop."""
        path = self.path(name)
        lines = path.read_text().splitlines()
        begin = lines.index(f"data_{table}")
        first = next(i for i in range(begin, len(lines)) if lines[i].startswith("_"))
        n_labels = next(i for i, line in enumerate(lines[first:]) if not line.startswith("_"))
        end = next(i for i in range(first + n_labels, len(lines) + 1)
                   if i == len(lines) or not lines[i].strip())
        labels = [line.split()[0][1:] for line in lines[first:first + n_labels]]
        rows = [line.split() for line in lines[first + n_labels:end]]
        labels, rows = change(labels, rows)
        new = [f"_{label} #{i + 1}" for i, label in enumerate(labels)]
        new += [" ".join(row) for row in rows]
        path.write_text("\n".join(lines[:first] + new + lines[end:]) + "\n")

    def drop_column(self, name: str, table: str, label: str) -> None:
        """Remove a column."""
        def change(labels: list[str], rows: list[list[str]]) -> tuple:
            i = labels.index(label)
            return ([v for j, v in enumerate(labels) if j != i],
                    [[v for j, v in enumerate(row) if j != i] for row in rows])
        self.edit(name, table, change)

    def set_column(self, name: str, table: str, label: str, value: str | Callable[[int], str],
                   rows: Sequence[int] | None = None) -> None:
        """Set cells of a column (added where absent); `value` may depend on the row."""
        def change(labels: list[str], table_rows: list[list[str]]) -> tuple:
            if label not in labels:
                labels = [*labels, label]
                table_rows = [[*row, "0"] for row in table_rows]
            i = labels.index(label)
            for r, row in enumerate(table_rows):
                if rows is None or r in rows:
                    row[i] = value(r) if callable(value) else value
            return labels, table_rows
        self.edit(name, table, change)

    def set_rows(self, name: str, table: str, order: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        self.edit(name, table, lambda labels, rows: (labels, [rows[i] for i in order]))

    # ---- ways to break images ------------------------------------------------------

    def patch_bytes(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite bytes of a file."""
        with self.path(name).open("r+b") as file:
            file.seek(offset)
            file.write(data)


def make_project(folder: Path) -> None:
    """Simulate the valid project."""
    outcome = run(
        "simulate", "--n-series", "2", "--n-particles", "6", "--image-width-px", "96",
        "--image-height-px", "96", "--thickness-A", "300", "--tilt-step-deg", "30", "--pixel-A",
        "8", "--min-distance-A", "100", "--snr", "0.5", "--quiet", "-o", str(folder))
    assert outcome.code == 0, outcome.err
    for name in ("job.json", "job.toml", "run.log", "progress.json", "report.html", "truth.h5",
                 "truth.mrc", "truth_mask.mrc", "particles_truth.star"):
        (folder / name).unlink(missing_ok=True)


def make_average(folder: Path) -> None:
    """Average the valid project; its maps go to `maps`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        outcome = run(*AVERAGE)
    finally:
        os.chdir(before)
    assert outcome.code == 0, outcome.err
    (folder / "maps").mkdir()
    for name in ("half1", "half2", "merged", "mask_fsc"):
        shutil.move(folder / "out" / f"{name}.mrc", folder / "maps" / f"{name}.mrc")
    shutil.rmtree(folder / "out")


def with_value(command: Sequence[str], old: str, new: str) -> tuple[str, ...]:
    """The command with one of its arguments replaced."""
    assert old in command
    return tuple(new if argument == old else argument for argument in command)
