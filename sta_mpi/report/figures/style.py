"""The look that all figures share, and the way from a matplotlib figure to PNG bytes.

Figures are drawn on the Agg canvas without pyplot, so they need no display, keep no global
state and can be made on any rank. matplotlib is imported when the first figure is made.
"""

import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.drawing import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, SKY, YELLOW, INK, GREY = "#a0468c", "#56b4e9", "#e69f00", "#222222", "#8a8a8a"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW)
"""Colours that readers with any colour vision tell apart (after Okabe and Ito)."""

DPI = 110
_STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "image.cmap": "gray",
    "image.origin": "lower",
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
}


class PngFunction(Generic[P]):
    """A function that draws a Figure and returns it as PNG bytes, now or later.

    It is pickled by its name.
    """

    def __init__(self, draw: Callable[P, "Figure"]) -> None:
        self._draw = draw
        functools.update_wrapper(self, draw)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Draw it now."""
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        with rc_context(_STYLE):
            figure = self._draw(*args, **kwargs)
            buffer = io.BytesIO()
            # the canvas's own way draws once; savefig goes through the whole figure twice
            FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def later(self, *args: P.args, **kwargs: P.kwargs) -> Drawing:
        """Draw it later, on any rank."""
        return Drawing(self, args, kwargs)

    def __reduce__(self) -> str:
        return self._draw.__qualname__


def draws_png(draw: Callable[P, "Figure"]) -> PngFunction[P]:
    """Turn a function that draws a Figure into one that returns it as PNG bytes."""
    return PngFunction(draw)


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure of that size [inches] that lays out its own axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def say_empty(axes: "Axes", text: str) -> None:
    """Write a sentence in place of a plot that has no data."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """The finite values, flat, as float64."""
    flat = np.asarray(values, np.float64).ravel()
    return np.asarray(flat[np.isfinite(flat)])


def block_mean(image: NDArray[Any], max_px: int) -> tuple[NDArray[np.float32], int]:
    """Shrink a 2D image by whole blocks until no edge is longer than max_px.

    Parameters
    ----------
    image : (h, w) real
    max_px : int

    Returns
    -------
    small : (h // factor, w // factor) float32   a rest below one block is cut off
    factor : int                                 pixels a block edge
    """
    factor = max(1, -(-max(image.shape) // max_px))
    if factor == 1:
        return np.asarray(image, np.float32), 1
    h, w = (max(edge // factor, 1) for edge in image.shape)
    rows, cols = min(factor, image.shape[0]), min(factor, image.shape[1])
    small = np.zeros((h, w), np.float64)
    for i in range(rows):
        for j in range(cols):
            small += image[i : i + factor * h : factor, j : j + factor * w : factor][:h, :w]
    return (small / (rows * cols)).astype(np.float32), factor


def thin(n: int, max_n: int) -> NDArray[np.intp]:
    """At most max_n indices spread evenly over range(n): what to plot of a long table."""
    if n <= max_n:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, max_n).round().astype(np.intp))


def spread_limits(values: NDArray[Any], tail: float = 0.2) -> tuple[float, float]:
    """Limits of a histogram: all values, or all but `tail` % at each end where outliers reach far.

    Values are finite and at least one; equal limits are widened by a half to each side.
    """
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(v) for v in np.percentile(values, (tail, 100 - tail)))
    margin = 0.5 * (inner_high - inner_low)
    low = low if low >= inner_low - margin else inner_low
    high = high if high <= inner_high + margin else inner_high
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def grey_limits(image: NDArray[Any], low: float = 0.5, high: float = 99.7) -> tuple[float, float]:
    """Grey values of black and white: percentiles, so that one hot pixel hides nothing."""
    values = finite(image)
    if values.size == 0:
        return 0.0, 1.0
    black, white = np.percentile(values, (low, high))
    return (float(black), float(white)) if white > black else (float(black), float(black) + 1.0)


def round_length_A(longest_A: float) -> float:
    """The longest of 1, 2, 5 x 10^k Å that is not above longest_A: a length for a scale bar.

    Examples
    --------
    >>> round_length_A(130.0)
    100.0
    """
    power = 10.0 ** np.floor(np.log10(longest_A))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest_A * 1.001))


def scale_bar(axes: "Axes", width_px: float, pixel_A: float) -> None:
    """Draw a scale bar of a round length in the lower left of an image of that width."""
    from matplotlib.patheffects import withStroke

    length_A = round_length_A(0.3 * width_px * pixel_A)
    label = f"{length_A / 10:g} nm" if length_A >= 1000 else f"{length_A:g} Å"
    length = length_A / pixel_A / width_px
    outline = [withStroke(linewidth=4.5, foreground="black", alpha=0.75)]
    axes.plot([0.05, 0.05 + length], [0.05, 0.05], color="white", linewidth=3,
              transform=axes.transAxes, path_effects=outline, solid_capstyle="butt")
    axes.text(0.05 + length / 2, 0.075, label, color="white", ha="center", va="bottom",
              fontsize=9.5, transform=axes.transAxes,
              path_effects=[withStroke(linewidth=2.5, foreground="black", alpha=0.75)])
