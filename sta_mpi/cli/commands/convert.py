"""`sta-mpi convert`."""

from sta_mpi.cli.job_command import JobCommand

COMMAND = JobCommand(
    "convert", "sta_mpi.jobs.parameters.convert:ConvertParameters",
    "Convert particles between PEET, Dynamo, STOPGAP, TOM/AV3 and RELION; rebin, move, turn.",
    "sta-mpi convert --input run.prm --tomograms tomograms.star --to relion -o converted")
