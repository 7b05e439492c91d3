"""`sta-mpi seed`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "seed",
    "sta_mpi.jobs.parameters.seed:SeedParameters",
    "Put seeds with outward normals on spheres, ellipsoids, tubes and surfaces.",
    "sta-mpi seed --tomograms tomograms.star --points TS_01.mod --lattice-A 80 --density 2 "
    "-o seeds")
