"""Pictures of a resolution: by direction, mask and number of particles, and the Guinier plot."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.curves import frequency_axis
from sta_mpi.report.figures.style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    draws_png,
    new_figure,
    say_empty,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@draws_png
def directional_resolution(axes_xyz: Floats, curves: Floats, resolution_A: Floats,
                           voxel_A: float, box_px: int, overall: ArrayLike | None = None
                           ) -> "Figure":
    """Show the FSC in cones as a band over frequency, and the resolution over the half sphere.

    Parameters
    ----------
    axes_xyz : (m, 3)              cone axes, z >= 0
    curves : (m, n_shells)
    resolution_A : (m,)
    voxel_A, box_px
    overall : (n_shells,) or None  FSC of whole shells
    """
    figure = new_figure(9.6, 4.1)
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    nyquist = 0.5 / voxel_A
    s = np.arange(curves.shape[1]) / (box_px * voxel_A)
    order = np.argsort(resolution_A)
    left.fill_between(s, curves.min(axis=0), curves.max(axis=0), color=BLUE, alpha=0.16,
                      label="all directions", linewidth=0)
    left.plot(s, curves[order[0]], color=GREEN, label="best")
    left.plot(s, curves[order[-1]], color=ORANGE, label="worst")
    if overall is not None:
        left.plot(s, np.asarray(overall), color=INK, linewidth=2.0, label="whole shells")
    left.axhline(0.143, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    left.set(xlim=(0, nyquist), ylim=(-0.15, 1.04), ylabel="FSC in a cone")
    frequency_axis(left, nyquist)
    left.legend(loc="lower left")
    _draw_half_sphere(figure, right, axes_xyz, resolution_A)
    return figure


@draws_png
def mask_sweep(grown_px: Sequence[float], resolution_A: Sequence[float], curves: Sequence[Floats],
               voxel_A: float, box_px: int) -> "Figure":
    """Show the corrected FSC under tighter and looser masks, and the resolution of each.

    Parameters
    ----------
    grown_px : (m,)            growth of the mask against the given one
    resolution_A : (m,)
    curves : m of (n_shells,)
    """
    figure = new_figure(9.6, 4.1)
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    if not len(grown_px):
        say_empty(left, "no mask of another size fits into the box")
        say_empty(right, "")
        return figure
    from matplotlib import colormaps

    nyquist = 0.5 / voxel_A
    s = np.arange(len(curves[0])) / (box_px * voxel_A)
    colours = colormaps["viridis"](np.linspace(0.05, 0.9, len(curves)))
    for grown, curve, colour in zip(grown_px, curves, colours, strict=True):
        is_given = grown == 0
        left.plot(s, curve, color=INK if is_given else colour, linewidth=2.2 if is_given else 1.3,
                  label="given mask" if is_given else f"{grown:+g} px")
    left.axhline(0.143, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    left.set(xlim=(0, nyquist), ylim=(-0.1, 1.04), ylabel="corrected FSC")
    frequency_axis(left, nyquist)
    left.legend(loc="upper right", ncols=2)
    right.plot(grown_px, resolution_A, color=GREY, linewidth=1.0, zorder=1)
    right.scatter(grown_px, resolution_A, c=colours, s=42, zorder=2, edgecolors="white")
    middle = [r for g, r in zip(grown_px, resolution_A, strict=True) if g == 0]
    if middle and np.isfinite(middle[0]):
        shell = box_px * voxel_A / middle[0]
        worse, better = (box_px * voxel_A / max(shell + d, 0.5) for d in (-1, 1))
        right.axhspan(better, worse, color=GREY, alpha=0.15, linewidth=0)
        right.text(0.98, 0.02, "grey: one shell either way", transform=right.transAxes, ha="right",
                   va="bottom", fontsize=9, color="#555555")
    right.set(xlabel="mask grown by [px]", ylabel="resolution at 0.143 [Å]")
    return figure


@draws_png
def reslog(predicted: tuple[ArrayLike, ArrayLike] | None,
           measured: tuple[ArrayLike, ArrayLike] | None = None,
           n_particles: float | None = None) -> "Figure":
    """Plot 1/d^2 against the number of particles, predicted and measured.

    Parameters
    ----------
    predicted, measured : (counts, resolution_A) or None
    n_particles : float or None   the number there is
    """
    figure = new_figure(7.6, 4.1)
    axes = figure.subplots()
    drawn = []
    for data, look in ((predicted, {"color": BLUE, "linestyle": "--", "marker": "o",
                                    "markersize": 4, "label": "predicted from the FSC"}),
                       (measured, {"color": ORANGE, "linestyle": "", "marker": "o",
                                   "markersize": 7, "label": "measured on subsets"})):
        if data is None:
            continue
        n, d = np.asarray(data[0], np.float64), np.asarray(data[1], np.float64)
        usable = np.isfinite(d) & (d > 0)
        if usable.any():
            axes.plot(n[usable], d[usable] ** -2.0, **look)  # type: ignore[arg-type]
            drawn.append(d[usable])
    if not drawn:
        say_empty(axes, "no number of particles reaches a resolution")
        return figure
    if n_particles:
        axes.axvline(n_particles, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(n_particles, 0.02, f" {n_particles:,.0f} particles", fontsize=9, color="#555555",
                  transform=axes.get_xaxis_transform())
    axes.set_xscale("log")
    axes.set(xlabel="particles", ylabel="1 / resolution² [1/Å²]")
    all_d = np.concatenate(drawn)
    top = axes.secondary_yaxis("right")
    ticks = np.linspace(all_d.min() ** -2.0, all_d.max() ** -2.0, 6)
    top.set_yticks(ticks, [f"{tick**-0.5:.3g}" for tick in ticks])
    top.set_ylabel("resolution [Å]")
    axes.legend(loc="upper left")
    return figure


@draws_png
def guinier_plot(s2_per_A2: ArrayLike, log_amplitudes: Mapping[str, ArrayLike],
                 line: tuple[float, float, float, float] | None = None,
                 limit_A: float | None = None) -> "Figure":
    """Plot the logarithm of the mean amplitude against s^2, after each step.

    Parameters
    ----------
    s2_per_A2 : (n_shells,)
    log_amplitudes : name to (n_shells,)   values of -99 (zero amplitude) are left out
    line : (slope, intercept, first s^2, last s^2) or None   the fit
    limit_A : float or None                the resolution
    """
    figure = new_figure(7.6, 4.3)
    axes = figure.subplots()
    x = np.asarray(s2_per_A2, np.float64)
    for (name, values), colour in zip(log_amplitudes.items(), CYCLE * 2, strict=False):
        y = np.asarray(values, np.float64)
        axes.plot(x[1:], np.where(y > -99.0, y, np.nan)[1:], color=colour,
                  label=name.replace("_", " "))
    if line is not None:
        ends = np.array(line[2:])
        axes.plot(ends, line[1] + line[0] * ends, color=INK, linewidth=1.0, linestyle="--",
                  label=f"B = {4 * line[0]:.1f} Å²")
    if limit_A and np.isfinite(limit_A):
        axes.axvline(limit_A**-2.0, color=GREY, linewidth=0.9, linestyle=":")
        axes.text(limit_A**-2.0, 0.02, f" {limit_A:.3g} Å", fontsize=9, color="#555555",
                  transform=axes.get_xaxis_transform())
    axes.set(xlabel="1 / d² [1/Å²]", ylabel="ln mean amplitude", xlim=(0, float(x.max())))
    axes.legend(loc="upper right")
    return figure


def _draw_half_sphere(figure: "Figure", axes: "Axes", axes_xyz: Floats, resolution_A: Floats
                      ) -> None:
    """Resolution over the half sphere z >= 0, seen along z with equal areas."""
    finite = np.isfinite(resolution_A)
    radius = np.sqrt(np.maximum(1.0 - axes_xyz[:, 2], 0.0))
    across = np.linalg.norm(axes_xyz[:, :2], axis=1)
    safe = np.where(across > 0, across, 1.0)
    x, y = radius * axes_xyz[:, 0] / safe, radius * axes_xyz[:, 1] / safe
    shown = axes.scatter(x[finite], y[finite], c=resolution_A[finite], cmap="viridis_r", s=58,
                         linewidths=0)
    axes.scatter(x[~finite], y[~finite], color="black", s=20, marker="x")
    ring = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(ring), np.sin(ring), color=GREY, linewidth=0.8)
    axes.set_aspect("equal")
    axes.set_axis_off()
    for angle, name in ((0.0, "x"), (np.pi / 2, "y")):
        axes.text(1.09 * np.cos(angle), 1.09 * np.sin(angle), name, ha="center", va="center")
    axes.set_title("seen along z", fontweight="normal", fontsize=10)
    if finite.any():
        figure.colorbar(shown, ax=axes, label="resolution [Å]", shrink=0.8)
