"""Pictures of how a job used its machines: load of the ranks, times of units, memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.style import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    ORANGE,
    draws_png,
    finite,
    new_figure,
    say_empty,
    thin,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_MAX_BARS = 96
_MAX_POINTS = 4000


@draws_png
def rank_load(
    busy_s: ArrayLike, wait_s: ArrayLike, other_s: ArrayLike | None = None
) -> "Figure":
    """Show for every rank how long it computed, waited, and did other things.

    Parameters
    ----------
    busy_s : (ranks,)            time inside units [s]
    wait_s : (ranks,)            time waiting for a unit or for other ranks [s]
    other_s : (ranks,) or None   the rest: reading, reduction, checkpoints [s]

    Returns
    -------
    png : bytes

    Notes
    -----
    More than 96 ranks are joined into bars of neighbouring ranks, as means.
    """
    from matplotlib.ticker import MaxNLocator

    parts = {"computing": np.asarray(busy_s, np.float64)}
    if other_s is not None:
        parts["other (files, sums, checkpoints)"] = np.asarray(other_s, np.float64)
    parts["waiting"] = np.asarray(wait_s, np.float64)
    n_ranks = len(parts["computing"])
    figure = new_figure(7.6, 3.7)
    axes = figure.subplots()
    if n_ranks == 0:
        say_empty(axes, "no timing")
        return figure
    group = -(-n_ranks // _MAX_BARS)
    colours = {"computing": BLUE, "waiting": "#d9d9d9"}
    floor = np.zeros(-(-n_ranks // group))
    first = np.arange(len(floor)) * group
    for name, seconds in parts.items():
        height = _group_means(seconds, group)
        axes.bar(first + (group - 1) / 2, height, width=0.8 * group, bottom=floor,
                 color=colours.get(name, CYCLE[5]), label=name)
        floor = floor + height
    axes.set(xlabel="rank" if group == 1 else f"rank (bars are means of {group} ranks)",
             ylabel="time [s]", xlim=(-0.7 * group, n_ranks - 1 + 0.7 * group))
    axes.xaxis.set_major_locator(MaxNLocator(11, integer=True, min_n_ticks=1))
    axes.set_title(_load_sentence(parts), fontsize=10.5)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _group_means(values: Floats, group: int) -> Floats:
    return np.array([values[i : i + group].mean() for i in range(0, len(values), group)])


def _load_sentence(parts: Mapping[str, Floats]) -> str:
    busy = parts["computing"]
    total = np.sum(list(parts.values()), axis=0)
    used = float(busy.sum() / total.sum()) if total.sum() > 0 else 0.0
    balance = float(busy.mean() / busy.max()) if busy.max() > 0 else 1.0
    return f"{used:.1%} of the time computing; mean / longest rank {balance:.1%}"


@draws_png
def unit_times(seconds: ArrayLike, cost: ArrayLike | None = None) -> "Figure":
    """Show how long units took, and how that compares with the cost predicted for them.

    Parameters
    ----------
    seconds : (n_units,)           measured time of each unit [s]
    cost : (n_units,) or None      predicted cost, any unit of measure

    Returns
    -------
    png : bytes
    """
    times = np.asarray(seconds, np.float64)
    figure = new_figure(9.2 if cost is not None else 5.6, 3.5)
    panels = figure.subplots(1, 2 if cost is not None else 1, squeeze=False)[0]
    good = finite(times)
    if len(good) == 0:
        for axes in panels:
            say_empty(axes, "no unit times")
        return figure
    _draw_time_histogram(panels[0], good)
    if cost is not None:
        _draw_cost_scatter(panels[1], times, np.asarray(cost, np.float64))
    return figure


def _draw_time_histogram(axes: "Axes", times: Floats) -> None:
    n_bins = int(np.clip(np.sqrt(len(times)), 8, 50))
    is_wide = times.min() > 0 and times.max() / times.min() > 30
    edges = (np.geomspace(times.min(), times.max(), n_bins + 1) if is_wide
             else np.linspace(0, max(times.max(), 1e-9), n_bins + 1))
    axes.hist(times, bins=edges.tolist(), color=BLUE, alpha=0.85)
    if is_wide:
        axes.set_xscale("log")
    p50, p95 = np.percentile(times, (50, 95))
    axes.axvline(p50, color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel="time of a unit [s]", ylabel="units")
    axes.set_title(f"{len(times):,} units: median {p50:.3g} s, 95 % below {p95:.3g} s",
                   fontsize=10, fontweight="normal")


def _draw_cost_scatter(axes: "Axes", times: Floats, cost: Floats) -> None:
    rows = np.flatnonzero(np.isfinite(times) & np.isfinite(cost))
    x, y = cost[rows], times[rows]
    slope = float(y.sum() / x.sum()) if x.sum() > 0 else 0.0
    spread = float(np.std(y / (slope * x))) if slope > 0 and (x > 0).all() else float("nan")
    shown = thin(len(rows), _MAX_POINTS)
    axes.scatter(x[shown], y[shown], s=12, color=BLUE, alpha=0.5, linewidths=0)
    top = float(x.max(initial=0.0))
    axes.plot([0, top], [0, slope * top], color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel="predicted cost [model units]", ylabel="time of a unit [s]",
             xlim=(0, None), ylim=(0, None))
    axes.set_title(f"spread about the prediction: {spread:.0%}", fontsize=10, fontweight="normal")


@draws_png
def memory_use(predicted_GiB: Mapping[str, float], peak_GiB: ArrayLike) -> "Figure":
    """Compare the memory predicted for a rank, part by part, with the peak that was measured.

    Parameters
    ----------
    predicted_GiB : part to GiB   what one rank was expected to need
    peak_GiB : (ranks,)           measured peak of every rank

    Returns
    -------
    png : bytes
    """
    peaks = finite(peak_GiB)
    figure = new_figure(7.6, 2.9)
    axes = figure.subplots()
    start = 0.0
    for (name, size), colour in zip(
            predicted_GiB.items(), CYCLE * len(predicted_GiB), strict=False):
        axes.barh("predicted", size, left=start, color=colour, label=name, height=0.55,
                  edgecolor="white", linewidth=0.8)
        start += size
    if len(peaks):
        axes.barh("measured", peaks.max(), color=GREY, height=0.55, label="largest peak of a rank")
        axes.plot(peaks, np.full(len(peaks), "measured"), "|", color=INK, markersize=16,
                  label="each rank")
        if start > 0:
            axes.set_title(f"largest peak is {peaks.max() / start:.0%} of the prediction",
                           fontsize=10.5)
    axes.axvline(start, color=ORANGE, linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(xlabel="memory of a rank [GiB]", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=3)
    return figure
