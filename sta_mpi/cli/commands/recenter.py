"""`sta-mpi recenter`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "recenter", "sta_mpi.jobs.parameters.recenter:RecenterParameters",
    "Shift and turn a map and its particles together; find symmetry axes; fit one map to another.",
    "sta-mpi recenter --reference average/half1.mrc --optimisation-set "
    "average_in/optimisation_set.star --centre-on mass --find-symmetry C6 -o recenter")
