"""Pictures of maps: central slices, projections, and two half maps side by side."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.report.figures.style import (
    block_mean,
    draws_png,
    finite,
    grey_limits,
    new_figure,
    scale_bar,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_PX = 360
_AXIS_NAMES = (("x", "y"), ("x", "z"), ("y", "z"))


@draws_png
def map_slices(data: NDArray[np.float32], voxel_A: float, title: str = "") -> "Figure":
    """Show central slices (upper row) and projections (lower row) along z, y and x.

    Parameters
    ----------
    data : (nz, ny, nx) float32   protein bright
    voxel_A : float               [Å]
    title : str                   name of the map

    Returns
    -------
    png : bytes
    """
    figure = new_figure(9.0, 6.3)
    panels = figure.subplots(2, 3)
    slices, projections = central_slices(data), axis_projections(data)
    limits = grey_limits(np.concatenate([image.ravel() for image in slices]))
    for row, images in enumerate((slices, projections)):
        for axes, image, (across, up) in zip(panels[row], images, _AXIS_NAMES, strict=True):
            _show(axes, image, voxel_A, limits if row == 0 else grey_limits(image))
            beam = ({"x", "y", "z"} - {across, up}).pop()
            what = "slice at centre" if row == 0 else f"projected along {beam}"
            axes.set_title(f"{across}{up}: {what}", fontsize=10, fontweight="normal")
            axes.set_xlabel(f"{across} →")
            axes.set_ylabel(f"{up} →")
    if title:
        figure.suptitle(title, fontweight="bold", fontsize=11.5, x=0.01, ha="left")
    return figure


@draws_png
def map_comparison(
    half1: NDArray[np.float32], half2: NDArray[np.float32], voxel_A: float
) -> "Figure":
    """Show two half maps and their difference in one grey scale, as xy and xz central slices.

    Parameters
    ----------
    half1, half2 : (nz, ny, nx) float32   maps of one size
    voxel_A : float                       [Å]

    Returns
    -------
    png : bytes

    Notes
    -----
    The difference spans plus and minus the range of the maps' grey scale, so noise that
    looks faint there is faint compared with the maps. Its rms is given relative to the
    standard deviation of the mean map.
    """
    figure = new_figure(9.4, 6.3)
    panels = figure.subplots(2, 3)
    pairs = list(zip(central_slices(half1)[:2], central_slices(half2)[:2], strict=True))
    low, high = grey_limits(np.concatenate([image.ravel() for pair in pairs for image in pair]))
    span = 0.5 * (high - low)
    shown: Any = None
    for row, (first, second) in enumerate(pairs):
        across, up = _AXIS_NAMES[row]
        _show(panels[row, 0], first, voxel_A, (low, high))
        _show(panels[row, 1], second, voxel_A, (low, high))
        shown = _show(panels[row, 2], first - second, None, (-span, span), "PuOr_r")
        panels[row, 0].set_ylabel(f"{up} →")
        for axes in panels[row]:
            axes.set_xlabel(f"{across} →")
    for axes, name in zip(panels[0], ("half 1", "half 2", "half 1 − half 2"), strict=True):
        axes.set_title(name)
    figure.colorbar(shown, ax=panels[:, 2], label="difference [map units]", shrink=0.75)
    panels[1, 2].set_title(f"rms {_relative_rms(half1, half2):.0%} of the map's s.d.",
                           fontsize=9.5, fontweight="normal")
    return figure


def central_slices(data: NDArray[Any]) -> list[NDArray[Any]]:
    """The xy, xz and yz slices through the centre voxel (n // 2), each (up, across)."""
    z, y, x = (edge // 2 for edge in data.shape)
    return [data[z], data[:, y], data[:, :, x]]


def axis_projections(data: NDArray[Any]) -> list[NDArray[Any]]:
    """Means along z, y and x: xy, xz and yz pictures, each (up, across), float32."""
    return [data.mean(axis=axis, dtype=np.float64).astype(np.float32) for axis in (0, 1, 2)]


def _relative_rms(half1: NDArray[Any], half2: NDArray[Any]) -> float:
    difference = finite(half1) - finite(half2) if _all_finite(half1, half2) else np.zeros(1)
    scale = float(np.std(0.5 * (half1.astype(np.float64) + half2)))
    return float(np.sqrt(np.mean(difference**2))) / scale if scale > 0 else 0.0


def _all_finite(*maps: NDArray[Any]) -> bool:
    return all(bool(np.isfinite(data).all()) for data in maps)


def _show(
    axes: "Axes",
    image: NDArray[Any],
    voxel_A: float | None,
    limits: tuple[float, float],
    colours: str = "gray",
) -> Any:
    """Draw one picture, with a scale bar for a voxel size; long edges are shrunk by block means."""
    small, factor = block_mean(image, _MAX_PX)
    shown = axes.imshow(small, cmap=colours, vmin=limits[0], vmax=limits[1])
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    if voxel_A is not None:
        scale_bar(axes, small.shape[1], voxel_A * factor)
    return shown
