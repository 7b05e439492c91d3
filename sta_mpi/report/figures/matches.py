"""Pictures of template matching: scores of peaks beside those of decoys."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sta_mpi.report.figures.style import BLUE, GREY, ORANGE, draws_png, new_figure, say_empty

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@draws_png
def score_and_decoys(scores: ArrayLike, decoys: ArrayLike, threshold: float,
                     wanted_rate: float) -> "Figure":
    """Histogram of the peaks of a template and of its inverse, with the threshold.

    Parameters
    ----------
    scores, decoys : (n,), (m,)    of peaks
    threshold : float              infinite: no threshold fulfils the wanted rate
    wanted_rate : float

    Returns
    -------
    png : bytes
    """
    figure = new_figure(8.4, 3.6)
    axes = figure.subplots()
    up, down = np.asarray(scores, float), np.asarray(decoys, float)
    if len(up) + len(down) == 0:
        say_empty(axes, "no peaks")
        return figure
    both = np.concatenate([up, down])
    bins = np.linspace(both.min(), both.max() + 1e-6, 60).tolist()
    axes.hist(down, bins, color=ORANGE, alpha=0.6, label=f"inverted template: {len(down):,}")
    axes.hist(up, bins, color=BLUE, histtype="step", linewidth=1.6,
              label=f"template: {len(up):,}")
    if np.isfinite(threshold):
        axes.axvline(threshold, color=GREY, linestyle="--",
                     label=f"threshold {threshold:.2f} (false-alarm rate asked for: "
                           f"{wanted_rate:g})")
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel="score [standard deviations over the median]", ylabel="peaks")
    axes.legend(loc="upper right", fontsize=9)
    return figure
