"""Pictures of tomograms: slices, points on a slice, and the power in the xz plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.style import (
    BLUE,
    CYCLE,
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

_MAX_PX = 720
_MAX_POINTS = 6000


@draws_png
def tomogram_slices(xy: NDArray[Any], xz: NDArray[Any], voxel_A: float, title: str = ""
                    ) -> "Figure":
    """Show the xy and xz slices through the centre of a tomogram.

    Parameters
    ----------
    xy : (ny, nx), xz : (nz, nx)   grey values
    voxel_A : float

    Returns
    -------
    png : bytes
    """
    height, width = xy.shape
    depth = xz.shape[0]
    figure = new_figure(7.6, float(np.clip(7.2 * (height + depth) / width, 3.5, 12.0)))
    panels = figure.subplots(2, 1, height_ratios=[height, depth])
    for axes, image, up in zip(panels, (xy, xz), "yz", strict=True):
        _show(axes, image, voxel_A)
        axes.set(xlabel="x →", ylabel=f"{up} →")
    if title:
        panels[0].set_title(title)
    return figure


@draws_png
def points_on_slice(image: NDArray[Any], groups: Sequence[tuple[str, ArrayLike, ArrayLike | None]],
                    voxel_A: float, diameter_A: float | None = None, title: str = "") -> "Figure":
    """Draw points, and the directions they have, on a slice of a tomogram.

    Parameters
    ----------
    image : (h, w)                    grey values
    groups : (label, xy, direction)   xy (n, 2) pixel of each point, x then y, pixel centres at
                                      whole numbers; direction (n, 2) drawn from the point as it
                                      is, in pixels, or None
    voxel_A : float
    diameter_A : float or None        circles of this size [Å]; None: dots

    Returns
    -------
    png : bytes

    Notes
    -----
    y runs upward. Beyond 6000 points of a group an even selection is drawn.
    """
    height, width = image.shape
    figure = new_figure(7.8, 7.8 * min(max(height / width, 0.3), 1.4) + 0.5)
    axes = figure.subplots()
    _show(axes, image, voxel_A)
    colours = (YELLOW, *CYCLE[:1], *CYCLE[1:])
    for (label, xy, direction), colour in zip(groups, colours, strict=False):
        points = np.asarray(xy, float).reshape(-1, 2)
        shown = thin(len(points), _MAX_POINTS)
        _draw_points(axes, points[shown], f"{label}: {len(points):,}", colour,
                     None if diameter_A is None else diameter_A / voxel_A)
        if direction is not None:
            arrows = np.asarray(direction, float).reshape(-1, 2)[shown]
            axes.quiver(*points[shown].T, *arrows.T, angles="xy", scale_units="xy", scale=1,
                        color=colour, width=0.0018, headwidth=0, headlength=0, headaxislength=0)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5))
    if title:
        axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@draws_png
def power_picture(power: NDArray[Any], voxel_A: float, tilt_range_deg: tuple[float, float] | None
                  = None) -> "Figure":
    """Show the logarithm of a power spectrum in the xz plane, and the edges of the missing wedge.

    Parameters
    ----------
    power : (nz, nx)                frequency zero at [nz // 2, nx // 2]
    voxel_A : float
    tilt_range_deg : (2,) or None   lowest and highest tilt about y

    Returns
    -------
    png : bytes
    """
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    reach = 0.5 / voxel_A
    logarithm = np.log10(np.maximum(power, float(power.max()) * 1e-12 + 1e-30))
    low, high = np.percentile(logarithm, (1, 99.8))
    axes.imshow(logarithm, vmin=low, vmax=max(high, low + 1e-6), aspect="equal",
                extent=(-reach, reach, -reach, reach))
    for tilt in tilt_range_deg or ():
        # a beam tilted by t about y sees the plane x = cos t, z = -sin t
        x, z = reach * np.cos(np.radians(tilt)), -reach * np.sin(np.radians(tilt))
        axes.plot([-x, x], [-z, z], color=BLUE, linewidth=0.9, linestyle="--")
    axes.set(xlabel="x [1/Å]", ylabel="z [1/Å]", xlim=(-reach, reach), ylim=(-reach, reach))
    axes.grid(False)
    return figure


def _show(axes: "Axes", image: NDArray[Any], voxel_A: float) -> None:
    """A slice in its own voxels, shrunk by block means where it is large."""
    height, width = image.shape
    small, factor = block_mean(image, _MAX_PX)
    low, high = grey_limits(small, 0.7, 99.3)
    h, w = small.shape
    axes.imshow(small, vmin=low, vmax=high, aspect="equal",
                extent=(-0.5, w * factor - 0.5, -0.5, h * factor - 0.5))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), xticks=[], yticks=[])
    axes.grid(False)
    scale_bar(axes, width, voxel_A)


def _draw_points(axes: "Axes", points: NDArray[np.float64], label: str, colour: str,
                 diameter_px: float | None) -> None:
    from matplotlib.collections import EllipseCollection

    if diameter_px is None:
        axes.plot(points[:, 0], points[:, 1], ".", color=colour, markersize=2.5, label=label)
        return
    axes.plot([], [], "o", color=colour, markerfacecolor="none", label=label)
    if len(points):
        size = np.full(len(points), diameter_px)
        axes.add_collection(EllipseCollection(
            size, size, np.zeros(len(points)), units="xy", offsets=points,
            offset_transform=axes.transData, facecolors="none", edgecolors=colour,
            linewidths=0.9))
