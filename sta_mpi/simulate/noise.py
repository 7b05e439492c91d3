"""Noise of simulated images and random streams that depend only on what they are for.

Power spectra are those of orthonormal transforms: white noise of variance v has power v.
"""

import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

Floats = NDArray[np.float64]


def stream(seed: int, *labels: str | int) -> np.random.Generator:
    """A random generator that is a function of the seed and of what it is used for.

    Philox is counter based, so streams of different labels never overlap in practice, and
    the numbers do not depend on which process draws them or when.
    """
    words = [zlib.crc32(str(label).encode()) for label in labels]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def noise_power(s_per_pixel: Floats, sd: float, colour: float = 0.0,
                knee_per_pixel: float = 0.05) -> Floats:
    """Noise power sd^2 (1 + colour / (1 + (s / knee)^2)): white, plus a low-frequency excess.

    Parameters
    ----------
    s_per_pixel : float64        |frequency| [cycles per pixel]
    sd : float                   standard deviation per pixel of the white part
    colour : float               excess power at zero frequency over the white part
    knee_per_pixel : float       frequency at which half of the excess is left
    """
    return np.asarray(sd**2 * (1.0 + colour / (1.0 + (s_per_pixel / knee_per_pixel) ** 2)))


def noise_image(shape: tuple[int, int], sd: float, rng: np.random.Generator,
                colour: float = 0.0, knee_per_pixel: float = 0.05) -> NDArray[np.float32]:
    """Gaussian noise (height, width) with the spectrum of `noise_power`."""
    white = rng.standard_normal(shape, dtype=np.float32)
    if colour == 0:
        return white * np.float32(sd)
    power = noise_power(image_frequencies(shape), sd, colour, knee_per_pixel)
    return np.asarray(irfft2(rfft2(white) * np.sqrt(power).astype(np.float32), s=shape))


def image_frequencies(shape: tuple[int, int]) -> Floats:
    """|frequency| (height, width // 2 + 1) of a half transform [cycles per pixel]."""
    return np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
