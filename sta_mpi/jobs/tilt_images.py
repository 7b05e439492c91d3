"""The tilt images of a series: opened by the names in its table, and checked."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import StackReader, open_stack, read_header, read_image, split_stack_name
from sta_mpi.jobs.inputs import resolve_path


def series_images(series: TiltSeries, beside: list[Path], tilts: Sequence[int] | None = None
                  ) -> Iterator[NDArray[np.float32]]:
    """The tilt images of a series, or of some of its tilts, one after the other.

    A series weighs GiB: no more than one image is in memory.
    """
    if not series.image_names:
        raise InputError(f"tilt series {series.name}: the table names no images "
                         "(rlnMicrographName). Average the stacks, or give the images.")
    stacks: dict[str, StackReader] = {}
    for i in range(len(series.image_names)) if tilts is None else tilts:
        name = series.image_names[i]
        number, path = split_stack_name(name)
        if number is None:
            yield read_image(str(resolve_path(name, beside)))
            continue
        if path not in stacks:
            stacks[path] = open_stack(resolve_path(path, beside))
        _check_number(series, i, number, len(stacks[path]))
        yield stacks[path][number - 1]


def check_image_numbers(series: TiltSeries, beside: list[Path]) -> None:
    """Refuse image numbers beyond a stack; single images are met when they are read."""
    n_images: dict[str, int] = {}
    for i, name in enumerate(series.image_names):
        number, path = split_stack_name(name)
        if number is not None:
            if path not in n_images:
                n_images[path] = read_header(resolve_path(path, beside)).shape_zyx[0]
            _check_number(series, i, number, n_images[path])


def _check_number(series: TiltSeries, i_tilt: int, number: int, n_images: int) -> None:
    """Refuse an image that its stack does not hold."""
    if not 1 <= number <= n_images:
        raise InputError(
            f"tilt series {series.name}, tilt {i_tilt + 1} of {series.n_tilts}: image "
            f"{series.image_names[i_tilt]} is number {number} of a stack of {n_images} images, "
            f"expected 1 to {n_images}. Correct rlnMicrographName or make the stack again.")
