"""How far a job is: one count of work done, shown to the user and written for machines.

`Progress` lives on rank 0. Time left is the cost still to do divided by the rate of recent
units; units taken over from a checkpoint count as done but not towards the rate. The display
is a side issue: a closed terminal or a full disk silences it and never stops the job.
"""

import json
import os
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

from sta_mpi.errors import InputWarning, Stopped
from sta_mpi.report.displays import Display, make_display

PROGRESS_FILE = "progress.json"
_WINDOW_UNITS = 256
_FILE_INTERVAL_S = 5.0


@dataclass(frozen=True)
class ProgressState:
    """One moment of a job; the fields are the keys of progress.json.

    Parameters
    ----------
    command, label, stage : str       what runs, as the user knows it
    state : str                       running, finished, interrupted or failed
    iteration, n_iterations : int or None
    done_units, total_units : int     resumed units are part of done_units
    fraction : float                  of the predicted cost, 0..1
    elapsed_s : float                 since this process began the stage
    eta_s : float or None             time left; None while nothing is known
    rate_units_per_s : float or None
    ranks : int
    resumed_units, quarantined : int
    longest_gap_s : float             longest silence so far between two finished units
    updated : str                     ISO 8601, UTC
    """

    command: str
    label: str
    stage: str
    state: str
    iteration: int | None
    n_iterations: int | None
    done_units: int
    total_units: int
    fraction: float
    elapsed_s: float
    eta_s: float | None
    rate_units_per_s: float | None
    ranks: int
    resumed_units: int
    quarantined: int
    longest_gap_s: float
    updated: str


class Progress:
    """Count finished work of one stage, show it, and write progress.json.

    Use as a context manager: leaving it by an exception or Ctrl-C restores the terminal and
    writes the last state.

    Parameters
    ----------
    total_cost : float                predicted cost of all units, any unit of measure
    n_units : int                     number of all units, resumed ones included
    label : str                       short text before the bar
    stream : text stream or None      where to show it; a bar when it is a terminal,
                                      else lines; None shows nothing
    folder : path or None             where progress.json goes; None writes none
    command, stage, iteration, n_iterations, ranks   copied to progress.json
    resumed_units, resumed_cost       work found in the checkpoint
    quiet : bool                      nothing on the stream (progress.json is still written)
    clock : function                  seconds, monotonic
    today : function                  the present moment, with time zone

    Examples
    --------
    >>> with Progress(10.0, 2, "average", None, None, clock=iter((0.0, 1.0, 2.0)).__next__) as p:
    ...     p.advance(5.0)
    ...     p.snapshot().eta_s
    1.0
    """

    def __init__(
        self,
        total_cost: float,
        n_units: int,
        label: str,
        stream: TextIO | None = None,
        folder: str | os.PathLike[str] | None = None,
        *,
        command: str = "",
        stage: str = "",
        iteration: int | None = None,
        n_iterations: int | None = None,
        ranks: int = 1,
        resumed_units: int = 0,
        resumed_cost: float = 0.0,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._total_cost = float(total_cost)
        self._n_units = int(n_units)
        self._names = {"command": command, "label": label, "stage": stage}
        self._iteration = (iteration, n_iterations)
        self._ranks = ranks
        self._resumed = (int(resumed_units), float(resumed_cost))
        self._done_units = int(resumed_units)
        self._done_cost = float(resumed_cost)
        self._quarantined = 0
        self._longest_gap_s = 0.0
        self._state = "running"
        self._clock = clock
        self._today = today
        self._path = None if folder is None else Path(folder) / PROGRESS_FILE
        self._display: Display = make_display(None if quiet else stream)
        self._start_s = self._now_s = self._advanced_s = clock()
        self._written_s = -float("inf")
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=_WINDOW_UNITS)
        self._recent.append((self._start_s, self._done_cost, self._done_units))
        self._show(force=True)

    def advance(self, cost: float = 1.0, units: int = 1) -> None:
        """Count `units` finished units that were predicted to cost `cost` together."""
        now = self._clock()
        self._longest_gap_s = max(self._longest_gap_s, now - self._advanced_s)
        self._now_s = self._advanced_s = now
        self._done_units += units
        self._done_cost += cost
        self._recent.append((now, self._done_cost, self._done_units))
        self._show()

    def quarantine(self, cost: float = 1.0, units: int = 1) -> None:
        """Count units that were set aside because of bad data; they are done as well."""
        self._quarantined += units
        self.advance(cost, units)

    def tick(self) -> None:
        """Show that the job lives, with no unit finished; call it as often as you like."""
        self._now_s = self._clock()
        self._show()

    def snapshot(self) -> ProgressState:
        """The state as of the last call of advance, quarantine or tick."""
        rate_cost, rate_units = self._rates()
        left = max(self._total_cost - self._done_cost, 0.0)
        if self._done_units >= self._n_units:
            eta_s: float | None = 0.0
        else:
            eta_s = left / rate_cost if rate_cost else None
        return ProgressState(
            **self._names,
            state=self._state,
            iteration=self._iteration[0],
            n_iterations=self._iteration[1],
            done_units=self._done_units,
            total_units=self._n_units,
            fraction=self._fraction(),
            elapsed_s=self._now_s - self._start_s,
            eta_s=eta_s,
            rate_units_per_s=rate_units,
            ranks=self._ranks,
            resumed_units=self._resumed[0],
            quarantined=self._quarantined,
            longest_gap_s=self._longest_gap_s,
            updated=self._today().isoformat(timespec="seconds"),
        )

    def close(self, state: str = "finished") -> None:
        """Show and write the last state (finished, interrupted, failed); once is enough."""
        if self._state != "running":
            return
        self._now_s = self._clock()
        self._state = state
        self._show(force=True)
        self._display.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close("finished")
        elif issubclass(kind, KeyboardInterrupt | Stopped):
            self.close("interrupted")
        else:
            self.close("failed")

    def _fraction(self) -> float:
        if self._done_units >= self._n_units:
            return 1.0
        if self._total_cost > 0:
            return min(max(self._done_cost / self._total_cost, 0.0), 1.0)
        return self._done_units / self._n_units

    def _rates(self) -> tuple[float | None, float | None]:
        """Cost and units per second over the window of recent units, None before the first."""
        if len(self._recent) < 2:
            return None, None
        first, last = self._recent[0], self._recent[-1]
        span_s = last[0] - first[0]
        if span_s <= 0:
            return None, None
        return (last[1] - first[1]) / span_s or None, (last[2] - first[2]) / span_s or None

    def _show(self, force: bool = False) -> None:
        wants_file = self._path is not None and (
            force or self._now_s - self._written_s >= _FILE_INTERVAL_S)
        if not (force or wants_file or self._display.is_due(self._now_s - self._start_s)):
            return
        state = self.snapshot()
        if wants_file:
            self._write(state)
        self._display.show(state, force)

    def _write(self, state: ProgressState) -> None:
        assert self._path is not None
        self._written_s = self._now_s
        temporary = self._path.with_name(f".{PROGRESS_FILE}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            path, self._path = self._path, None
            warnings.warn(
                f"{path} cannot be written ({error.strerror}): the job goes on, `sta-mpi status` "
                "will not see its progress.", InputWarning, stacklevel=2)
