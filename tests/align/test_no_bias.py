"""Aligned noise does not become signal, and the wrong hand scores lower.

Small versions of `benchmarks/accuracy/no_bias.py`, whose particles come from formulas of their
own.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy"


@pytest.fixture(scope="module")
def no_bias():
    """The module benchmarks/accuracy/no_bias.py."""
    sys.path.insert(0, str(FOLDER))
    try:
        import no_bias
    finally:
        sys.path.remove(str(FOLDER))
    return no_bias


def past_the_lowpass(no_bias, curves, lowpass, n):
    """FSC of all rounds in the shells past the starting low-pass and its edge, Nyquist aside."""
    return curves[1:, int(lowpass) + no_bias.EDGE + 1 : n // 2 - 1]


@pytest.mark.parametrize("colour", [0.0, 4.0])
def test_half_sets_of_aligned_noise_agree_in_no_shell_past_the_lowpass(no_bias, colour):
    n, lowpass = 32, 5.0
    blobs = no_bias.lumpy_object(8.6, 0.5)
    curves = no_bias.aligned_noise_fsc(blobs, n, lowpass, 14.0, 16, colour, 10, seed=1,
                                       n_tilts=21)
    past = past_the_lowpass(no_bias, curves, lowpass, n)
    assert past.shape == (10, 7)
    assert past.max() < 0.143
    # alignment did something: within the low-pass the halves came to share the reference
    assert curves[1, 2:6].mean() > curves[0, 2:6].mean() + 0.1


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("colour", [0.0, 4.0])
@pytest.mark.parametrize("seed", [5, 6])
def test_many_noise_particles_agree_in_no_shell_past_the_lowpass(no_bias, colour, seed):
    n, lowpass = 48, 7.0
    blobs = no_bias.lumpy_object(13.0, 0.75)
    curves = no_bias.aligned_noise_fsc(blobs, n, lowpass, 22.0, 60, colour, 10, seed)
    past = past_the_lowpass(no_bias, curves, lowpass, n)
    assert past.max() < 0.143
    # a bias, unlike scatter, would have a sign: the mean over 13 shells scatters by 0.01
    assert abs(past[-1].mean()) < 0.04


def test_mirrored_reference_scores_lower_on_average(no_bias):
    right, mirrored = no_bias.hand_scores(32, 14.0, 12, 0.5, 0)
    assert right.mean() > 1.1 * mirrored.mean()
    assert np.mean(right > mirrored) > 0.8
