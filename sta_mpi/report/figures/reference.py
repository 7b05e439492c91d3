"""Figures of initial references: starts in competition, angular orders, the lattice."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sta_mpi.report.figures.style import (
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    draws_png,
    grey_limits,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@draws_png
def evidence_of_starts(course: Floats, gain: Floats, winner: int) -> "Figure":
    """Draw how the evidence of each start went, and that of unseen particles.

    Parameters
    ----------
    course : (K, rounds)    mean log evidence of the particles of each round
    gain : (K, m)           of each unseen particle
    winner : int

    Returns
    -------
    png : bytes
    """
    figure = new_figure(9.2, 3.6)
    left, right = figure.subplots(1, 2)
    for i, line in enumerate(course):
        left.plot(np.arange(1, len(line) + 1), line, color=CYCLE[i % len(CYCLE)],
                  linewidth=2.4 if i == winner else 1.0, label=f"start {i + 1}")
    left.set(xlabel="round", ylabel="log evidence a particle", title="particles of the round")
    if len(course) <= 8:
        left.legend()
    error = gain.std(axis=1) / np.sqrt(max(gain.shape[1], 1))
    places = np.arange(1, len(gain) + 1)
    colours = [ORANGE if i == winner else BLUE for i in range(len(gain))]
    right.bar(places, gain.mean(axis=1), color=colours)
    right.errorbar(places, gain.mean(axis=1), yerr=error, fmt="none", ecolor="black", capsize=3)
    right.axhline(0.0, color=GREY)
    right.set(xlabel="start", title="unseen particles", xticks=places)
    return figure


@draws_png
def angular_order_bars(power: Floats, correlation: Floats, fold: int) -> "Figure":
    """Draw cross power and correlation of half maps by angular order about an axis.

    Parameters
    ----------
    power, correlation : (M+1,)    orders 0 to M
    fold : int                     orders that are its multiples are marked; 0, 1: none

    Returns
    -------
    png : bytes
    """
    figure = new_figure(9.2, 3.4)
    axes = figure.subplots(1, 2)
    orders = np.arange(1, len(power))
    colours = [ORANGE if fold > 1 and m % fold == 0 else BLUE for m in orders]
    top = max(float(power[1:].max(initial=0.0)), 1e-30)
    for panel, values, title in ((axes[0], power[1:] / top, "cross power"),
                                 (axes[1], correlation[1:], "correlation of the halves")):
        panel.bar(orders, values, color=colours)
        panel.axhline(0.0, color=GREY)
        panel.set(xlabel="angular order", title=title)
    return figure


@draws_png
def lattice_picture(data: NDArray[np.float32], correlation: Floats, voxel_A: float,
                    direction_deg: float, spacing_px: float | None) -> "Figure":
    """Draw the central slice of a reference and its self-correlation in the plane.

    Parameters
    ----------
    data : (n, n, n)           its axis along z
    correlation : (n, n)       at shifts (y, x) from the centre pixel; NaN where unknown
    direction_deg : float      from +x towards +y
    spacing_px : float or None of the lattice

    Returns
    -------
    png : bytes
    """
    figure = new_figure(9.2, 4.2)
    left, right = figure.subplots(1, 2)
    n = len(data)
    edge = n // 2 * voxel_A
    extent = (-edge, edge, -edge, edge)
    low, high = grey_limits(data[n // 2])
    left.imshow(data[n // 2], vmin=low, vmax=high, extent=extent)
    right.imshow(correlation, vmin=-1, vmax=1, cmap="RdBu_r", extent=extent)
    angle = np.radians(direction_deg)
    reach = (0.4 * n if spacing_px is None else spacing_px) * voxel_A
    for panel, title in ((left, "central slice"), (right, "self-correlation")):
        panel.plot([0, reach * np.cos(angle)], [0, reach * np.sin(angle)], color=ORANGE)
        panel.set(xlabel="x [Å]", ylabel="y [Å]", title=title)
        panel.grid(False)
    return figure
