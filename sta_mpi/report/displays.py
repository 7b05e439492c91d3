"""Ways to show a ProgressState: a bar on a terminal, lines in a log, or nothing.

A display that cannot write any more (closed terminal, broken pipe) becomes silent.
"""

from typing import TYPE_CHECKING, Any, Protocol, TextIO

from sta_mpi.report.wording import format_duration, format_rate

if TYPE_CHECKING:
    from rich.console import Console

    from sta_mpi.report.progress import ProgressState

_LINE_INTERVAL_S = 30.0
_LINES_PER_ELAPSED = 20.0
_BAR_INTERVAL_S = 0.2


class Display(Protocol):
    """Shows states; is asked by `is_due` first, so that idle calls cost nothing."""

    def is_due(self, elapsed_s: float) -> bool:
        """Whether a state `elapsed_s` after the start would be shown."""

    def show(self, state: "ProgressState", force: bool) -> None:
        """Show the state, at once when `force`."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def make_display(stream: TextIO | None) -> Display:
    """The display that suits the stream: bar on a terminal, lines elsewhere, none for None."""
    if stream is None:
        return SilentDisplay()
    try:
        is_terminal = stream.isatty()
    except ValueError:
        return SilentDisplay()
    return BarDisplay(stream) if is_terminal else LineDisplay(stream)


class SilentDisplay:
    """Shows nothing."""

    def is_due(self, elapsed_s: float) -> bool:
        """Never."""
        return False

    def show(self, state: "ProgressState", force: bool) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to restore."""


class LineDisplay:
    """One plain line at the start, at the end, and ever more rarely between.

    Lines come every 30 s at first and later every 5 % of the elapsed time, so that a job of
    a week writes about two hundred lines and one of a minute still says that it lives.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._shown_s = 0.0

    def is_due(self, elapsed_s: float) -> bool:
        """Whether enough time has passed since the last line."""
        pause_s = max(_LINE_INTERVAL_S, self._shown_s / _LINES_PER_ELAPSED)
        return self._stream is not None and elapsed_s - self._shown_s >= pause_s

    def show(self, state: "ProgressState", force: bool) -> None:
        """Write one line."""
        if self._stream is None or not (force or self.is_due(state.elapsed_s)):
            return
        self._shown_s = state.elapsed_s
        try:
            self._stream.write(progress_line(state) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def close(self) -> None:
        """Nothing to restore."""


class BarDisplay:
    """A rich progress bar, redrawn at most five times a second from the caller's thread."""

    def __init__(self, stream: TextIO) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar: Bar | None = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>5.1f} %"),
            TextColumn("{task.fields[detail]}"),
            console=_console(stream),
            auto_refresh=False,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: Any = None
        self._shown_s = -_BAR_INTERVAL_S

    def is_due(self, elapsed_s: float) -> bool:
        """Whether the last redraw is old enough."""
        return self._bar is not None and elapsed_s - self._shown_s >= _BAR_INTERVAL_S

    def show(self, state: "ProgressState", force: bool) -> None:
        """Redraw the bar."""
        if self._bar is None or not (force or self.is_due(state.elapsed_s)):
            return
        self._shown_s = state.elapsed_s
        try:
            if self._task is None:
                self._bar.start()
                self._task = self._bar.add_task(_heading(state), total=1.0, detail="")
            self._bar.update(self._task, completed=state.fraction, detail=_detail(state))
            self._bar.refresh()
        except (OSError, ValueError):
            self._bar = None

    def close(self) -> None:
        """Show the cursor again and leave the last bar on the screen."""
        bar, self._bar = self._bar, None
        if bar is not None:
            try:
                bar.stop()
            except (OSError, ValueError):
                return


def _console(stream: TextIO) -> "Console":
    """A rich console that raises BrokenPipeError, where rich itself would end the process."""
    from rich.console import Console

    class RaisingConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return RaisingConsole(file=stream)


def progress_line(state: "ProgressState") -> str:
    """One line of a log, as in "average 42.0 % 21/50 units, 3 units/s, 10 s left".

    Parameters
    ----------
    state : ProgressState
    """
    return f"{_heading(state)}  {100 * state.fraction:5.1f} %  {_detail(state)}"


def _heading(state: "ProgressState") -> str:
    if state.iteration is None:
        return state.label
    of = f"/{state.n_iterations}" if state.n_iterations else ""
    return f"{state.label} iteration {state.iteration}{of}"


def _detail(state: "ProgressState") -> str:
    parts = [f"{state.done_units:,}/{state.total_units:,} units"]
    if state.state == "running":
        if state.rate_units_per_s:
            parts.append(format_rate(state.rate_units_per_s))
        if state.done_units < state.total_units:
            parts.append(f"{format_duration(state.eta_s)} left" if state.eta_s is not None
                         else "time left unknown")
    else:
        parts.append(f"{state.state} after {format_duration(state.elapsed_s)}")
    if state.resumed_units:
        parts.append(f"{state.resumed_units:,} from the checkpoint")
    if state.quarantined:
        parts.append(f"{state.quarantined:,} quarantined")
    return ", ".join(parts)
