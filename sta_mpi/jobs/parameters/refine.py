"""Parameters of `refine`."""

from typing import Literal

from pydantic import Field

from sta_mpi.jobs.parameters.align import SearchParameters


class RefineParameters(SearchParameters):
    """Gold-standard refinement: poses and map, round by round, until nothing improves."""

    search: Literal["auto", "global", "local"] = Field(
        "auto", description="How the first rounds search. global: all orientations. local: from "
        "the given poses. auto: global where the file gives no orientations, else local.")
    lowpass_A: float = Field(
        60.0, gt=0, description="Low-pass of the reference in the first round [Å]; later rounds go "
        "as far as the FSC of their half maps.")
    start_at_fsc: bool = Field(
        False, description="The first round goes as far as the FSC of the average at the given "
        "poses, in place of --lowpass-A: for poses of a refinement that kept the half-sets apart. "
        "The references are that average.")
    iterations: int = Field(20, ge=1, le=100, description="Most rounds.")
    angle_range_deg: float = Field(
        12.0, gt=0, description="Largest rotation away from the current pose in the first local "
        "round [°]; later rounds follow the changes of poses.")
    shift_range_A: float = Field(
        30.0, gt=0, description="Largest shift away from the current position in the first "
        "round [Å]; later rounds follow the changes of poses.")
    join_A: float = Field(
        40.0, gt=0, description="References of both half-sets are joined up to this resolution "
        "[Å], so that they keep one orientation.")
    accept_if_better: bool = Field(
        True, description="Go back to the poses before a round that made things worse, and end.")
