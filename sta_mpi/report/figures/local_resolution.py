"""Pictures of local resolution: coloured slices, histogram, curves against noise."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.report.figures.curves import frequency_axis
from sta_mpi.report.figures.maps import central_slices
from sta_mpi.report.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    block_mean,
    draws_png,
    finite,
    grey_limits,
    new_figure,
    say_empty,
    scale_bar,
    spread_limits,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Map = NDArray[np.float32]
Floats = NDArray[np.float64]

_MAX_PX = 360
_AXIS_NAMES = (("x", "y"), ("x", "z"), ("y", "z"))


@draws_png
def resolution_slices(map_: Map, resolution_A: Map, mask: Map, voxel_A: float) -> "Figure":
    """Draw central slices, coloured by resolution where the mask is at least 1/2.

    Parameters
    ----------
    map_, resolution_A, mask : (nz, ny, nx) float32
    voxel_A : float
    """
    figure = new_figure(10.0, 3.7)
    panels = figure.subplots(1, 3)
    inside = finite(resolution_A[mask >= 0.5])
    limits = spread_limits(inside, 2.0) if inside.size else (0.0, 1.0)
    images = zip(panels, central_slices(map_), central_slices(resolution_A), central_slices(mask),
                 _AXIS_NAMES, strict=True)
    shown: Any = None
    grey = grey_limits(np.concatenate([image.ravel() for image in central_slices(map_)]))
    for axes, density, local, cut, (across, up) in images:
        small, factor = block_mean(density, _MAX_PX)
        colours = block_mean(local, _MAX_PX)[0]
        hidden = block_mean(cut, _MAX_PX)[0] < 0.5
        axes.imshow(small, cmap="gray", vmin=grey[0], vmax=grey[1])
        shown = axes.imshow(np.ma.masked_array(colours, hidden), cmap="viridis_r", vmin=limits[0],
                            vmax=limits[1], alpha=_opacity(small, grey))
        axes.set(xticks=[], yticks=[], xlabel=f"{across} →", ylabel=f"{up} →")
        axes.grid(False)
        scale_bar(axes, small.shape[1], voxel_A * factor)
    figure.colorbar(shown, ax=panels, label="local resolution [Å]", shrink=0.85)
    return figure


@draws_png
def local_histogram(resolution_A: Floats, overall_A: float) -> "Figure":
    """Histogram of the resolution at the points, with its median and that of the whole map."""
    figure = new_figure(7.6, 3.7)
    axes = figure.subplots()
    values = finite(resolution_A)
    if not values.size:
        say_empty(axes, "no point has a local resolution")
        return figure
    limits = spread_limits(values)
    axes.hist(np.clip(values, *limits), bins=60, range=limits, color=BLUE, alpha=0.85)
    median = float(np.median(values))
    axes.axvline(median, color=INK, linewidth=1.2, label=f"median {median:.3g} Å")
    if np.isfinite(overall_A):
        axes.axvline(overall_A, color=ORANGE, linewidth=1.5, linestyle="--",
                     label=f"whole map {overall_A:.3g} Å")
    axes.set(xlabel="local resolution [Å]", ylabel="points")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2)
    return figure


@draws_png
def local_curves(curves: Floats, null_curves: Floats, thresholds: Floats, nominal: float,
                 window_px: int, voxel_A: float) -> "Figure":
    """Bands of the local curves and of windows of noise, with the threshold of each shell."""
    figure = new_figure(7.6, 4.1)
    axes = figure.subplots()
    s = np.arange(curves.shape[1]) / (window_px * voxel_A)
    for rows, colour, name in ((curves, BLUE, "windows"), (null_curves, GREY, "unrelated windows")):
        usable = rows[np.isfinite(rows).all(axis=1)]
        if not len(usable):
            continue
        low, q1, median, q3, high = np.percentile(usable, (5, 25, 50, 75, 95), axis=0)
        axes.fill_between(s, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.fill_between(s, q1, q3, color=colour, alpha=0.3, linewidth=0)
        axes.plot(s, median, color=colour, label=name)
    axes.plot(s, thresholds, color=ORANGE, linestyle="--", label="threshold")
    axes.axhline(nominal, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 0.5 / voxel_A), ylim=(-0.5, 1.04), ylabel="FSC of a window")
    frequency_axis(axes, 0.5 / voxel_A)
    axes.legend(loc="upper right")
    return figure


def _opacity(image: Map, limits: tuple[float, float]) -> Floats:
    """Colours stand where there is density, so that the map shows through."""
    share = (image - limits[0]) / (limits[1] - limits[0])
    return np.clip(0.35 + 0.6 * share, 0.35, 0.9).astype(np.float64)
