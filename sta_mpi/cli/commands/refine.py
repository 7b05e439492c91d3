"""`sta-mpi refine`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "refine", "sta_mpi.jobs.parameters.refine:RefineParameters",
    "Refine poses and map with independent half-sets until nothing improves.",
    "mpirun -n 8 sta-mpi refine --optimisation-set sets/optimisation_set.star --reference "
    "ref.mrc --box-px 96 --binning 2 --lowpass-A 40 --symmetry C6 --halves clusters -o refine")
