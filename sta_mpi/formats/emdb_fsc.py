"""FSC curves as XML, in the form that the Electron Microscopy Data Bank takes on deposition."""

import os
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import ArrayLike

from sta_mpi.formats.atomic import atomic_file


def write_fsc_xml(path: str | os.PathLike[str], s_per_A: ArrayLike, curve: ArrayLike,
                  title: str = "sta-mpi masked-corrected FSC") -> None:
    """Write one curve.

    Parameters
    ----------
    s_per_A : (n,)   spatial frequency of each shell [1/A]
    curve : (n,)     finite
    title : str      what the curve is
    """
    x, y = np.asarray(s_per_A, np.float64), np.asarray(curve, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"frequencies {x.shape} and curve {y.shape}: expected equal lengths and "
                         "finite values")
    lines = [f'<fsc title={quoteattr(title)} xaxis="Resolution (A-1)" '
             'yaxis="Correlation Coefficient">']
    for s, value in zip(x, y, strict=True):
        lines += ["  <coordinate>", f"    <x>{s:.6f}</x>", f"    <y>{value:.6f}</y>",
                  "  </coordinate>"]
    lines.append("</fsc>")
    with atomic_file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
