"""Pictures of masks: outline on the map they are for."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.report.figures.maps import axis_projections, central_slices
from sta_mpi.report.figures.style import (
    ORANGE,
    block_mean,
    draws_png,
    grey_limits,
    new_figure,
    scale_bar,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_PX = 360
_AXIS_NAMES = (("x", "y"), ("x", "z"), ("y", "z"))


@draws_png
def mask_outline(map_: NDArray[np.float32] | None, mask: NDArray[np.float32], voxel_A: float
                 ) -> "Figure":
    """Draw the outline of a mask on slices and projections of the map.

    Parameters
    ----------
    map_ : (nz, ny, nx) float32 or None   None: the mask itself is shown
    mask : (nz, ny, nx) float32
    voxel_A : float

    Returns
    -------
    png : bytes

    Notes
    -----
    Upper row: central slices, the mask at 1/2 (line) and at the end of its edge (dots). Lower
    row: projections of the map, with the outline of the mask's projection.
    """
    shown = mask if map_ is None else map_
    figure = new_figure(9.0, 6.3)
    panels = figure.subplots(2, 3)
    slices, projections = central_slices(shown), axis_projections(shown)
    cuts, shadows = central_slices(mask), [mask.max(axis=axis) for axis in (0, 1, 2)]
    limits = grey_limits(np.concatenate([image.ravel() for image in slices]))
    for row, (images, outlines) in enumerate(((slices, cuts), (projections, shadows))):
        for axes, image, outline, (across, up) in zip(
                panels[row], images, outlines, _AXIS_NAMES, strict=True):
            small, factor = block_mean(image, _MAX_PX)
            low, high = limits if row == 0 else grey_limits(image)
            axes.imshow(small, cmap="gray", vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[], xlabel=f"{across} →", ylabel=f"{up} →")
            axes.grid(False)
            scale_bar(axes, small.shape[1], voxel_A * factor)
            edge, _ = block_mean(outline, _MAX_PX)
            _outline(axes, edge)
            beam = ({"x", "y", "z"} - {across, up}).pop()
            what = "slice at centre" if row == 0 else f"projected along {beam}"
            axes.set_title(f"{across}{up}: {what}", fontsize=10, fontweight="normal")
    return figure


def _outline(axes: Any, image: NDArray[np.float32]) -> None:
    """Lines at 1/2 and just above 0, where the picture crosses these values."""
    for level, look in ((0.5, "solid"), (0.02, "dotted")):
        if min(image.shape) > 1 and image.min() < level < image.max():
            axes.contour(image, levels=[level], colors=[ORANGE], linewidths=1.3, linestyles=look)
