"""Sections of the report of `postprocess` about the map and its sharpening."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.jobs.final_fsc import FinalFsc
from sta_mpi.post.sharpen import Sharpened
from sta_mpi.report.content import Figure, Quantity, Section
from sta_mpi.report.figures import map_slices
from sta_mpi.report.figures.masks import mask_outline
from sta_mpi.report.figures.resolution import guinier_plot


def map_section(sharpened: NDArray[np.float32], curves: FinalFsc) -> Section:
    """The sharpened map, and the mask on it."""
    return Section("Map", figures=[
        Figure("Sharpened map", map_slices.later(sharpened, curves.voxel_A),
               "Central slices above, projections below; not masked."),
        Figure("Mask", mask_outline.later(sharpened, curves.mask, curves.voxel_A),
               "The mask of the FSC on the map: full line where it is 1/2, dotted where its soft "
               "edge ends. It should hold all density of the particle and leave a margin.")])


def sharpening_section(done: Sharpened, curves: FinalFsc) -> Section:
    """The Guinier plot and the line through it."""
    line = None
    numbers = [Quantity("B-factor applied", done.b_factor_A2, "Å²")]
    if done.fit is not None:
        fit = done.fit
        line = (fit.slope_A2, fit.intercept, float(done.s2_per_A2[fit.first_shell]),
                float(done.s2_per_A2[fit.last_shell]))
        first, last = (float(done.s2_per_A2[i] ** -0.5) for i in (fit.first_shell, fit.last_shell))
        numbers += [Quantity("fitted from", first, "Å"), Quantity("fitted to", last, "Å"),
                    Quantity("variance explained", fit.r_squared)]
    return Section("Sharpening", quantities=numbers, figures=[Figure(
        "Guinier plot",
        guinier_plot.later(done.s2_per_A2, done.log_amplitudes, line, curves.resolution_A),
        "Mean amplitude of a shell after each step, before the low-pass. After sharpening the "
        "part beyond 10 Å should be flat; a tail that rises is noise made visible.")])
