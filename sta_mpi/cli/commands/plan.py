"""`sta-mpi plan`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "plan", "sta_mpi.jobs.parameters.plan:PlanParameters",
    "Predict units, memory, disk and time of a job, from a short probe.",
    "sta-mpi plan --job align --optimisation-set sets/optimisation_set.star --box-px 64 "
    "--binning 4 --lowpass-A 40 --ranks 64 -o plan")
