"""Numbers as RELION writes them into STAR files, and text cells padded as RELION pads them.

A double of magnitude below 0.001 (but not 0) or above 1e5 takes the exponent form, others the
fixed form; 6 decimals, 5 for negative values; the fixed form is cut to 12 characters
(spec of RELION 5's `metadata_table.cpp`). Integers and booleans are plain decimal numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBER_WIDTH = 12
TEXT_WIDTH = 10

_LONGEST_EXPONENT_FORM = 13
_NUMBER_BYTES = np.zeros(256, bool)
_NUMBER_BYTES[np.frombuffer(b"0123456789+-.eE\0", np.uint8)] = True


def format_numbers(values: NDArray[Any]) -> NDArray[np.bytes_]:
    """Text of numbers without padding.

    Parameters
    ----------
    values : (n,) float, integer or bool

    Returns
    -------
    (n,) bytes

    Examples
    --------
    >>> format_numbers(np.array([167.68924, -164.553581, 1.488435e-05, 0.0])).tolist()
    [b'167.689240', b'-164.55358', b'1.488435e-05', b'0.000000']
    """
    if values.dtype.kind == "b":
        values = values.astype(np.int8)
    if values.dtype.kind in "iu":
        return np.array([b"%d" % v for v in values.tolist()] or [b""], "S")[:len(values)]
    numbers = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        size = np.abs(numbers)
        exponent = ((size < 1e-3) & (numbers != 0)) | ((size > 1e5) & np.isfinite(size))
        negative = np.signbit(numbers) & (numbers != 0)
    out = np.zeros(len(numbers), f"S{_LONGEST_EXPONENT_FORM}")
    for is_exponent in (False, True):
        for is_negative in (False, True):
            rows = (exponent == is_exponent) & (negative == is_negative)
            if rows.any():
                form = b"%.5" if is_negative else b"%.6"
                form += b"e" if is_exponent else b"f"
                chosen = numbers[rows] if is_negative else np.abs(numbers[rows])
                # A cut exponent would be another number, so only the fixed form is cut.
                cut = None if is_exponent else NUMBER_WIDTH
                out[rows] = [(form % v)[:cut] for v in chosen.tolist()]
    return out


def looks_numeric(column: NDArray[np.bytes_]) -> bool:
    """Whether every cell of a text column consists of the characters of numbers alone."""
    if column.dtype.itemsize == 0 or len(column) == 0:
        return False
    cells = np.ascontiguousarray(column).view(np.uint8)
    return bool(_NUMBER_BYTES[cells].all() and (column != b"").all())
