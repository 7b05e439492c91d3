"""`sta-mpi reference`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "reference", "sta_mpi.jobs.parameters.reference:ReferenceParameters",
    "Make an initial reference from particles alone, find its symmetry, centre and orient it.",
    "mpirun -n 8 sta-mpi reference --optimisation-set seeds/optimisation_set.star --binning 8 "
    "--box-px 40 --method denovo --symmetry auto -o reference")
