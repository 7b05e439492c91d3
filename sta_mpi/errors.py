"""Errors that end in one clear line for the user, each with its exit code.

Every message says what is wrong, where (file, table, row, tilt, particle, rank@host),
what was found and expected with units, and what to do next.
"""

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_RESOURCE = 4
EXIT_UNIT_FAILED = 5
EXIT_NOT_CONVERGED = 6
EXIT_STOPPED = 75
"""Stopped by the batch system with a checkpoint on disk; running the same command resumes."""


class StaMpiError(Exception):
    """Base of all errors that the user is told about without a traceback."""

    exit_code = 1


class UsageError(StaMpiError):
    """A wrong option, or options that contradict each other."""

    exit_code = EXIT_USAGE


class InputError(StaMpiError):
    """Input that is readable but wrong: missing columns, units, sizes, names."""

    exit_code = EXIT_INPUT


class FormatError(InputError):
    """A file that is not what its format says."""


class DataError(InputError):
    """Bad data met inside one unit of work; the unit is quarantined, the run goes on."""


class ParticleError(DataError):
    """Bad data of one particle; it is left out, the others of its unit go on."""


class ResourceError(StaMpiError):
    """Too little memory, disk or permissions for what was asked."""

    exit_code = EXIT_RESOURCE


class WorkerError(StaMpiError):
    """A unit that failed on a rank, with rank, host, unit and traceback."""

    exit_code = EXIT_UNIT_FAILED


class NotConvergedError(StaMpiError):
    """An iteration that ended without meeting its own criterion."""

    exit_code = EXIT_NOT_CONVERGED


class Stopped(StaMpiError):
    """The batch system asked to stop; a checkpoint was written."""

    exit_code = EXIT_STOPPED


class InputWarning(UserWarning):
    """Input that is used, but that the user should look at."""
