"""Picture of a chain of jobs: resolution and cost, stage by stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sta_mpi.report.figures.style import BLUE, GREY, draws_png, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@draws_png
def stages_figure(names: Sequence[str], resolution_A: Sequence[float | None],
                  core_hours: Sequence[float]) -> "Figure":
    """Draw the resolution each stage reached, and the core hours it took.

    Parameters
    ----------
    names : (n,) str
    resolution_A : (n,) float or None   None where a stage measured none
    core_hours : (n,) float

    Returns
    -------
    png : bytes
    """
    figure = new_figure(9.2, 1.6 + 0.32 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    y = np.arange(len(names))
    known = [(i, value) for i, value in enumerate(resolution_A) if value is not None]
    if known:
        rows, values = zip(*known, strict=True)
        left.plot(values, rows, "o-", color=BLUE)
        for row, value in known:
            left.annotate(f"{value:.2f}", (value, row), xytext=(6, -3),
                          textcoords="offset points")
        left.set_xlim(0, 1.2 * max(values))
    right.barh(y, core_hours, color=GREY)
    left.set_yticks(y, list(names))
    left.set(xlabel="resolution [Å]", ylim=(len(names) - 0.5, -0.5))
    right.set(xlabel="core hours")
    right.locator_params(axis="x", nbins=5)
    return figure
