"""How a run ends when something is wrong.

Errors that all ranks meet alike (bad input before the start) are printed once and end
the run with the exit code of the error. Anything that happens on some ranks only is
printed as one block with rank, host, unit and traceback (a full disk or bad input: one
line), and `MPI_Abort` ends the other ranks; they would wait for ever otherwise.
"""

import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from sta_mpi.errors import (
    EXIT_UNIT_FAILED,
    InputError,
    ResourceError,
    StaMpiError,
    UsageError,
)

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime

AGREE_S = 2.0
"""How long a rank with an error waits for the others to report the same."""

FORWARD_S = 0.3
"""How long the launcher gets to pass the block on before the run ends; it drops what is late."""


def run_main(runtime: "Runtime", function: Callable[[], int | None]) -> int:
    """Call `function` on this rank and return the exit code of the process.

    Parameters
    ----------
    function : callable   the whole command; returns an exit code or None for 0
    """
    try:
        return function() or 0
    except Exception as error:
        code = exit_code(error)
        if not runtime.agree(AGREE_S):
            report(runtime, error)
            runtime.abort(code)
        # all ranks have failed: what they say alike is told once
        if isinstance(error, StaMpiError):
            key = text = f"{type(error).__name__}: {error}\n"
        else:
            key, text = "".join(traceback.format_exception(error)), block(runtime, error)
        told = runtime.gather((key, text))
        if told is not None:
            sys.stderr.write("".join(dict(reversed(told)).values()))
            sys.stderr.flush()
        return code


def exit_code(error: BaseException) -> int:
    """Return the exit code that belongs to an error."""
    return error.exit_code if isinstance(error, StaMpiError) else EXIT_UNIT_FAILED


def block(runtime: "Runtime", error: BaseException) -> str:
    """Return the text for an error of one rank: rank, host, what it was doing, traceback.

    What the user can put right (input, options, disk, permissions) is one line.
    """
    where = f"rank {runtime.rank} of {runtime.size} on {runtime.host}"
    if isinstance(error, (InputError, ResourceError, UsageError)):
        return f"{type(error).__name__}: {error} ({where}, {runtime.activity})\n"
    line = "=" * 78
    trace = "".join(traceback.format_exception(error)).rstrip()
    return f"\n{line}\nFAILED: {where}, {runtime.activity}\n{trace}\n{line}\n"


def report(runtime: "Runtime", error: BaseException) -> None:
    """Print the block of an error in one write, so that blocks of two ranks do not mix."""
    sys.stderr.write(block(runtime, error))
    sys.stderr.flush()
    if runtime.size > 1:
        time.sleep(FORWARD_S)


def install_excepthook(runtime: "Runtime") -> None:
    """End all ranks when an exception leaves this one's main program."""
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        report(runtime, error)
        runtime.abort(exit_code(error))

    sys.excepthook = hook
