"""`sta-mpi tomogram`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "tomogram",
    "sta_mpi.jobs.parameters.tomogram:TomogramParameters",
    "Reconstruct tomograms from tilt series by weighted back-projection.",
    "mpirun -n 4 sta-mpi tomogram --tomograms tomograms.star --voxel-A 10 -o tomograms")
