"""`sta-mpi report`."""

import sys
from pathlib import Path

import click

from sta_mpi.errors import StaMpiError


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("overview.html"),
              show_default=True, help="HTML file to write.")
def COMMAND(folders: tuple[Path, ...], output: Path) -> None:
    """Write one page about the jobs in FOLDERS: states, results, maps and FSC curves.

    Each job also has its own report.html.

    \b
    Example:
      sta-mpi report average_bin4 align_bin4 -o overview.html
    """
    from sta_mpi.jobs.overview import write_overview

    try:
        click.echo(str(write_overview(list(folders), output)))
    except StaMpiError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
