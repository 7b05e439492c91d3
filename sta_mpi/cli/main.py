"""The group of all commands, loaded one by one so that help stays fast."""

import importlib
import pkgutil
import sys
from typing import Any

import click

from sta_mpi.cli import commands
from sta_mpi.cli.faults import describe_click_error, refuse
from sta_mpi.version import __version__


class CommandGroup(click.Group):
    """A group whose commands are the modules of `sta_mpi.cli.commands`."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; wrong options end in one line, printed once under mpirun."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            refuse("", [describe_click_error(error)])
        except click.Abort:
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, `_` written as `-`."""
        return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(
            f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.COMMAND
        return command


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"],
                                                 "max_content_width": 100})
@click.version_option(__version__, prog_name="sta-mpi")
def cli() -> None:
    """MPI-parallel cryo-ET subtomogram averaging.

    Each command takes an optional job.toml and options; options win. Start it as it is,
    under `mpirun -n N`, or under `srun`. Running the same command again resumes it.
    """
