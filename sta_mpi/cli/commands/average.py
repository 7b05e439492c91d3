"""`sta-mpi average`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "average", "sta_mpi.jobs.parameters.average:AverageParameters",
    "Average particles at their given poses into half maps with FSC.",
    "mpirun -n 8 sta-mpi average --optimisation-set sets/optimisation_set.star --box-px 64 "
    "--binning 4 -o average_bin4")
