"""Faults on the command line: one line each, told once under mpirun, exit code 2.

Nothing is known of MPI here: rank 0 is found by what its launcher left in the environment.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from sta_mpi.cli.options import option_name
from sta_mpi.errors import EXIT_USAGE

_RANK_NAMES = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")

_EXPECTED = {
    "greater_than_equal": "at least {ge}", "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}", "less_than": "less than {lt}",
    "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "int_parsing_size": "a smaller whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "a text", "path_type": "a path", "literal_error": "{expected}",
    "tuple_type": "a list", "list_type": "a list"}
"""pydantic's type of fault -> what was expected."""


def is_first_rank(environ: Mapping[str, str]) -> bool:
    """Whether this process is rank 0, or the only one."""
    return next((environ[name] for name in _RANK_NAMES if name in environ), "0") == "0"


def refuse(command: str, lines: Iterable[str]) -> NoReturn:
    """Print one line a fault on rank 0 and end with the exit code of wrong usage."""
    if is_first_rank(os.environ):
        for line in lines:
            click.echo(f"sta-mpi{' ' + command if command else ''}: {line}", err=True)
    sys.exit(EXIT_USAGE)


def describe_click_error(error: click.UsageError) -> str:
    """One line of what click found wrong, and where help is."""
    path = error.ctx.command_path if error.ctx else "sta-mpi"
    message = error.format_message().replace("\n", " ").strip()
    return f"{message.rstrip('.')}. See {path} --help."


def explain(error: ValidationError) -> list[str]:
    """One line a wrong parameter: what, found, expected."""
    lines = []
    for item in error.errors():
        name = option_name(str(item["loc"][0])) if item["loc"] else ""
        if item["type"] == "missing":
            lines.append(f"{name} is needed. Give it as an option or in the TOML file.")
        elif item["type"] == "extra_forbidden":
            lines.append(f"there is no parameter {item['loc'][0]!r}. See --help for the list.")
        elif item["type"] == "value_error":
            text = f"{name} {item['ctx']['error']}".strip().rstrip(".")
            lines.append(f"{text}. Correct the option or the TOML file.")
        else:
            lines.append(f"{name} is {_shown(item['input'])}, expected "
                         f"{_expected(item)}. Correct the option or the TOML file.")
    return lines


def _expected(item: Any) -> str:
    if item["type"] not in _EXPECTED:
        return str(item["msg"])
    return _EXPECTED[item["type"]].format(**item.get("ctx", {}))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
