"""Editing columns of a STAR table by label: set, multiply, add to, remove."""

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.star_table import StarTable, text_column


def set_column(table: StarTable, label: str, value: str) -> None:
    """Give all rows one value; an absent column is added."""
    table[label] = text_column([value] * len(table))


def scale_column(table: StarTable, label: str, factor: float, summand: float) -> None:
    """Replace the numbers x of a column by factor * x + summand."""
    table.update_numbers(label, table.floats(label) * factor + summand)


def remove_column(table: StarTable, label: str) -> None:
    """Remove a column; InputError where there is none."""
    if label not in table:
        raise InputError(f"{table.where}: no column {label} to remove; it has "
                         f"{', '.join(table.labels)}. Correct the label.")
    table.drop(label)


def parse_assignment(text: str, option: str) -> tuple[str, str]:
    """`label=value` in two; UsageError naming the option otherwise."""
    label, sign, value = text.partition("=")
    if not sign or not label.strip() or any(c.isspace() for c in label.strip()):
        raise UsageError(f"{option} {text!r}: expected LABEL=VALUE, as in rlnClassNumber=1.")
    return label.strip().removeprefix("_"), value


def parse_number(text: str, option: str) -> tuple[str, float]:
    """`label=number` in two."""
    label, value = parse_assignment(text, option)
    try:
        return label, float(value)
    except ValueError:
        raise UsageError(f"{option} {text!r}: {value!r} is not a number.") from None


def parse_range(text: str, option: str) -> tuple[str, float | None, float | None]:
    """`label:low:high` in three; an empty bound is open."""
    parts = text.split(":")
    if len(parts) != 3 or not parts[0].strip():
        raise UsageError(f"{option} {text!r}: expected LABEL:LOW:HIGH, as in rlnAngleTilt:60:120; "
                         "leave a bound empty for none.")
    bounds: list[float | None] = []
    for part in parts[1:]:
        try:
            bounds.append(float(part) if part.strip() else None)
        except ValueError:
            raise UsageError(f"{option} {text!r}: {part!r} is not a number.") from None
    return parts[0].strip().removeprefix("_"), bounds[0], bounds[1]
