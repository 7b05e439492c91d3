"""`sta-mpi simulate`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "simulate", "sta_mpi.jobs.parameters.simulate:SimulateParameters",
    "Simulate tilt series with known truth, as a RELION 5 project.",
    "mpirun -n 2 sta-mpi simulate --n-series 3 --n-particles 40 -o simulated")
