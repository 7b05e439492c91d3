"""`sta-mpi symmetrize`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "symmetrize", "sta_mpi.jobs.parameters.symmetrize:SymmetrizeParameters",
    "Impose a point group or helix on a map, or expand particles by it.",
    "sta-mpi symmetrize --reference average/half1.mrc --symmetry C6 -o symmetric")
