"""IMOD command files (`tilt.com`, `newst.com`): the options given to a program.

Only `$program -StandardInput` blocks are read, as words; nothing is evaluated.
"""

import os

from sta_mpi.errors import FormatError
from sta_mpi.formats.number_table import PathLike, read_text

Options = dict[str, list[str]]


def read_com_options(path: PathLike, program: str) -> Options:
    """Options of the first call of `program`: name in capitals -> its words.

    An option that is given more than once (EXCLUDELIST) has its words joined.

    Raises
    ------
    InputError     no such file
    FormatError    no call of the program in it

    Examples
    --------
    `XAXISTILT 2.03` becomes {"XAXISTILT": ["2.03"]}.
    """
    options: Options = {}
    in_block = found = False
    for line in read_text(path, f"an IMOD command file of {program}").split("\n"):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("$"):
            in_block = not found and words[0].lower() == f"${program}"
            found = found or in_block
        elif in_block:
            options.setdefault(words[0].upper(), []).extend(words[1:])
    if not found:
        raise FormatError(f"{os.fspath(path)}: no line ${program}, expected a command file of "
                          f"{program}. Check that this is the right file.")
    return options


def option_numbers(options: Options, name: str, path: PathLike) -> list[float]:
    """The words of an option as numbers, [] where it is absent; FormatError where one is not."""
    try:
        return [float(word) for word in options.get(name.upper(), [])]
    except ValueError:
        raise FormatError(f"{os.fspath(path)}: {name} {' '.join(options[name.upper()])}, expected "
                          "numbers. Mend the line.") from None


def parse_number_list(words: list[str], where: str) -> list[int]:
    """Numbers and ranges such as `1 3-5 9` as [1, 3, 4, 5, 9]; FormatError where one is neither."""
    numbers: list[int] = []
    for word in words:
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(word) > 12:
            raise FormatError(f"{where}: {word!r} is no view number or range, expected for example "
                              "1 3-5. Mend the list.")
        low, high = int(first), int(last or first)
        if high - low > 100_000:
            raise FormatError(f"{where}: {word!r} covers more views than a series has. Mend the "
                              "list.")
        numbers.extend(range(low, high + 1))
    return numbers
