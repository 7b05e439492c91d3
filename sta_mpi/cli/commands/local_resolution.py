"""`sta-mpi local-resolution`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "local-resolution",
    "sta_mpi.jobs.parameters.local_resolution:LocalResolutionParameters",
    "Resolution of every part of a map, and the map filtered by it.",
    "mpirun -n 4 sta-mpi local-resolution --half1 refine/half1.mrc --mask mask.mrc -o locres")
