"""`sta-mpi mask`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "mask", "sta_mpi.jobs.parameters.mask:MaskParameters",
    "Make a mask from a map, a shape, an atomic model, or several masks.",
    "sta-mpi mask --map average/merged.mrc --lowpass-A 15 -o mask")
