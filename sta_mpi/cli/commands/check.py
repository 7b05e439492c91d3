"""`sta-mpi check`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "check", "sta_mpi.jobs.parameters.check:CheckParameters",
    "Validate a project: paths, geometry, pixel sizes, names, visible tilts.",
    "sta-mpi check --optimisation-set sets/optimisation_set.star -o check")
