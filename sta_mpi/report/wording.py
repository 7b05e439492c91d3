"""Numbers, durations and sizes as a person reads them; shared by lines, tables and pages."""

import math

_GIB = 2.0**30
_MANY_YEARS_S = 1e10


def format_duration(seconds: float | None) -> str:
    """Say a time span with at most two units: "12 s", "3 min 05 s", "2 h 07 min", "4 d 03 h".

    Parameters
    ----------
    seconds : float or None   time [s]; None, NaN and more than 300 years give "unknown"

    Examples
    --------
    >>> format_duration(185.2)
    '3 min 05 s'
    """
    if seconds is None or not seconds < _MANY_YEARS_S:
        return "unknown"
    if seconds < 0:
        seconds = 0.0
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    if total < 48 * 3600:
        return f"{total // 3600} h {total % 3600 // 60:02d} min"
    return f"{total // 86400} d {total % 86400 // 3600:02d} h"


def format_number(value: object) -> str:
    """Write one value: four significant digits for floats, thousands separated for integers.

    Booleans become yes / no, None a dash, lists their items joined by commas.

    Examples
    --------
    >>> format_number(1234567), format_number(3.14159), format_number(True)
    ('1,234,567', '3.142', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _format_float(value)
    if isinstance(value, list | tuple):
        return ", ".join(format_number(item) for item in value) if value else "–"
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return format_number(value.item())
    return str(value)


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    text = f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace("-", "−")


def format_rate(units_per_s: float | None) -> str:
    """Say how fast units are finished, per second, minute or hour, whichever reads best.

    Examples
    --------
    >>> format_rate(0.5)
    '30 units/min'
    """
    if units_per_s is None or not math.isfinite(units_per_s) or units_per_s <= 0:
        return "rate unknown"
    if units_per_s >= 1:
        return f"{units_per_s:.3g} units/s"
    if units_per_s * 60 >= 1:
        return f"{units_per_s * 60:.3g} units/min"
    return f"{units_per_s * 3600:.3g} units/h"


def format_bytes(n_bytes: float) -> str:
    """Say a size in bytes, MiB or GiB.

    Examples
    --------
    >>> format_bytes(3 * 2**30)
    '3.00 GiB'
    """
    if n_bytes >= _GIB:
        return f"{n_bytes / _GIB:.2f} GiB"
    if n_bytes >= 2.0**20:
        return f"{n_bytes / 2.0**20:.1f} MiB"
    return f"{n_bytes:.0f} bytes"
