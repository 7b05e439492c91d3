"""A chain of commands, as its TOML file says: stages, what they share, and what they refer to.

    [all]                       # for every stage whose command has such a parameter
    symmetry = "C6"
    box_A = 400                 # box_px of every stage, at its binning

    [[stage]]
    name = "bin4"               # also the folder of the stage
    command = "refine"
    binning = 4
    reference = "{model}/map.mrc"           # {stage}: the folder of an earlier stage
    lowpass_A = "{bin8:resolution_A}"       # {stage:name}: one of its results or outputs
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sta_mpi.errors import InputError, UsageError
from sta_mpi.jobs.parameters.base import JobParameters
from sta_mpi.jobs.parameters.faults import explain, parameter_model

BOX_A = "box_A"
"""Key of [all] that is no parameter of a command: the box in Å, for all binnings."""

OWN_FIELDS = frozenset({"output", "restart", "dry_run"})
"""Parameters that the chain sets itself."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REFERENCE = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


@dataclass(frozen=True)
class Stage:
    """One stage: its name and folder, its command, and the parameters that the file gives."""

    name: str
    command: str
    values: dict[str, Any]

    @property
    def model(self) -> type[JobParameters]:
        """Parameter model of the command."""
        return parameter_model(self.command)

    def has(self, parameter: str) -> bool:
        """Whether the command has this parameter."""
        return parameter in self.model.model_fields


@dataclass(frozen=True)
class Chain:
    """Stages in their order, and the parameters of [all]."""

    stages: tuple[Stage, ...]
    shared: dict[str, Any] = field(default_factory=dict)

    def index(self, name: str) -> int:
        """Place of a stage; UsageError where there is none of this name."""
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise UsageError(f"there is no stage {name!r}. The stages are {', '.join(names)}.")
        return names.index(name)


@dataclass(frozen=True)
class DoneStage:
    """A finished stage: its folder, results and outputs (name -> path) of its job.json, and what
    the chain's file says of it."""

    name: str
    command: str
    folder: Path
    results: dict[str, Any]
    outputs: dict[str, str]
    values: Mapping[str, Any] = field(default_factory=dict)

    def output(self, name: str) -> Path:
        """Path of one output."""
        return self.folder / self.outputs[name]


def read_chain(path: Path) -> Chain:
    """Read a chain and check all that can be known before it runs.

    Raises
    ------
    InputError, UsageError   with file, stage and parameter
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}. Give an existing chain file."
                         ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}. Write lines such as binning = 4.") from None
    unknown = sorted(set(table) - {"all", "stage"})
    stages, shared = table.get("stage"), table.get("all", {})
    if unknown or not isinstance(shared, dict):
        raise InputError(f"{path}: {', '.join(unknown) or 'all'} is not expected there. A chain "
                         "has one table [all] and tables [[stage]].")
    if not isinstance(stages, list) or not stages or not all(isinstance(s, dict) for s in stages):
        raise InputError(f"{path}: no stage found. Write each stage as a table [[stage]] with name "
                         "and command.")
    chain = Chain(tuple(_stage(path, i, s) for i, s in enumerate(stages, 1)), dict(shared))
    _check_names(path, chain)
    for stage in chain.stages:
        _knows(path, stage, "output")
    _check_shared(path, chain)
    for i, stage in enumerate(chain.stages):
        _check_stage(path, chain, i, stage)
    return chain


def _stage(path: Path, number: int, table: dict[str, Any]) -> Stage:
    values = dict(table)
    command, name = values.pop("command", None), values.pop("name", None)
    if not isinstance(command, str):
        raise InputError(f"{path}, stage {number}: no command. Write command = \"refine\", or "
                         "another.")
    name = f"{number:02d}_{command}" if name is None else name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"{path}, stage {number}: name {name!r} cannot be a folder. Use letters, "
                         "digits, '_', '-' and '.'.")
    return Stage(name, command, values)


def _check_names(path: Path, chain: Chain) -> None:
    names = [stage.name for stage in chain.stages]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise InputError(f"{path}: two stages are called {double[0]!r}. Give each its own name.")


def _check_shared(path: Path, chain: Chain) -> None:
    for key in chain.shared:
        if key in OWN_FIELDS:
            raise InputError(f"{path}, [all]: {key} is set by the chain. Remove it.")
        needed = "box_px" if key == BOX_A else key
        if not any(_knows(path, stage, needed) for stage in chain.stages):
            raise InputError(f"{path}, [all]: no stage has a parameter {key}. Correct its name.")
    box_A = chain.shared.get(BOX_A, 1.0)
    if isinstance(box_A, bool) or not isinstance(box_A, int | float) or not 0 < box_A < 1e6:
        raise InputError(f"{path}, [all]: {BOX_A} is {box_A!r}, expected a size in Å. Correct it.")


def _knows(path: Path, stage: Stage, parameter: str) -> bool:
    try:
        return stage.has(parameter)
    except UsageError as error:
        raise InputError(f"{path}, stage {stage.name}: {error}") from None


def _check_stage(path: Path, chain: Chain, index: int, stage: Stage) -> None:
    """Names of parameters, references to earlier stages, and values that are already known."""
    where = f"{path}, stage {stage.name} ({stage.command})"
    for key in stage.values:
        if key in OWN_FIELDS:
            raise InputError(f"{where}: {key} is set by the chain. Remove it.")
        if not _knows(path, stage, key):
            raise InputError(f"{where}: there is no parameter {key!r}. See sta-mpi "
                             f"{stage.command} --help for the list.")
    earlier = [s.name for s in chain.stages[:index]]
    values = {**shared_values(chain, stage), **stage.values}
    for key, value in values.items():
        for name, _ in references(value):
            if name not in earlier:
                raise InputError(f"{where}: {key} refers to {name!r}, which is no earlier stage. "
                                 f"Earlier stages: {', '.join(earlier) or 'none'}.")
    known = {k: v for k, v in values.items() if not references(v)}
    try:
        stage.model(**known, output=Path(stage.name))
    except ValidationError as error:
        wrong = [item for item in error.errors()
                 if item["type"] != "missing" and item["loc"] and item["loc"][0] in known]
        if wrong:
            raise InputError(f"{where}: {explain(error)[0]}") from None


def shared_values(chain: Chain, stage: Stage) -> dict[str, Any]:
    """The parameters of [all] that the stage's command has."""
    return {k: v for k, v in chain.shared.items() if k != BOX_A and stage.has(k)}


def references(value: Any) -> list[tuple[str, str | None]]:
    """The (stage, name or None) that a value refers to."""
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    if not isinstance(value, str):
        return []
    return [(m.group(1), m.group(2)) for m in _REFERENCE.finditer(value)]


def fill_in(value: Any, done: dict[str, DoneStage]) -> Any:
    """The value with its references replaced; a value that is one reference keeps its type.

    Raises
    ------
    InputError   a stage has no result or output of that name
    """
    if isinstance(value, list):
        return [fill_in(item, done) for item in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _meaning(whole, done)
    return _REFERENCE.sub(lambda match: str(_meaning(match, done)), value)


def _meaning(match: re.Match[str], done: dict[str, DoneStage]) -> Any:
    stage, name = done[match.group(1)], match.group(2)
    if name is None:
        return str(stage.folder)
    if name in stage.outputs:
        return str(stage.output(name))
    if stage.results.get(name) is not None:
        return stage.results[name]
    known = sorted({*stage.outputs, *(k for k, v in stage.results.items() if v is not None)})
    raise InputError(f"stage {stage.name} has no result or output {name!r}. It has "
                     f"{', '.join(known)}.")
