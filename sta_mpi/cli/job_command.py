"""From the command line to a job: merge TOML and options, validate, run, exit code.

Heavy imports (numpy, numba, mpi4py) happen after the arguments are known to be right, so
that help and usage errors are quick and work where MPI is absent.
"""

import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from sta_mpi.cli.faults import refuse
from sta_mpi.cli.options import make_options
from sta_mpi.jobs.parameters.faults import explain


class JobCommand(click.Command):
    """A command that runs `sta_mpi.jobs.<module>.run` with parameters of one model.

    Parameters
    ----------
    name : str              as typed, e.g. "average"
    parameters : str        "module:Class" of the parameter model
    summary : str           first line of the help, then details
    example : str           a line that can be copied
    """

    def __init__(self, name: str, parameters: str, summary: str, example: str) -> None:
        module, class_name = parameters.split(":")
        self.model = getattr(importlib.import_module(module), class_name)
        super().__init__(name, help=f"{summary}\n\n\b\nExample:\n  {example}",
                         params=[_toml_argument(), *make_options(self.model)],
                         callback=self._run)

    def _run(self, toml: Path | None, **options: Any) -> None:
        given = {k: v for k, v in options.items() if v is not None and v != ()}
        parameters = self._validate({**_read_toml(toml, str(self.name)), **given})
        from sta_mpi.jobs.launch import launch

        sys.exit(launch(str(self.name), parameters))

    def _validate(self, values: dict[str, Any]) -> Any:
        try:
            return self.model(**values)
        except ValidationError as error:
            refuse(str(self.name), explain(error))


def _toml_argument() -> click.Argument:
    return click.Argument(["toml"], required=False, metavar="[JOB.TOML]",
                          type=click.Path(path_type=Path))


def _read_toml(path: Path | None, command: str) -> dict[str, Any]:
    if path is None:
        return {}
    if path.suffix == ".prm" and command == "align":
        return {"prm": path, "output": path.with_name(f"{path.stem}_align")}
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        refuse(command, [f"cannot read {path}: {error.strerror}. Give an existing TOML file of "
                         "parameters."])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        refuse(command, [f"{path} is not TOML: {error}. Write lines such as box_px = 64."])
    made_for = values.pop("command", command)
    if made_for != command:
        refuse(command, [f"{path} holds the parameters of {made_for!r}. Run that command, or "
                         "remove the line `command` if these are meant."])
    return values
