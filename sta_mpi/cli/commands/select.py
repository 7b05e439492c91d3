"""`sta-mpi select`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "select", "sta_mpi.jobs.parameters.select:SelectParameters",
    "Choose particles: by score, class, region, lattice; remove duplicates; join and split sets.",
    "sta-mpi select --optimisation-set align/optimisation_set.star --min-distance-A 30 "
    "--symmetry C6 -o select")
