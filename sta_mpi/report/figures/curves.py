"""Curves over spatial frequency: FSC, the CTF weight that data give each shell, and noise."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.report.figures.style import CYCLE, GREY, INK, draws_png, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FSC_LOOK: dict[str, dict[str, Any]] = {
    "corrected": {"color": INK, "linewidth": 2.2},
    "unmasked": {"color": CYCLE[4]},
    "masked": {"color": CYCLE[0]},
    "randomised": {"color": CYCLE[1], "linestyle": "--"},
}


@draws_png
def fsc_curves(
    curves: Mapping[str, ArrayLike],
    voxel_A: float,
    box_px: int,
    marks: Sequence[tuple[float, float]] = (),
    thresholds: Sequence[float] = (0.143, 0.5),
) -> "Figure":
    """Plot Fourier shell correlations with thresholds and the resolutions read off there.

    Parameters
    ----------
    curves : name to (n_shells,)   FSC of shells 0, 1, 2, ...; the names "unmasked", "masked",
                                   "randomised" (phases), "corrected" have fixed colours
    voxel_A : float                [Å]
    box_px : int                   edge of the maps; shell i is at i / (box_px voxel_A)
    marks : (threshold, resolution_A) pairs   drawn as points with the resolution in words
    thresholds : floats            horizontal lines

    Returns
    -------
    png : bytes
    """
    figure = new_figure(7.6, 4.5)
    axes = figure.subplots()
    nyquist = 0.5 / voxel_A
    lowest = -0.05
    for (name, values), colour in zip(curves.items(), CYCLE * len(curves), strict=False):
        fsc = np.asarray(values, np.float64)
        s_per_A = np.arange(len(fsc)) / (box_px * voxel_A)
        look: dict[str, Any] = {"color": colour, **_FSC_LOOK.get(name, {})}
        axes.plot(s_per_A, fsc, label=name, **look)
        inside = fsc[np.isfinite(fsc) & (s_per_A <= nyquist)]
        lowest = min(lowest, float(inside.min(initial=0.0)) - 0.05)
    for threshold in thresholds:
        axes.axhline(threshold, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(0.004 * nyquist, threshold + 0.012, f"{threshold:g}", color="#555555", fontsize=9)
    axes.axhline(0, color="#555555", linewidth=0.8)
    for threshold, resolution_A in marks:
        _mark_resolution(axes, threshold, resolution_A, nyquist)
    axes.set(xlim=(0, nyquist), ylim=(max(lowest, -1.0), 1.04), ylabel="Fourier shell correlation")
    frequency_axis(axes, nyquist)
    if curves:
        axes.legend(loc="upper right")
    return figure


@draws_png
def ctf_weight(
    weights: Mapping[str, ArrayLike],
    voxel_A: float,
    box_px: int,
    limit_A: float | None = None,
) -> "Figure":
    """Plot how much weight the data put on each shell: the mean of (scale × dose × CTF)².

    Parameters
    ----------
    weights : name to (n_shells,)   mean weight of a Fourier voxel of shells 0, 1, 2, ...,
                                    one curve for each half, say
    voxel_A : float                 [Å]
    box_px : int                    shell i is at i / (box_px voxel_A)
    limit_A : float or None         resolution to mark with a vertical line

    Returns
    -------
    png : bytes

    Notes
    -----
    The axis is logarithmic over at most eight decades; shells without any weight are left out.
    """
    figure = new_figure(7.6, 3.9)
    axes = figure.subplots()
    nyquist = 0.5 / voxel_A
    highest = 0.0
    for (name, values), colour in zip(weights.items(), CYCLE * len(weights), strict=False):
        weight = np.asarray(values, np.float64)
        s_per_A = np.arange(len(weight)) / (box_px * voxel_A)
        axes.plot(s_per_A, np.where(weight > 0, weight, np.nan), color=colour, label=name)
        highest = max(highest, float(np.nanmax(weight, initial=0.0)))
    if highest > 0:
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(highest * 1e-8, axes.get_ylim()[0]))
    if limit_A:
        axes.axvline(1 / limit_A, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(1 / limit_A, 0.98, f" {limit_A:.3g} Å", transform=axes.get_xaxis_transform(),
                  va="top", fontsize=9, color="#555555")
    axes.set(xlim=(0, nyquist), ylabel="mean weight a voxel")
    frequency_axis(axes, nyquist)
    if len(weights) > 1:
        axes.legend(loc="upper right")
    return figure


@draws_png
def noise_excess(curves: Mapping[str, ArrayLike], voxel_A: float, box_px: int) -> "Figure":
    """Plot the noise of each shell as a multiple of what was measured, with a line at 1.

    Parameters
    ----------
    curves : name to (n_shells,)   shells that are NaN are left out
    voxel_A : float                [Å]
    box_px : int                   shell i is at i / (box_px voxel_A)

    Returns
    -------
    png : bytes
    """
    figure = new_figure(7.6, 3.9)
    axes = figure.subplots()
    highest = 1.2
    for (name, values), colour in zip(curves.items(), CYCLE * len(curves), strict=False):
        excess = np.asarray(values, np.float64)
        s_per_A = np.arange(len(excess)) / (box_px * voxel_A)
        axes.plot(s_per_A, excess, color=colour, label=name)
        highest = max(highest, 1.05 * float(np.nanmax(excess, initial=0.0)))
    axes.axhline(1, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 0.5 / voxel_A), ylim=(0, highest), ylabel="noise / noise of the images")
    frequency_axis(axes, 0.5 / voxel_A)
    if curves:
        axes.legend(loc="upper right")
    return figure


def frequency_axis(axes: "Axes", nyquist_per_A: float) -> None:
    """Label the lower axis in 1/Å and put an axis in Å on top."""
    axes.set_xlabel("spatial frequency [1/Å]")
    top = axes.secondary_xaxis("top")
    ticks_A = resolution_ticks_A(nyquist_per_A)
    top.set_xticks(1 / ticks_A, [f"{tick:.3g}" for tick in ticks_A])
    top.set_xlabel("resolution [Å]")


def resolution_ticks_A(nyquist_per_A: float, n_ticks: int = 7) -> NDArray[np.float64]:
    """Round resolutions spread evenly in frequency up to Nyquist: ticks of an axis in Å.

    Examples
    --------
    >>> resolution_ticks_A(0.1).tolist()
    [70.0, 35.0, 23.0, 17.0, 14.0, 12.0, 10.0]
    """
    exact = n_ticks / (nyquist_per_A * np.arange(1, n_ticks + 1))
    digits = 1 - np.floor(np.log10(exact)).astype(int)
    return np.array([round(value, int(d)) for value, d in zip(exact, digits, strict=True)])


def _mark_resolution(
    axes: "Axes", threshold: float, resolution_A: float, nyquist: float
) -> None:
    if not (np.isfinite(resolution_A) and resolution_A > 0):
        return
    s_per_A = min(1 / resolution_A, nyquist)
    axes.plot([s_per_A, s_per_A], [0, threshold], color=INK, linewidth=0.8, linestyle=":")
    axes.plot(s_per_A, threshold, marker="o", color=INK, markersize=6, clip_on=False, zorder=5)
    is_left = s_per_A > 0.75 * nyquist
    is_nyquist = s_per_A > 0.995 * nyquist
    text = f"{resolution_A:.3g} Å" + (" (Nyquist)" if is_nyquist else "")
    axes.annotate(text, (s_per_A, threshold), fontweight="bold", xytext=(-8 if is_left else 8, 7),
                  textcoords="offset points",
                  ha="right" if is_left else "left",
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
