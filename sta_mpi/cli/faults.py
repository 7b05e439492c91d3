"""Faults on the command line: one line each, told once under mpirun, exit code 2.

Nothing is known of MPI here: rank 0 is found by what its launcher left in the environment.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn

import click

from sta_mpi.errors import EXIT_USAGE

_RANK_NAMES = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


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
