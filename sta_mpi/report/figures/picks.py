"""Pictures of picked particles: where they are in a tomogram, and how they neighbour each other."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sta_mpi.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    draws_png,
    new_figure,
    say_empty,
    thin,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_POINTS = 6000


@draws_png
def kept_and_removed(kept_A: ArrayLike, removed_A: ArrayLike, added_A: ArrayLike = ()
                     ) -> "Figure":
    """Draw where particles of one tomogram lie, from above and from the side.

    Parameters
    ----------
    kept_A, removed_A, added_A : (n, 3), (m, 3), (k, 3)    positions from the tomogram centre [Å]

    Returns
    -------
    png : bytes

    Notes
    -----
    Beyond 6000 particles of a kind an even selection is drawn.
    """
    figure = new_figure(9.2, 4.6)
    panels = figure.subplots(1, 2)
    groups = [(np.asarray(removed_A, float).reshape(-1, 3), ORANGE, "removed", "x"),
              (np.asarray(kept_A, float).reshape(-1, 3), BLUE, "kept", "."),
              (np.asarray(added_A, float).reshape(-1, 3), GREEN, "added", "+")]
    groups = [group for group in groups if len(group[0]) or group[2] == "kept"]
    for axes, (i, j), names in zip(panels, ((0, 1), (0, 2)), ("xy", "xz"), strict=True):
        for points, colour, label, marker in groups:
            shown = points[thin(len(points), _MAX_POINTS)]
            axes.scatter(shown[:, i], shown[:, j], s=14, color=colour, marker=marker,
                         linewidths=0.8, label=f"{label}: {len(points):,}")
        axes.set(xlabel=f"{names[0]} [Å]", ylabel=f"{names[1]} [Å]", aspect="equal")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@draws_png
def neighbour_counts(count: ArrayLike, distance_A: ArrayLike, spacing_A: float) -> "Figure":
    """Show how many consistent neighbours particles have, and how far neighbours are.

    Parameters
    ----------
    count : (n,) int        occupied sites of each particle
    distance_A : (m,)       distances of consistent neighbours
    spacing_A : float       of the lattice asked for

    Returns
    -------
    png : bytes
    """
    figure = new_figure(9.2, 3.4)
    left, right = figure.subplots(1, 2)
    numbers = np.asarray(count, int)
    if len(numbers) == 0:
        say_empty(left, "no particles")
    else:
        found = np.bincount(numbers)
        left.bar(np.arange(len(found)), found, color=BLUE)
        left.set(xlabel="consistent neighbours", ylabel="particles")
    _draw_distances(right, np.asarray(distance_A, float), spacing_A)
    return figure


def _draw_distances(axes: "Axes", distance_A: np.ndarray, spacing_A: float) -> None:
    if len(distance_A) == 0:
        say_empty(axes, "no neighbours")
        return
    axes.hist(distance_A, bins=50, color=BLUE, alpha=0.7)
    axes.axvline(spacing_A, color=GREY, linestyle="--", label=f"asked for: {spacing_A:g} Å")
    axes.legend(loc="upper right", fontsize=9)
    axes.set(xlabel="distance of neighbours [Å]", ylabel="pairs")
