"""Parameters of `plan`."""

from typing import Literal

from pydantic import Field

from sta_mpi.jobs.parameters.align import AlignParameters


class PlanParameters(AlignParameters):
    """Predict units, memory, disk and time of a job from a short probe."""

    job: Literal["average", "align"] = Field("average", description="Which job to plan.")
    ranks: int = Field(8, ge=1, description="Ranks that will run the job.")
    ranks_per_node: int = Field(8, ge=1, description="Ranks a node.")
    probe_particles: int = Field(
        4, ge=0, description="Particles that are computed to measure the time; 0 measures none.")
