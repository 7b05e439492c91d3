"""`sta-mpi align`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "align", "sta_mpi.jobs.parameters.align:AlignParameters",
    "Align particles to a reference and average them, half-sets kept apart.",
    "mpirun -n 8 sta-mpi align --optimisation-set sets/optimisation_set.star --reference "
    "ref.mrc --box-px 64 --binning 4 --lowpass-A 40 -o align_bin4")
