"""`sta-mpi match`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "match", "sta_mpi.jobs.parameters.match:MatchParameters",
    "Find particles in tomograms by template matching, with an estimate of false alarms.",
    "mpirun -n 8 sta-mpi match --tomograms tomogram/tomograms.star --reference ribosome.mrc "
    "--mask-diameter-A 320 --lowpass-A 60 -o match")
