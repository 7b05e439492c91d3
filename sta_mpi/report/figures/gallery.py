"""A gallery of small images, each on its own grey scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sta_mpi.report.figures.style import draws_png, grey_limits, new_figure, say_empty

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 6
_BLUR_SHARE = 0.02
"""Width of the Gaussian that images are smoothed by for drawing, over their edge."""


@draws_png
def image_gallery(images: Sequence[NDArray[Any]], titles: Sequence[str]) -> "Figure":
    """Draw images side by side, lightly smoothed.

    Parameters
    ----------
    images : arrays (h, w)
    titles : one each

    Returns
    -------
    png : bytes
    """
    n_rows = max(1, -(-len(images) // _COLUMNS))
    figure = new_figure(9.2, 1.75 * n_rows)
    panels = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    if not images:
        say_empty(panels[0], "no images")
    for axes, image, title in zip(panels, images, titles, strict=False):
        smooth = gaussian_filter(np.asarray(image, np.float32), _BLUR_SHARE * len(image))
        low, high = grey_limits(smooth)
        axes.imshow(smooth, vmin=low, vmax=high)
        axes.set_title(title, fontsize=7)
    return figure
