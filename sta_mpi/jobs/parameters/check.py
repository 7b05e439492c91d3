"""Parameters of `check`."""

from pydantic import Field

from sta_mpi.jobs.parameters.base import InputSetParameters


class CheckParameters(InputSetParameters):
    """Validate a project before it is computed with."""

    box_px: int | None = Field(
        None, ge=8, le=1_000_000,
        description="Box [binned px] that particles must fit in; default: 64.")
    binning: int = Field(1, ge=1, le=1000, description="Binning of the tilt images.")
    draw_series: int = Field(
        3, ge=0, description="Tilt series whose particles are drawn on a tilt image.")
    max_images: int = Field(
        2000, ge=0, description="Image files whose headers are read.")
