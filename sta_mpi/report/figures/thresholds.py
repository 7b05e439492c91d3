"""Picture of a score histogram with the kinds of particles found in it, and the threshold."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.style import BLUE, GREY, ORANGE, draws_png, new_figure, say_empty

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@draws_png
def mixture_histogram(scores: ArrayLike, density: Callable[[NDArray[np.float64]],
                                                           NDArray[np.float64]],
                      threshold: float, label: str) -> "Figure":
    """Draw a histogram, the densities of the false and the good, and the threshold.

    Parameters
    ----------
    scores : (n,)              not-finite ones are left out
    density : function         (m,) scores -> (2, m) densities, the false first
    threshold : float
    label : str                what the score is

    Returns
    -------
    png : bytes
    """
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    values = np.asarray(scores, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        say_empty(axes, "no scores")
        return figure
    n_bins = int(np.clip(2 * np.sqrt(len(values)), 10, 80))
    _, edges, _ = axes.hist(values, n_bins, color=GREY, alpha=0.5)
    grid = np.linspace(edges[0], edges[-1], 400)
    width = len(values) * (edges[1] - edges[0])
    for curve, colour, name in zip(density(grid), (ORANGE, BLUE), ("false", "good"), strict=True):
        axes.plot(grid, width * curve, color=colour, label=name)
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    axes.set(xlabel=label, ylabel="particles")
    axes.legend()
    return figure
