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

from sta_mpi.cli.options import make_options, option_name
from sta_mpi.errors import EXIT_USAGE


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
        parameters = self._validate({**_read_toml(toml), **given})
        from sta_mpi.jobs.launch import launch

        sys.exit(launch(str(self.name), parameters))

    def _validate(self, values: dict[str, Any]) -> Any:
        try:
            return self.model(**values)
        except ValidationError as error:
            for line in _explain(error):
                click.echo(f"sta-mpi {self.name}: {line}", err=True)
            sys.exit(EXIT_USAGE)


def _toml_argument() -> click.Argument:
    return click.Argument(["toml"], required=False, metavar="[JOB.TOML]",
                          type=click.Path(path_type=Path))


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        click.echo(f"sta-mpi: cannot read {path}: {error.strerror}. Give an existing TOML file "
                   "of parameters.", err=True)
        sys.exit(EXIT_USAGE)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        click.echo(f"sta-mpi: {path} is not TOML: {error}. Write lines such as box_px = 64.",
                   err=True)
        sys.exit(EXIT_USAGE)
    values.pop("command", None)
    return values


def _explain(error: ValidationError) -> list[str]:
    """One line a wrong parameter: what, found, expected."""
    lines = []
    for item in error.errors():
        name = option_name(str(item["loc"][0])) if item["loc"] else "parameters"
        if item["type"] == "missing":
            lines.append(f"{name} is needed.")
        elif item["type"] == "extra_forbidden":
            lines.append(f"there is no parameter {item['loc'][0]!r}; see --help for the list.")
        else:
            lines.append(f"{name}: {item['msg']} (found {item['input']!r}).")
    return lines
