"""A fading lattice shows the symmetry of its pattern once its contrast is even."""

import numpy as np
from scipy.ndimage import gaussian_filter, rotate

from sta_mpi.align.evened import evened

N, SPACING = 40, 7.0


def fading_lattice(fade, seed):
    """Two halves of a hexagonal lattice in a plane whose strength falls along x."""
    axis = np.arange(N) - N // 2
    x, y = np.meshgrid(axis, axis)
    waves = [np.cos(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / (SPACING * np.sqrt(0.75)))
             for a in np.radians([30, 90, 150])]
    plane = sum(waves) * np.exp(-x * fade)
    data = np.zeros((N, N, N))
    data[N // 2] = plane
    data = gaussian_filter(data, (1.2, 0, 0))
    rng = np.random.default_rng(seed)
    return [(data + 0.02 * rng.standard_normal(data.shape)).astype(np.float32) for _ in range(2)]


def sixfold(data):
    """Correlation of the central part with itself turned by 60 degrees about z."""
    own = data[N // 2 - 3 : N // 2 + 4]
    turned = rotate(np.roll(np.roll(own, 0, 1), 0, 2)[:, 1:, 1:], 60, axes=(1, 2), reshape=False,
                    order=3)
    axis = np.arange(1, N) - N // 2
    inside = np.hypot(*np.meshgrid(axis, axis)) < 14
    return np.corrcoef(own[:, 1:, 1:][:, inside].ravel(), turned[:, inside].ravel())[0, 1]


def test_symmetry_of_the_pattern_comes_back():
    halves = fading_lattice(0.1, 1)
    before = sixfold(np.mean(halves, axis=0))
    after = sixfold(np.mean(evened(halves, 4.0), axis=0))
    assert before < 0.85
    assert after > 0.93


def test_even_pattern_stays_as_it_is():
    halves = fading_lattice(0.0, 2)
    flat = evened(halves, 4.0)
    inside = np.s_[N // 2 - 1 : N // 2 + 2, 8:-8, 8:-8]
    for before, after in zip(halves, flat, strict=True):
        assert np.corrcoef(before[inside].ravel(), after[inside].ravel())[0, 1] > 0.95


def test_noise_stays_independent_between_halves():
    rng = np.random.default_rng(3)
    halves = [rng.standard_normal((N, N, N)).astype(np.float32) for _ in range(2)]
    a, b = evened(halves, 3.0)
    # 64,000 voxels: chance correlation 0.004
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02
