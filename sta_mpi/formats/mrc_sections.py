"""An image stack or a volume that several processes write section by section, each once.

Sections go to a partial file at their own place, in any order, without communication. When
all are there, one process writes the header and gives the file its name.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, ResourceError
from sta_mpi.formats.mrc_header import HEADER_BYTES, MODES, make_header
from sta_mpi.formats.mrc_write import describe_not_finite


class SectionWriter:
    """Writer of one stack of (n, height, width) images, or of the planes of a volume.

    Parameters
    ----------
    path : Path        final name
    shape : (3,) int   sections, height, width
    pixel_A : float
    mode : int         MRC mode: 2 (float32), 12 (float16) or 1 (int16)
    is_volume : bool   what the header says
    label : str        text of the header, up to 70 characters
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], pixel_A: float,
                 mode: int = 2, is_volume: bool = False, label: str = "") -> None:
        self.path, self.shape, self.pixel_A, self.mode = Path(path), shape, pixel_A, mode
        self.is_volume, self.label = is_volume, label
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._dtype = np.dtype("<" + MODES[mode])

    @property
    def section_bytes(self) -> int:
        """Bytes of one image."""
        return self.shape[1] * self.shape[2] * self._dtype.itemsize

    def write(self, section: int, image: NDArray[np.float32]) -> None:
        """Put one (height, width) image at its place and on the disk; see `write_block`."""
        self.write_block(section, image[None])

    def write_block(self, first: int, images: NDArray[Any]) -> None:
        """Put images (m, height, width) at sections `first` and after, and on the disk.

        Integers are for integer modes: floats would be cut off.

        Raises
        ------
        InputError      values that are not finite in the stack's number format
        ResourceError   full disk or no permission
        """
        last = first + len(images) - 1
        if images.shape[1:] != self.shape[1:] or not 0 <= first <= last < self.shape[0]:
            raise ValueError(f"images {images.shape} from section {first} of a stack {self.shape}")
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(images, self._dtype)
        problem = describe_not_finite(values)
        if problem:
            raise InputError(f"{self.path}, section {first + 1}: {problem}. The values do not "
                             f"fit MRC mode {self.mode}; write mode 2 or scale them.")
        try:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._write_all(handle, memoryview(values.data).cast("B"),
                                HEADER_BYTES + first * self.section_bytes)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise ResourceError(
                f"{self.partial}: section {first + 1} cannot be written "
                f"({error.strerror or error}). Free some space or choose another output "
                "folder.") from error

    def discard(self) -> None:
        """Remove what an earlier run with other sizes may have left; call before any `write`."""
        self.partial.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Make a finished file partial again, so that sections can be written once more."""
        if self.path.exists() and not self.partial.exists():
            os.replace(self.path, self.partial)

    @staticmethod
    def _write_all(handle: int, data: memoryview, offset: int) -> None:
        written = 0
        while written < len(data):
            written += os.pwrite(handle, data[written:], offset + written)

    def finish(self, statistics: tuple[float, float, float, float]) -> None:
        """Write the header (minimum, maximum, mean, standard deviation) and name the file.

        Raises
        ------
        InputError   where the partial file is missing or too short
        """
        if self.path.exists() and not self.partial.exists():
            return
        expected = HEADER_BYTES + self.shape[0] * self.section_bytes
        found = self.partial.stat().st_size if self.partial.exists() else 0
        if found != expected:
            raise InputError(f"{self.partial} has {found} bytes, expected {expected}: not every "
                             "image was written. Run again with --restart.")
        with self.partial.open("r+b") as stream:
            stream.write(make_header(self.shape, self.mode, self.pixel_A, self.is_volume,
                                     statistics, self.label))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(self.partial, self.path)
