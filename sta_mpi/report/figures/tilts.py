"""Pictures of tilt series: particles on an image, and geometry, dose and defocus of the tilts."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    YELLOW,
    block_mean,
    draws_png,
    grey_limits,
    new_figure,
    scale_bar,
    thin,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_PX = 640
_MAX_CIRCLES = 5000
_MOST_SERIES = 6
_SERIES_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, INK, YELLOW)


@draws_png
def particles_on_image(
    image: NDArray[Any],
    xy_px: ArrayLike,
    *,
    pixel_A: float,
    diameter_A: float,
    title: str = "",
    is_outside: ArrayLike | None = None,
) -> "Figure":
    """Draw a tilt image with a circle where each particle lands.

    Parameters
    ----------
    image : (h, w) real               raw contrast, shrunk by block means to 640 pixels
    xy_px : (n, 2)                    positions on the full image, x then y, pixel centres
                                      at whole numbers
    pixel_A : float                   pixel of the full image [Å]
    diameter_A : float                diameter of the circles [Å]
    title : str
    is_outside : (n,) bool or None    particles that are not used in this image, drawn in
                                      purple; None marks those with a centre off the image

    Returns
    -------
    png : bytes

    Notes
    -----
    y runs upward, as in 3dmod. Beyond 5000 particles an even selection is drawn.
    """
    positions = np.asarray(xy_px, np.float64).reshape(-1, 2)
    height, width = image.shape
    if is_outside is None:
        is_off = (positions < -0.5) | (positions > np.array([width, height]) - 0.5)
        outside: NDArray[np.bool_] = np.asarray(is_off.any(axis=1))
    else:
        outside = np.asarray(is_outside, bool)
    figure = new_figure(7.6, 7.9 * min(max(height / width, 0.5), 1.4))
    axes = figure.subplots()
    small, factor = block_mean(image, _MAX_PX)
    black, white = grey_limits(small, 1, 99)
    h, w = small.shape
    axes.imshow(small, vmin=black, vmax=white,
                extent=(-0.5, w * factor - 0.5, -0.5, h * factor - 0.5))
    shown = thin(len(positions), _MAX_CIRCLES)
    _draw_circles(axes, positions[shown], outside[shown], 0.5 * diameter_A / pixel_A)
    margin = 0.5 * diameter_A / pixel_A if outside.any() else 0.0
    axes.set(xlim=(-0.5 - margin, width - 0.5 + margin),
             ylim=(-0.5 - margin, height - 0.5 + margin),
             xlabel="x [px]", ylabel="y [px]", aspect="equal")
    axes.grid(False)
    scale_bar(axes, width + 2 * margin, pixel_A)
    n_out = int(outside.sum())
    count = f"{len(positions):,} particles" + (f", {n_out:,} not on this image" if n_out else "")
    axes.set_title(f"{title}: {count}" if title else count)
    return figure


def _draw_circles(
    axes: "Axes", xy_px: NDArray[np.float64], is_outside: NDArray[np.bool_], radius_px: float
) -> None:
    from matplotlib.collections import EllipseCollection

    for rows, colour in ((~is_outside, YELLOW), (is_outside, PURPLE)):
        if rows.any():
            n = int(rows.sum())
            size = np.full(n, 2 * radius_px)
            axes.add_collection(EllipseCollection(
                size, size, np.zeros(n), units="xy", offsets=xy_px[rows],
                offset_transform=axes.transData, facecolors="none", edgecolors=colour,
                linewidths=1.1 if n < 300 else 0.7))
            axes.plot(xy_px[rows, 0], xy_px[rows, 1], "+", color=colour, markersize=3,
                      markeredgewidth=0.6)


@draws_png
def tilt_geometry(
    tilt_deg: ArrayLike,
    pre_dose_e_per_A2: ArrayLike,
    defocus_u_A: ArrayLike,
    defocus_v_A: ArrayLike | None = None,
    shift_A: ArrayLike | None = None,
    title: str = "",
) -> "Figure":
    """Plot dose, defocus and image shift of each tilt against its angle.

    Parameters
    ----------
    tilt_deg : (n,)                      stage tilt [°]
    pre_dose_e_per_A2 : (n,)             dose before the tilt [e/Å²]
    defocus_u_A, defocus_v_A : (n,)      underfocus positive [Å]; without V, U is the mean
    shift_A : (n, 2) or None             x and y shift of the image [Å]
    title : str                          name of the series

    Returns
    -------
    png : bytes
    """
    tilt = np.asarray(tilt_deg, np.float64)
    order = np.argsort(tilt, kind="stable")
    figure = new_figure(9.2, 3.6)
    panels = figure.subplots(1, 2 if shift_A is None else 3, squeeze=False)[0]
    _draw_dose(panels[0], tilt, np.asarray(pre_dose_e_per_A2, np.float64))
    for values, name, colour in ((defocus_u_A, "U", BLUE), (defocus_v_A, "V", ORANGE)):
        if values is not None:
            panels[1].plot(tilt[order], np.asarray(values, np.float64)[order] / 1e4,
                           color=colour, marker="o", markersize=3, linewidth=1.2, label=name)
    panels[1].set(ylabel="defocus [µm]")
    if defocus_v_A is not None:
        panels[1].legend(ncols=2, loc="best")
    if shift_A is not None:
        shifts = np.asarray(shift_A, np.float64).reshape(-1, 2)[order]
        for column, name, colour in ((0, "x", BLUE), (1, "y", GREEN)):
            panels[2].plot(tilt[order], shifts[:, column], color=colour, marker="o",
                           markersize=3, linewidth=1.2, label=name)
        panels[2].set(ylabel="image shift [Å]")
        panels[2].legend(ncols=2, loc="best")
    for axes in panels:
        axes.set(xlabel="tilt [°]")
    if title:
        figure.suptitle(title, fontweight="bold", fontsize=11.5, x=0.01, ha="left")
    return figure


def _draw_dose(axes: "Axes", tilt: NDArray[np.float64], dose: NDArray[np.float64]) -> None:
    """Dose against tilt; the line follows the order of acquisition and shows the scheme."""
    order = np.argsort(dose, kind="stable")
    axes.plot(tilt[order], dose[order], color="#b8cfe0", linewidth=0.9)
    axes.plot(tilt, dose, "o", color=BLUE, markersize=4)
    axes.set(ylabel="dose before the tilt [e/Å²]")
    if len(order):
        axes.annotate("first", (tilt[order[0]], dose[order[0]]), xytext=(6, -3),
                      textcoords="offset points", fontsize=9, color=INK)


@draws_png
def tilt_weights(tilt_deg: ArrayLike, weight: ArrayLike, names: list[str]) -> "Figure":
    """Plot the weight of every tilt against its angle, one line a series.

    Parameters
    ----------
    tilt_deg : (s, t)        stage tilt [°], NaN where a series has fewer tilts
    weight : (s, t)          any unit, NaN where a tilt is not used
    names : (s,) of str      series, named in the figure up to six

    Returns
    -------
    png : bytes
    """
    tilt, height = np.asarray(tilt_deg, np.float64), np.asarray(weight, np.float64)
    relative = height / np.nanmean(height)
    figure = new_figure(7.6, 3.6)
    axes = figure.subplots()
    few = len(names) <= _MOST_SERIES
    for i, name in enumerate(names):
        used = np.isfinite(tilt[i]) & np.isfinite(relative[i])
        order = np.flatnonzero(used)[np.argsort(tilt[i][used], kind="stable")]
        axes.plot(tilt[i][order], relative[i][order], marker="o", markersize=3,
                  color=_SERIES_COLOURS[i % len(_SERIES_COLOURS)] if few else BLUE,
                  linewidth=1.2 if few else 0.5, alpha=1.0 if few else 0.3,
                  label=name if few else None)
    axes.set(xlabel="tilt [°]", ylabel="weight / mean weight")
    axes.set_ylim(bottom=0)
    if few:
        axes.legend()
    else:
        axes.set_title(f"{len(names)} tilt series")
    return figure
