"""What a tilt image costs when it is read: statistics, noise spectrum, binning.

Beside them the plain way: numpy's mean and standard deviation, the whole transform that binning
keeps a part of.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_load.py
"""

from functools import partial

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.images import moments
from sta_mpi.signal.binning import binned_image
from sta_mpi.signal.noise import noise_spectrum

SIZE_PX, TILE_PX = (3838, 3710), 256

Image = NDArray[np.float32]


def plain_moments(image: Image) -> tuple[float, float]:
    """Mean and standard deviation by numpy, once it is known that all pixels are numbers."""
    assert np.isfinite(image.sum(dtype=np.float64))
    return float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64))


def plain_binning(image: Image, binning: int) -> Image:
    """Both transforms whole; the size must suit the binning."""
    h, w = image.shape
    half = scipy.fft.rfft2(image, workers=1)
    rows, columns = h // binning, w // binning
    cut = np.concatenate([half[: rows // 2, : columns // 2 + 1],
                          half[-(rows // 2):, : columns // 2 + 1]])
    return np.asarray(scipy.fft.irfft2(cut, s=(rows, columns), workers=1))


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    image = np.random.default_rng(0).normal(3, 2, SIZE_PX).astype(np.float32)
    calls = [("mean and standard deviation", partial(moments, image),
              partial(plain_moments, image)),
             ("noise spectrum", partial(noise_spectrum, image, TILE_PX), None)]
    for binning in (2, 4, 8):
        suits = image[: SIZE_PX[0] // 16 * 16, : SIZE_PX[1] // 16 * 16].copy()
        calls.append((f"binning {binning}", partial(binned_image, image, binning, 3.0),
                      partial(plain_binning, suits, binning)))
    rows = []
    for name, ours, plain in calls:
        seconds = median_seconds([ours] if plain is None else [ours, plain], rounds)
        rows.append([name, *(f"{1e3 * s:.0f}" for s in seconds), *(["-"] if plain is None else [])])
    print_table(f"a tilt image of {SIZE_PX[1]} x {SIZE_PX[0]} px", ["", "ms", "plain, ms"], rows)


if __name__ == "__main__":
    main()
