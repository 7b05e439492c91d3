"""`sta-mpi import`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "import", "sta_mpi.jobs.parameters.project_import:ImportParameters",
    "Make a project of tilt series aligned by IMOD, AreTomo, Warp or RELION.",
    "sta-mpi import --input 'etomo/TS_*' --binning 1 --hand -1 --voltage-kV 300 --cs-mm 2.7 "
    "--amplitude-contrast 0.07 --thickness-A 3000 -o project")
