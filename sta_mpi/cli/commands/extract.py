"""`sta-mpi extract`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "extract", "sta_mpi.jobs.parameters.extract:ExtractParameters",
    "Write pseudo-subtomograms: RELION 2D stacks or 3D boxes, or raw tilt images of particles.",
    "mpirun -n 8 sta-mpi extract --optimisation-set sets/optimisation_set.star --box-px 96 "
    "--binning 6 --max-dose-e-per-A2 50 --image-type float16 -o extract_bin6")
