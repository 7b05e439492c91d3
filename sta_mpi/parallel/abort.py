"""How a run ends when something is wrong.

Errors that all ranks meet alike (bad input before the start) are printed once and end
the run with the exit code of the error. Anything that happens on some ranks only is
printed as one block with rank, host, unit and traceback, and `MPI_Abort` ends the other
ranks; they would wait for ever otherwise.
"""

import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from sta_mpi.errors import EXIT_UNIT_FAILED, StaMpiError

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime

AGREE_S = 1.5
"""How long a rank with an error waits for the others to report the same."""


def run_main(runtime: "Runtime", function: Callable[[], int | None]) -> int:
    """Call `function` on this rank and return the exit code of the process.

    Parameters
    ----------
    function : callable   the whole command; returns an exit code or None for 0
    """
    try:
        return function() or 0
    except StaMpiError as error:
        if not runtime.agree(AGREE_S):
            report(runtime, error)
            runtime.abort(error.exit_code)
        messages = runtime.gather(f"{type(error).__name__}: {error}")
        if messages is not None:
            print("\n".join(dict.fromkeys(messages)), file=sys.stderr, flush=True)
        return error.exit_code
    except Exception as error:
        report(runtime, error)
        if runtime.size > 1:
            runtime.abort(EXIT_UNIT_FAILED)
        return EXIT_UNIT_FAILED


def report(runtime: "Runtime", error: BaseException) -> None:
    """Print one block: rank, host, what the rank was doing, traceback."""
    where = f"rank {runtime.rank} of {runtime.size} on {runtime.host}"
    line = "=" * 78
    trace = "".join(traceback.format_exception(error)).rstrip()
    # one write, so that blocks of two ranks do not mix
    sys.stderr.write(f"\n{line}\nFAILED: {where}, {runtime.activity}\n{trace}\n{line}\n")
    sys.stderr.flush()


def install_excepthook(runtime: "Runtime") -> None:
    """End all ranks when an exception leaves this one's main program."""
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        report(runtime, error)
        code = error.exit_code if isinstance(error, StaMpiError) else EXIT_UNIT_FAILED
        runtime.abort(code)

    sys.excepthook = hook
