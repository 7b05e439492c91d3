"""Pictures of classes: slices side by side, shares by round, particles along components."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sta_mpi.report.figures.maps import central_slices
from sta_mpi.report.figures.style import draws_png, grey_limits, new_figure, say_empty, thin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_MAX_POINTS = 4000


@draws_png
def class_slices(maps: Sequence[NDArray[np.float32]], names: Sequence[str], voxel_A: float,
                 is_difference: bool = False) -> "Figure":
    """Show central slices of several maps in one grey scale, and their differences from the mean.

    Parameters
    ----------
    maps : (nz, ny, nx) float32 each
    names : str each
    voxel_A : float
    is_difference : bool   the maps are differences already: no rows for them

    Returns
    -------
    png : bytes
    """
    mean = np.mean(maps, axis=0)
    rows = [[central_slices(m)[i] for m in maps] for i in (0, 1)]
    kinds = ["xy", "xz"]
    if len(maps) > 1 and not is_difference:
        rows += [[central_slices(m - mean)[i] for m in maps] for i in (0, 1)]
        kinds += ["xy, difference", "xz, difference"]
    figure = new_figure(max(3.0, 1.7 * len(maps)), 1.8 * len(rows) + 0.4)
    panels = figure.subplots(len(rows), len(maps), squeeze=False)
    for i, (images, kind) in enumerate(zip(rows, kinds, strict=True)):
        pair = rows[i - i % 2] + rows[i - i % 2 + 1]
        low, high = grey_limits(np.concatenate([image.ravel() for image in pair]))
        if i >= 2 or is_difference:
            low, high = -max(-low, high), max(-low, high)
        for axes, image in zip(panels[i], images, strict=True):
            axes.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")
            axes.set_xticks([])
            axes.set_yticks([])
        panels[i, 0].set_ylabel(kind)
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name, fontsize=9, fontweight="normal")
    width_A = maps[0].shape[2] * voxel_A
    panels[-1, 0].set_xlabel(f"{width_A:.0f} Å wide")
    return figure


@draws_png
def class_course(rounds: Sequence[int], shares: Floats, changed: Floats) -> "Figure":
    """Show the share of each class, and of particles that changed their class, by round.

    Parameters
    ----------
    rounds : (m,)
    shares : (m, K)   0..1
    changed : (m,)    0..1
    """
    figure = new_figure(8.0, 3.4)
    left, right = figure.subplots(1, 2)
    for k, share in enumerate(shares.T, 1):
        left.plot(rounds, 100 * share, marker=".", label=f"class {k}" if k <= 12 else None)
    left.set_xlabel("round")
    left.set_ylabel("share of the particles [%]")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)
    right.plot(rounds, 100 * changed, marker=".", color="black")
    right.set_xlabel("round")
    right.set_ylabel("changed their class [%]")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


@draws_png
def component_scatter(z: Floats, labels: NDArray[np.integer]) -> "Figure":
    """Show particles along the first components, coloured by cluster.

    Parameters
    ----------
    z : (n, q)     coordinates [standard deviations]
    labels : (n,)  clusters from 0
    """
    figure = new_figure(8.0, 3.8)
    panels = figure.subplots(1, 2)
    shown = thin(len(z), _MAX_POINTS)
    for axes, (a, b) in zip(panels, ((0, 1), (0, 2)), strict=True):
        if b >= z.shape[1]:
            say_empty(axes, f"{z.shape[1]} components")
            continue
        for k in np.unique(labels[shown]):
            own = shown[labels[shown] == k]
            axes.plot(z[own, a], z[own, b], ".", ms=3, label=f"cluster {k + 1}")
        axes.set_xlabel(f"component {a + 1}")
        axes.set_ylabel(f"component {b + 1}")
    panels[0].legend(fontsize=8)
    return figure
