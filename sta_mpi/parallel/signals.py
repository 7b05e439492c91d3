"""SIGTERM and SIGUSR1 as a flag that is looked at between units.

Batch systems send these before they end a job. The handler only sets the flag: the
engine writes a checkpoint after the unit in hand and all ranks leave with exit code 75.
It does not matter whether one rank gets the signal, all of them, or mpirun (which
passes it on).
"""

import signal
import threading
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopFlag:
    """Set once a stop signal has arrived in this process."""

    def __init__(self) -> None:
        self._received: int | None = None

    def install(self) -> None:
        """Take over the stop signals; without effect outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    @property
    def is_set(self) -> bool:
        """Whether a stop signal has arrived."""
        return self._received is not None

    @property
    def name(self) -> str:
        """Name of the signal, or empty."""
        return signal.Signals(self._received).name if self._received is not None else ""
