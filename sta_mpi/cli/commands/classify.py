"""`sta-mpi classify`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "classify", "sta_mpi.jobs.parameters.classify:ClassifyParameters",
    "Sort particles into classes, with or without alignment.",
    "mpirun -n 8 sta-mpi classify --optimisation-set refine/run_optimisation_set.star --classes 4 "
    "--no-align --lowpass-A 15 --reference-mask mask.mrc -o classify")
