"""`sta-mpi fsc`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "fsc", "sta_mpi.jobs.parameters.fsc:FscParameters",
    "Fourier shell correlation of two half maps, masked and corrected.",
    "sta-mpi fsc --half1 average/half1.mrc --mask mask.mrc -o fsc")
