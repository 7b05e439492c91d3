"""`sta-mpi postprocess`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "postprocess", "sta_mpi.jobs.parameters.postprocess:PostprocessParameters",
    "Sharpened and filtered map, its resolution and how far to trust it, from two half maps.",
    "sta-mpi postprocess --half1 refine/half1.mrc --mask mask.mrc --auto-b-factor -o postprocess")
