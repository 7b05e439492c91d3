"""A thread that ends this process when a wait lasts too long or its launcher is gone.

Blocking calls of MPI have no time limit. Each of them is made inside
`Watchdog.guard("what")`; if it is not over in time, the block is printed and the
process ends, which ends the whole run. Under mpirun the thread also looks at the parent
process: when the launcher is killed, a rank must not go on writing files.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DEFAULT_WAIT_S = 3600.0
"""Longest wait for another rank; longer than any unit, checkpoint or output may take."""


def wait_limit_s() -> float:
    """Return the longest wait for another rank, from STA_MPI_WAIT_TIMEOUT_S [s]."""
    return float(os.environ.get("STA_MPI_WAIT_TIMEOUT_S", DEFAULT_WAIT_S))


class Watchdog:
    """Watches the guarded waits of one process.

    Parameters
    ----------
    on_timeout : callable   called with a message in the watching thread; must end the process
    limit_s : float         longest guarded wait
    watch_parent : bool     also end when the parent process changes
    """

    def __init__(self, on_timeout: Callable[[str], None], limit_s: float,
                 watch_parent: bool) -> None:
        self._on_timeout = on_timeout
        self.limit_s = limit_s
        self._parent = os.getppid() if watch_parent else None
        self._wait: tuple[str, float] | None = None
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Give the enclosed wait a time limit; guards may be nested, the inner one counts."""
        outer = self._wait
        self._wait = (what, time.monotonic())
        try:
            yield
        finally:
            self._wait = outer

    def _watch(self) -> None:
        period = min(1.0, self.limit_s / 4)
        while True:
            time.sleep(period)
            if self._parent is not None and os.getppid() != self._parent:
                # the launcher is gone: nobody would see a message or an exit code
                os._exit(137)
            wait = self._wait
            if wait is not None and time.monotonic() - wait[1] > self.limit_s:
                self._on_timeout(f"{wait[0]} did not end within {self.limit_s:.0f} s")
