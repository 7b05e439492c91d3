"""`sta-mpi status`."""

import shutil
import sys
from pathlib import Path

import click

from sta_mpi.errors import StaMpiError


@click.command("status")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
def COMMAND(folders: tuple[Path, ...]) -> None:
    """Show what the jobs in FOLDERS (default: here) are doing.

    \b
    Example:
      sta-mpi status project/
    """
    from sta_mpi.jobs.overview import status_text

    width = shutil.get_terminal_size((110, 24)).columns
    try:
        click.echo(status_text(list(folders) or [Path()], width, sys.stdout.isatty()), nl=False)
    except StaMpiError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
