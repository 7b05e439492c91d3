"""Pictures of particle tables: view directions, scores, and how poses moved.

The view direction of a particle is the beam at zero tilt, in the axes of the particle:
d = R_p2t^T z. Point-group matrices S act on xyz columns in particle axes, so the
directions equivalent to d are S d.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.style import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    draws_png,
    finite,
    new_figure,
    say_empty,
    spread_limits,
    thin,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_MAX_POINTS = 600
_MAX_DIRECTIONS = 2_000_000
_MAX_BOXES = 24


@draws_png
def angular_coverage(
    R_p2t: Floats, symmetry_matrices: Floats | None = None, symmetry: str = "C1"
) -> "Figure":
    """Map view directions on the sphere of the particle, as density relative to uniform.

    Parameters
    ----------
    R_p2t : (n, 3, 3) float64                 particle axes to tomogram axes
    symmetry_matrices : (g, 3, 3) or None     group that spreads each particle
    symmetry : str                            its name, for the title

    Returns
    -------
    png : bytes

    Notes
    -----
    Mollweide projection, equal areas; longitude and latitude in particle axes. Few
    particles are drawn as points. The right panel is the same by angle to particle z.
    """
    directions = view_directions(R_p2t, symmetry_matrices)
    figure = new_figure(9.2, 4.1)
    grid = figure.add_gridspec(1, 2, width_ratios=(2.3, 1))
    sphere = figure.add_subplot(grid[0], projection="mollweide")
    profile = figure.add_subplot(grid[1])
    if len(directions) == 0:
        say_empty(sphere, "no particles")
        say_empty(profile, "")
        return figure
    _draw_sphere(figure, sphere, directions)
    sphere.set_title(f"view directions of {len(R_p2t):,} particles, {symmetry}", pad=12)
    _draw_polar_profile(profile, directions)
    return figure


def view_directions(R_p2t: Floats, symmetry_matrices: Floats | None = None) -> Floats:
    """Unit vectors (n g, 3) of the beam at zero tilt in particle axes, spread by the group.

    Long tables are thinned evenly to two million directions.
    """
    group = np.eye(3)[None] if symmetry_matrices is None else np.asarray(symmetry_matrices)
    keep = thin(len(R_p2t), max(1, _MAX_DIRECTIONS // len(group)))
    beam = np.asarray(R_p2t, np.float64)[keep][:, 2, :]
    return np.asarray(np.einsum("gij,nj->gni", group, beam).reshape(-1, 3))


def direction_density(directions: Floats, n_longitude: int, n_latitude: int) -> Floats:
    """Density (n_latitude, n_longitude) of unit vectors on equal-area cells, 1 = uniform.

    Cells are even in longitude (-180..180°) and in the sine of the latitude (-1..1).
    """
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    counts, _, _ = np.histogram2d(
        np.clip(directions[:, 2], -1, 1), longitude, bins=(n_latitude, n_longitude),
        range=((-1, 1), (-np.pi, np.pi)))
    return np.asarray(counts * (counts.size / max(len(directions), 1)))


def _draw_sphere(figure: "Figure", axes: "Axes", directions: Floats) -> None:
    if len(directions) <= _MAX_POINTS:
        axes.scatter(np.arctan2(directions[:, 1], directions[:, 0]),
                     np.arcsin(np.clip(directions[:, 2], -1, 1)), s=14, color=BLUE, alpha=0.7,
                     linewidths=0)
    else:
        _draw_density(figure, axes, directions)
    longitudes, latitudes = np.arange(-120, 121, 60), np.arange(-60, 61, 30)
    axes.set_xticks(np.radians(longitudes), [""] * len(longitudes))
    axes.set_yticks(np.radians(latitudes), [f"{value}°" for value in latitudes], fontsize=8.5)
    axes.grid(True, color="#b0b0b0", linewidth=0.5)


def _draw_density(figure: "Figure", axes: "Axes", directions: Floats) -> None:
    n_latitude = int(np.clip(np.sqrt(len(directions) / 24), 8, 45))
    density = direction_density(directions, 2 * n_latitude, n_latitude)
    # Equal-area rows are tall near the poles; strips of 1° draw their rounded outline.
    edges = np.radians(np.linspace(-90, 90, 181))
    rows = ((np.sin(0.5 * (edges[:-1] + edges[1:])) + 1) / 2 * n_latitude).astype(np.intp)
    shown = axes.pcolormesh(
        np.linspace(-np.pi, np.pi, 2 * n_latitude + 1), edges, density[rows], cmap="viridis",
        vmin=0, vmax=max(2.0, float(np.percentile(density, 99))), rasterized=True)
    figure.colorbar(shown, cax=axes.inset_axes((0.22, -0.13, 0.56, 0.045)), extend="max",
                    orientation="horizontal", label="density (1 = uniform)")


def _draw_polar_profile(axes: "Axes", directions: Floats) -> None:
    n_bins = int(np.clip(np.sqrt(len(directions)) / 2, 6, 36))
    polar_deg = np.degrees(np.arccos(np.clip(directions[:, 2], -1, 1)))
    counts, edges = np.histogram(polar_deg, bins=n_bins, range=(0, 180))
    uniform = 0.5 * (np.cos(np.radians(edges[:-1])) - np.cos(np.radians(edges[1:])))
    axes.stairs(counts / len(directions) / uniform, edges, fill=True, color=BLUE, alpha=0.8)
    axes.axhline(1, color=INK, linewidth=0.9, linestyle="--")
    axes.set(xlim=(0, 180), xticks=(0, 45, 90, 135, 180), ylim=(0, None),
             xlabel="angle of view to particle z [°]", ylabel="density (1 = uniform)")


@draws_png
def score_histogram(
    scores: ArrayLike,
    half: ArrayLike | None = None,
    i_series: ArrayLike | None = None,
    series_names: Sequence[str] = (),
    score_name: str = "score",
) -> "Figure":
    """Show how scores are spread: by half-set, and by tilt series where they are given.

    Parameters
    ----------
    scores : (n,)                not-finite ones are left out
    half : (n,) int or None      half-set 1 or 2
    i_series : (n,) int or None  index into series_names
    series_names : names
    score_name : str             axis label, with its unit if it has one

    Returns
    -------
    png : bytes

    Notes
    -----
    A box spans 25-75 % of a series' particles, its whiskers 5-95 %. Beyond 24 series, boxes
    stand in the order of their medians, and an even selection of them is drawn.
    """
    values = np.asarray(scores, np.float64)
    is_good = np.isfinite(values)
    has_series = i_series is not None and len(series_names) > 0
    figure = new_figure(9.2 if has_series else 6.4, 3.8)
    panels = figure.subplots(1, 2 if has_series else 1, squeeze=False)[0]
    if not is_good.any():
        for axes in panels:
            say_empty(axes, "no scores")
        return figure
    _draw_half_histograms(panels[0], values, is_good, half)
    panels[0].set(xlabel=score_name, ylabel="particles")
    if has_series:
        _draw_series_boxes(panels[1], values, is_good, np.asarray(i_series), series_names)
        panels[1].set(xlabel=score_name)
    return figure


def _draw_half_histograms(
    axes: "Axes", values: Floats, is_good: NDArray[np.bool_], half: ArrayLike | None
) -> None:
    good = values[is_good]
    low, high = spread_limits(good)
    edges = np.linspace(low, high, int(np.clip(np.sqrt(len(good)), 8, 60)) + 1)
    groups = [("all", is_good)] if half is None else [
        (f"half {number}", is_good & (np.asarray(half) == number)) for number in (1, 2)]
    for (name, rows), colour in zip(groups, CYCLE, strict=False):
        if rows.any():
            counts, _ = np.histogram(values[rows], edges)
            axes.stairs(counts, edges, color=colour, linewidth=1.6,
                        label=f"{name}: {rows.sum():,}, median {np.median(values[rows]):.3g}")
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.15)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.legend(loc="upper left", fontsize=9)


def _draw_series_boxes(
    axes: "Axes",
    values: Floats,
    is_good: NDArray[np.bool_],
    i_series: NDArray[np.int_],
    names: Sequence[str],
) -> None:
    groups = [(name, values[is_good & (i_series == i)]) for i, name in enumerate(names)]
    groups = [group for group in groups if len(group[1])]
    n_series = len(groups)
    is_thinned = n_series > _MAX_BOXES
    if is_thinned:
        groups.sort(key=lambda group: float(np.median(group[1])))
        groups = [groups[i] for i in thin(len(groups), _MAX_BOXES)]
    boxes = []
    for name, scores in groups:
        p5, q1, median, q3, p95 = np.percentile(scores, (5, 25, 50, 75, 95))
        boxes.append({"label": f"{_short(name)} ({len(scores):,})", "whislo": p5, "q1": q1,
                      "med": median, "q3": q3, "whishi": p95, "fliers": []})
    axes.bxp(boxes[::-1], orientation="horizontal", showfliers=False, widths=0.6,
             patch_artist=True, boxprops={"facecolor": "#cfe3f2", "edgecolor": BLUE},
             medianprops={"color": INK}, whiskerprops={"color": BLUE}, capprops={"color": BLUE})
    axes.tick_params(axis="y", labelsize=10 if len(boxes) <= 12 else 8)
    axes.set_title(f"{len(boxes)} of {n_series} tilt series, by median" if is_thinned
                   else "by tilt series")


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]


@draws_png
def pose_change(
    angle_deg: Sequence[ArrayLike], shift_A: Sequence[ArrayLike], first_iteration: int = 1
) -> "Figure":
    """Show how far particles turned and moved in each iteration.

    Parameters
    ----------
    angle_deg : one (n,) array an iteration   turn of each particle [°]
    shift_A : one (n,) array an iteration     move of each particle [Å]
    first_iteration : int                     number of the first array

    Returns
    -------
    png : bytes

    Notes
    -----
    Several iterations: median with the bands of 25-75 % and 5-95 % of the particles.
    One iteration: histograms.
    """
    figure = new_figure(9.2, 3.5)
    panels = figure.subplots(1, 2)
    for axes, arrays, label in zip(
            panels, (angle_deg, shift_A), ("turn [°]", "move [Å]"), strict=True):
        values = [finite(array) for array in arrays]
        if not any(len(array) for array in values):
            say_empty(axes, "no particles")
        elif len(values) == 1:
            _draw_change_histogram(axes, values[0], label)
        else:
            _draw_change_bands(axes, values, label, first_iteration)
    return figure


def _draw_change_histogram(axes: "Axes", values: Floats, label: str) -> None:
    high = spread_limits(values)[1]
    n_bins = int(np.clip(np.sqrt(len(values)), 8, 60))
    axes.hist(values, bins=n_bins, range=(0, high), color=BLUE, alpha=0.8)
    median = float(np.median(values))
    axes.axvline(median, color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel=label, ylabel="particles", title=f"median {median:.3g}", xlim=(0, high))


def _draw_change_bands(
    axes: "Axes", values: Sequence[Floats], label: str, first_iteration: int
) -> None:
    numbers = np.arange(first_iteration, first_iteration + len(values))
    p5, p25, p50, p75, p95 = np.array(
        [np.percentile(array, (5, 25, 50, 75, 95)) if len(array) else np.full(5, np.nan)
         for array in values]).T
    axes.fill_between(numbers, p5, p95, color=BLUE, alpha=0.12, label="5–95 %", linewidth=0)
    axes.fill_between(numbers, p25, p75, color=BLUE, alpha=0.3, label="25–75 %", linewidth=0)
    axes.plot(numbers, p50, color=BLUE, marker="o", markersize=4, label="median")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="iteration", ylabel=label, ylim=(0, None),
             xticks=numbers[thin(len(numbers), 12)])
    axes.legend(loc="upper right")
