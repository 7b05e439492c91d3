"""The run log of a job: run.log of rank 0, on request one file for each other rank.

Python warnings end here too, each text once a run, so that a warning raised for every
particle is one line and the report can list them all.
"""

import contextlib
import logging
import os
import platform
import shlex
import socket
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from sta_mpi.errors import StaMpiError
from sta_mpi.version import __version__

LOGGER_NAME = "sta_mpi"
LOG_FILE = "run.log"
_MAX_WARNINGS = 200
_FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


class RunLog:
    """What `open_run_log` hands out: a logger and the warnings met so far.

    Parameters
    ----------
    logger : logging.Logger
    path : path or None        the file of this rank
    console : text stream or None   where warnings are repeated for the user
    """

    def __init__(self, logger: logging.Logger, path: Path | None, console: TextIO | None) -> None:
        self.logger = logger
        self.path = path
        self.warnings: list[str] = []
        self._console = console
        self._seen: set[str] = set()

    def warn(self, text: str) -> None:
        """Log one warning and repeat it on the console, the first time its text is met."""
        if text in self._seen:
            return
        if len(self._seen) >= _MAX_WARNINGS:
            return
        self._seen.add(text)
        if len(self._seen) == _MAX_WARNINGS:
            text = f"more than {_MAX_WARNINGS - 1} different warnings: no further ones are kept"
        self.warnings.append(text)
        self.logger.warning("%s", text)
        if self._console is not None:
            with contextlib.suppress(OSError, ValueError):
                self._console.write(f"warning: {text}\n")
                self._console.flush()


class _QuietFileHandler(logging.FileHandler):
    """A file handler that says once that the log cannot be written, and lets the job go on."""

    _failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a file that cannot be opened is an error like any other."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Report the first failure on stderr in one line."""
        if not self._failed:
            self._failed = True
            error = sys.exc_info()[1]
            sys.stderr.write(f"warning: {self.baseFilename} cannot be written: {error}\n")


@contextlib.contextmanager
def open_run_log(
    folder: str | os.PathLike[str] | None,
    *,
    rank: int = 0,
    is_every_rank: bool = False,
    console: TextIO | None = None,
    level: int = logging.INFO,
) -> Iterator[RunLog]:
    """Log the block to run.log and catch its Python warnings, each text once.

    Parameters
    ----------
    folder : path or None    job folder; None logs to no file
    rank : int               only rank 0 writes, unless is_every_rank
    is_every_rank : bool     rank r > 0 writes run_rank<r>.log
    console : stream or None  warnings are repeated there as "warning: ..."
    level : int              of python logging

    Notes
    -----
    Files are appended to, so a resumed run follows the interrupted one. Time stamps are
    ISO 8601 in UTC. Records of every logger named sta_mpi.* go in. The first line of a run
    is its command line; an exception that ends it is logged, with its traceback unless it is
    one of sta_mpi.errors, and raised again.
    """
    logger = logging.getLogger(LOGGER_NAME)
    path = _log_path(folder, rank, is_every_rank)
    handler: logging.Handler = logging.NullHandler() if path is None else _file_handler(path, rank)
    previous = (logger.level, logger.propagate)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    log = RunLog(logger, path, console)

    def keep(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        log.warn(_warning_text(str(message), category, filename, lineno))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            for category in _FOR_DEVELOPERS:
                warnings.simplefilter("ignore", category)
            warnings.showwarning = keep
            logger.info("sta-mpi %s, Python %s, process %d: %s", __version__,
                        platform.python_version(), os.getpid(), shlex.join(sys.argv))
            yield log
            logger.info("end of the run")
    except StaMpiError as error:
        logger.error("%s: %s", type(error).__name__, error)
        raise
    except BaseException as error:
        logger.error("%s", type(error).__name__, exc_info=True)
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(previous[0])
        logger.propagate = previous[1]


def _log_path(
    folder: str | os.PathLike[str] | None, rank: int, is_every_rank: bool
) -> Path | None:
    if folder is None or (rank and not is_every_rank):
        return None
    return Path(folder) / (f"run_rank{rank:04d}.log" if rank else LOG_FILE)


def _file_handler(path: Path, rank: int) -> logging.Handler:
    handler = _QuietFileHandler(path, encoding="utf-8", delay=True)
    formatter = logging.Formatter(
        f"%(asctime)s rank {rank}@{socket.gethostname()} %(levelname)s %(message)s")
    formatter.formatTime = (  # type: ignore[method-assign]
        lambda record, datefmt=None: datetime.fromtimestamp(record.created, UTC)
        .isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    handler.setFormatter(formatter)
    return handler


def _warning_text(message: str, category: type[Warning], filename: str, lineno: int) -> str:
    """Our own warnings as they are; those of libraries with the place they come from."""
    if category.__module__.startswith("sta_mpi"):
        return message
    return f"{message} ({category.__name__}, {Path(filename).name}:{lineno})"
