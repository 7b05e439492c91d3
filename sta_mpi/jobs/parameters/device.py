"""Where the hot loops of a command run."""

from typing import Literal

from pydantic import Field

from sta_mpi.jobs.parameters.base import JobParameters


class DeviceParameters(JobParameters):
    """Parameter of commands whose hot loops have a GPU twin.

    The device is part of what is computed: a GPU rounds differently, so a job that was begun on
    one kind is not resumed on the other.
    """

    device: Literal["cpu", "gpu"] = Field(
        "cpu", description="Where score, polish and insertion are computed; gpu needs "
        "sta_mpi[gpu] and an NVIDIA GPU on every node. Ranks of a node share its GPUs.")
